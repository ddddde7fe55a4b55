"""Figures and tables from result files: `python -m figures NAME FILES…`.

Nothing here imports torch, benchopt or the package that is measured.

    from figures.results import read_inputs
    from figures.gallery import FIGURES

    inputs = read_inputs(["a.parquet", "b.parquet", "inversion.csv"])
    drawing = FIGURES["fig1"].draw(inputs)      # plotting.Drawing
    drawing.figures, drawing.caption, drawing.tables, drawing.warnings

`results`
    `read_inputs(paths, datasets, say) -> Inputs` (``runs``, ``csv`` by kind,
    ``files``, ``warnings``) and `read_runs(paths) -> (runs, warnings)`.  A
    table of runs has a row per dataset, protocol, method, seed and step; its
    columns are listed in `results.named`.  What a file lacks is a
    `ResultError` with a sentence; every function may raise it.
`methods`
    `METHODS` (name, colour, dash, order, family), `looks(labels)` for one
    figure, `in_order(runs)` for legends and tables.
`stats`
    `median_curve`, `quantile`, `add_gap`, `add_suboptimality`,
    `add_shortfall`, `arrivals` …: functions of tables of runs.
`plotting`
    `plot_medians(ax, runs, x, y, looks, …)`, `plot_suboptimality`,
    `make_grid`, `add_legend`, `add_caption`, `literal`, `save`, `Drawing`.
`gallery`
    `FIGURES`: name -> `Entry(title, needs, draw)`.
`tables`
    `league.problems_of(runs, only) -> (list of Problem, warnings)`,
    `league.who_won(problems) -> list of str`, `league.full`, `league.brief`;
    `claims.places_of(problems, inversion, alignment)`, `claims.CLAIMS`,
    `claims.findings(claim, places)`; `reproduce.compare(folder)`.
`report`
    `python -m figures report` calls `write_page(inputs, path) -> warnings`.
"""
