"""Figures and tables from result files: `python -m figures NAME FILES…`.

Nothing here imports torch, benchopt or the package that is measured.

    from figures.results import read_inputs
    from figures.gallery import FIGURES

    inputs = read_inputs(["a.parquet", "b.parquet", "inversion.csv"])
    drawing = FIGURES["fig1"].draw(inputs)      # plotting.Drawing
    drawing.figures, drawing.caption, drawing.tables, drawing.warnings

`results` reads files, `methods` knows what is called what and how it looks,
`arrivals` computes numbers of each run and `stats` compares them, `plotting`
draws, `gallery` lists the figures; `tables` has the league, the paper's claims
and its numbers, `report` a page of everything.  What a file lacks is a
`ResultError` with a sentence; every function may raise it.
"""
