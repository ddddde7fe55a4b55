"""Figures of a result file whose every median is known beforehand."""
import ast
import functools
import importlib
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from matplotlib.image import imread

FIGURES = Path(__file__).resolve().parents[2] / "figures"
sys.path.insert(0, str(FIGURES))

import authors  # noqa: E402
import common  # noqa: E402
import drawing  # noqa: E402

SEEDS = (0, 1, 2)
SCRIPTS = ("fig1_bilevel", "figE1_bilevel_extended", "fig2_opa", "nls",
           "quickstart")
PARAMETERS = {1: "", 2: "[decay=0.78,moves=2]"}


def run_of(method, seed, gaps, moves=np.nan, products=0,
           dataset="toy[formulation=logistic,seed={}]", **columns):
    """One run: a step takes 0.1 (seed + 1) s and 10 evaluations of g.

    Test and validation loss are ``gaps`` above 100 + seed and 200 + seed.
    """
    steps, gaps = np.arange(len(gaps)), np.array(gaps, dtype=float)
    return pd.DataFrame({
        "dataset_name": dataset.format(seed),
        "solver_name": method + PARAMETERS.get(moves, ""),
        "p_dataset_seed": seed,
        "p_solver_moves": moves,
        "p_obj_fingerprint": "abc",
        "stop_val": steps,
        "time": 0.1 * (seed + 1) * steps,
        "objective_value": 200.0 + seed + gaps,
        "objective_test_loss": 100.0 + seed + gaps,
        "objective_value_function": np.where(steps == steps[-1], 7.0, np.nan),
        "objective_theta": -1.0 * steps,
        "objective_n_g": 10.0 * steps,
        "objective_n_jvp": float(products) * steps,
        "objective_diverged": 0.0,
    } | columns)


def gaps_of_shine(seed):
    return [256, 20 * (seed + 1), 5 * (seed + 1), (seed + 1) / 2, 0]


def results(dataset="toy[formulation=logistic,seed={}]"):
    """Both protocols; in the published one SHINE goes 1 below the rest."""
    methods = [
        ("SHINE", None, 1, 0),
        ("HOAG", [256, 30, 8, 2, 1], 1, 5),
        ("SHINE-OPA", [256, 16, 4, 2, 1], 1, 0),
        ("Jacobian-Free", [256, 64, 64, 32], 1, 0),
        ("Newton", [256, 4], 1, 0),
        ("Grid-search", [256, 50, 50], np.nan, 0),
        ("SHINE", [256, 8, -1], 2, 0),
        ("HOAG", [256, 12, 3], 2, 0),
    ]
    return pd.concat([
        run_of(method, seed, gaps or gaps_of_shine(seed), moves, products,
               dataset)
        for seed in SEEDS for method, gaps, moves, products in methods
    ], ignore_index=True)


def loaded(tmp_path, frame, **arguments):
    path = tmp_path / "loaded.parquet"
    frame.to_parquet(path)
    options = Namespace(results=[path], datasets=[])
    return common.load(options, **arguments)


def pick(frame, method, protocol="fair"):
    return frame[
        (frame["method"] == method) & (frame["protocol"] == protocol)
    ]


@pytest.fixture(scope="module")
def result_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "both.parquet"
    frames = [
        results(f"{name}[formulation={formulation},seed={{}}]")
        for name, formulation in (
            ("toy", "logistic"), ("toy", "nls"), ("20news", "logistic"),
        )
    ]
    pd.concat(frames, ignore_index=True).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def inversion_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inversion") / "inversion.csv"
    ratio = {"prescribed": 1.0, "krylov": 1.0, "random": 1.05}
    pd.DataFrame([
        # the fourth try of the random direction leaves the axes
        {"try": i, "direction": name, "ratio": value,
         "cosine": 0.9 if (name, i) == ("random", 3) else 0.999}
        for i in range(4) for name, value in ratio.items()
    ]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def authors_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("authors") / "authors.csv"
    pd.DataFrame([
        {"scheme": scheme, "outer_step": k, "time_s": 0.5 * k,
         "cum_inner_fg": 7 * k, "cum_hvp": 2 * k, "heldout_loss": loss}
        for scheme, last in (
            ("original", 103.0), ("random-search", 131.0),
            ("grid-search", 150.0), ("pure-python", 101.0),
        )
        for k, loss in enumerate((356.0, 115.0, last))
    ]).to_csv(path, index=False)
    return path


# Numbers

def test_searches_belong_to_both_protocols(tmp_path):
    frame = loaded(tmp_path, results())
    methods = frame.groupby("protocol")["method"].unique().map(set)
    assert methods["fair"] == {
        "SHINE", "HOAG", "SHINE-OPA", "Jacobian-Free", "Newton", "Grid-search"
    }
    assert methods["published"] == {"SHINE", "HOAG", "Grid-search"}


def test_searches_alone_are_fair(tmp_path):
    frame = results().query("solver_name == 'Grid-search'")
    without = loaded(tmp_path, frame.drop(columns="p_solver_moves"))
    assert set(without["protocol"]) == {"fair"}
    assert set(loaded(tmp_path, frame)["protocol"]) == {"fair"}


def test_other_numbers_of_moves_are_left_out(tmp_path, capsys):
    frame = pd.concat([results(), run_of("HOAG", 0, [1, -50], 3)])
    assert loaded(tmp_path, frame)["best"].min() == 99
    assert "2 rows of neither protocol" in capsys.readouterr().err


@pytest.mark.parametrize("protocol, offset", [("fair", 0), ("published", 1)])
def test_gap_is_to_the_best_of_the_seed_in_the_protocol(
    tmp_path, protocol, offset
):
    # figure 1 does not show the best method: it counts all the same
    frame = loaded(tmp_path, results(), keep={"Grid-search"}.__contains__)
    own = pick(frame, "Grid-search", protocol)
    for seed in SEEDS:
        gaps = own.loc[own["seed"] == seed, "gap"]
        assert gaps.tolist() == [256 + offset, 50 + offset, 50 + offset]


def test_curve_is_the_median_with_quantiles(tmp_path):
    runs = pick(loaded(tmp_path, results()), "SHINE")
    curve = common.over_seeds(runs, "time", (0.1, 0.9))
    assert curve["gap"].tolist() == [256, 40, 10, 1, 0]
    np.testing.assert_allclose(curve["x"], 0.2 * np.arange(5))
    np.testing.assert_allclose(curve["low"], [256, 24, 6, 0.6, 0])
    np.testing.assert_allclose(curve["high"], [256, 56, 14, 1.4, 0])
    curve = common.over_seeds(runs, "evaluations", (0.25, 0.75))
    np.testing.assert_allclose(curve["x"], 10 * np.arange(5))
    np.testing.assert_allclose(curve["low"], [256, 30, 7.5, 0.75, 0])


def test_products_count_as_evaluations(tmp_path):
    runs = pick(loaded(tmp_path, results()), "HOAG")
    curve = common.over_seeds(runs, "evaluations", (0.1, 0.9))
    assert curve["x"].tolist() == [0, 15, 30, 45, 60]


@pytest.mark.parametrize("numbers, quartiles", [
    ([3, 1, 2], [1.5, 2, 2.5]),
    ([2, np.inf, 1], [1.5, 2, np.inf]),
    ([1, np.inf, np.inf], [np.inf, np.inf, np.inf]),
    ([1, 2, np.inf, np.inf, np.inf], [2, np.inf, np.inf]),
    ([-np.inf, 4, 6], [-np.inf, 4, 5]),
    ([np.nan, 7], [7, 7, 7]),
    ([np.nan], [np.nan, np.nan, np.nan]),
])
def test_quantiles_with_infinity(numbers, quartiles):
    found = [common.quantile(numbers, q) for q in (0.25, 0.5, 0.75)]
    np.testing.assert_array_equal(found, quartiles)


def test_one_diverged_seed_of_three_leaves_the_median(tmp_path):
    dead = np.array([0.0, 0.0, 1.0])
    frame = pd.concat([results()] + [
        run_of("Neumann", seed, [256, 2, 1], 1,
               objective_diverged=dead * (seed == 0))
        for seed in SEEDS
    ])
    runs = pick(loaded(tmp_path, frame), "Neumann")
    curve = common.over_seeds(runs, "time", (0.25, 0.75))
    assert curve["gap"].tolist() == [256, 2, 1]
    assert curve["high"].tolist() == [256, 2, np.inf]


def with_broken_runs():
    """Two of three seeds of Neumann diverge at step 2 and end there."""
    dead = np.array([0.0, 0.0, 1.0])
    return pd.concat([results()] + [
        run_of("Neumann", 0, [256, 2, 1, 0.5], 1),
        run_of("Neumann", 1, [256, 2, np.nan], 1, objective_diverged=dead),
        # a finite loss, but no hypergradient to go on with
        run_of("Neumann", 2, [256, 2, -90], 1, objective_diverged=dead),
    ])


def test_divergence_is_for_ever(tmp_path):
    frame = loaded(tmp_path, with_broken_runs())
    assert frame["best"].min() == 99  # not the loss of the broken run
    curve = common.over_seeds(pick(frame, "Neumann"), "time", (0.1, 0.9))
    assert curve["gap"].tolist() == [256, 2, np.inf, np.inf]
    np.testing.assert_allclose(curve["x"], [0, 0.2, 0.4, 0.4])


def test_curve_ends_with_the_shortest_run(tmp_path):
    # on top of one another, as files that keep pandas' row numbers
    frame = pd.concat([results(), run_of("Neumann", 0, [256, 2], 1),
                       run_of("Neumann", 1, [256, 4, 2], 1)])
    runs = pick(loaded(tmp_path, frame), "Neumann")
    curve = common.over_seeds(runs, "time", (0.1, 0.9))
    assert curve["gap"].tolist() == [256, 3]


def test_repeated_runs_of_a_seed_are_one(tmp_path):
    again = results()
    again["time"] *= 3
    frame = loaded(tmp_path, pd.concat([results(), again]))
    runs = pick(frame, "SHINE")
    assert len(runs) == 5 * len(SEEDS)
    np.testing.assert_allclose(
        runs.groupby("seed")["time"].max(), [0.8, 1.6, 2.4]
    )


def test_markdown():
    frame = pd.DataFrame({"a": ["1", "22"], "method": ["SHINE", "Jᵀ"]})
    assert common.markdown(frame) == (
        "| a   | method |\n| --- | ------ |\n"
        "| 1   | SHINE  |\n| 22  | Jᵀ     |\n"
    )


@pytest.mark.parametrize("names, labels", [
    (["HOAG[memory=10,moves=2]"], ["HOAG"]),
    (["A[seed_x=1,formulation=nls]", "A[seed_x=2,formulation=ridge]", "B"],
     ["A (nls)", "A (ridge)", "B"]),
    (["SHINE", "SHINE[memory=10]", "SHINE[every=(5, 5),memory=10]"],
     ["SHINE", "SHINE (memory=10)", "SHINE (every=(5, 5))"]),
    (["SHINE[a=1]", "SHINE[b=2]"], ["SHINE (a=1)", "SHINE (b=2)"]),
])
def test_short_names(names, labels):
    assert list(common.short_names(names).values()) == labels


def test_variants_of_a_method_are_told_apart(tmp_path):
    few = run_of("SHINE", 0, [256, 1], 1, solver_name="SHINE[memory=3]")
    methods = set(loaded(tmp_path, pd.concat([results(), few]))["method"])
    assert {"SHINE", "SHINE (memory=3)"} <= methods


def test_seed_leaves_the_name_of_a_data_set():
    assert common.without_seed("20news[formulation=nls,seed=3]") == (
        "20news[formulation=nls]"
    )
    assert common.without_seed("digits[seed=3]") == "digits"


# Looks

def test_one_style_per_method():
    assert tuple(drawing.STYLES) == common.METHODS
    known = drawing.STYLES | drawing.VARIANTS
    assert len(set(known.values())) == len(known)
    for variant, (colour, _) in drawing.VARIANTS.items():
        assert colour == drawing.STYLES[common.base_of(variant)][0]
    with drawing.paper_style():
        spare = drawing.style_of("Newton")
        assert spare == drawing.style_of("Newton")
        assert spare["color"] in drawing.SPARE_COLOURS
        # as many more as there are looks: no two share one
        others = [f"Method {i}" for i in range(len(drawing.SPARE) - 1)]
        looks = [drawing.style_of(name) for name in ["Newton", *others]]
        pairs = {(look["color"], look["linestyle"]) for look in looks}
        assert len(pairs) == len(looks) > 15
        assert not pairs & set(known.values())
        drawing.style_of("one more")  # shares
    with drawing.paper_style():
        assert drawing.style_of("Newton") == spare


def draw(script, folder, *arguments):
    main = importlib.import_module(script).main
    return main([*map(str, arguments), "--output-dir", str(folder)])


@pytest.fixture(scope="module")
def drawn(result_file, inversion_file, authors_file, tmp_path_factory):
    """Each script's figures, and the folder that they went to."""
    arguments = {
        "fig1_bilevel": ("20news", "--authors", authors_file),
        "figE1_bilevel_extended": ("20news",),
        "fig2_opa": ("20news", "--inversion", inversion_file),
        "nls": ("toy",),
        "quickstart": ("toy",),
    }

    @functools.cache
    def once(script):
        folder = tmp_path_factory.mktemp(script)
        figures = draw(
            script, folder, result_file, "--datasets", *arguments[script]
        )
        return figures, folder

    return once


def panels(figure):
    return {ax.get_title(): ax for ax in figure.axes}


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def heights(band):
    return band.get_paths()[0].vertices[:, 1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_files(script, drawn):
    figures, folder = drawn(script)
    stems = ([script] if script == "quickstart"
             else [f"{script}_{x}" for x in common.X_LABELS])
    expected = {f"{stem}.{kind}" for stem in stems for kind in ("pdf", "png")}
    if script == "fig2_opa":
        expected.add(f"{script}_inversion.md")
    assert {path.name for path in folder.iterdir()} == expected
    for figure, stem in zip(figures, stems, strict=True):
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        width = 3.3 if len(figure.axes) == 2 else 6.8
        assert imread(folder / f"{stem}.png").shape[1] == round(200 * width)


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_is_covered_or_cut_off(script, drawn):
    for figure in drawn(script)[0]:
        figure.canvas.draw()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        boxes += [legend.get_window_extent() for legend in figure.legends]
        page = figure.bbox
        for i, box in enumerate(boxes):
            assert box.width > 0 and box.height > 0
            assert box.x0 >= -1 and box.x1 <= page.x1 + 1
            assert box.y0 >= -1 and box.y1 <= page.y1 + 1
            assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("script, shown, ends", [
    ("fig1_bilevel", {"SHINE", "HOAG", "Jacobian-Free", "Grid-search"},
     (24, 56)),
    ("figE1_bilevel_extended",
     {"SHINE", "HOAG", "Jacobian-Free", "Grid-search", "Newton"}, (24, 56)),
    ("fig2_opa", {"SHINE", "SHINE-OPA", "HOAG"}, (30, 50)),
    ("nls", {"SHINE", "SHINE-OPA", "HOAG", "Jacobian-Free", "Grid-search",
             "Newton"}, (30, 50)),
])
def test_convergence_figures(script, shown, ends, drawn):
    name = "toy" if script == "nls" else "20news"
    suffix = "" if script == "fig2_opa" else " protocol"  # 3 columns
    for figure, (x, label) in zip(drawn(script)[0], common.X_LABELS.items()):
        ax = panels(figure)[f"{name}, fair{suffix}"]
        assert ax.get_xlabel() == label
        assert "floor" in ax.get_ylabel()
        assert set(lines(ax)) == shown
        assert len(ax.collections) == len(shown)  # a band each
        shine = lines(ax)["SHINE"]
        unit = {"time": 0.2, "evaluations": 10}[x]
        np.testing.assert_allclose(shine.get_xdata(), unit * np.arange(5))
        np.testing.assert_allclose(shine.get_ydata(), [256, 40, 10, 1, 1e-3])
        assert shine.get_color() == drawing.STYLES["SHINE"][0]
        for end in ends:  # of the band at SHINE's second point
            assert np.isclose(heights(ax.collections[0]), end).any()
        published = panels(figure)[f"{name}, published{suffix}"]
        assert shown & {"SHINE", "HOAG", "Grid-search"} <= set(
            lines(published))
        texts = {text.get_text() for text in figure.legends[0].get_texts()}
        assert shown <= texts


def test_quickstart(drawn):
    figure, = drawn("quickstart")[0]
    assert set(panels(figure)) == {
        f"toy ({formulation}), {protocol} protocol"
        for formulation in ("logistic", "nls") for protocol in common.PROTOCOLS
    }
    ax = panels(figure)["toy (logistic), fair protocol"]
    assert "validation" in ax.get_ylabel()
    assert ax.get_xlabel() == common.X_LABELS["time"]
    assert {"SHINE", "SHINE-OPA", "Newton", "Grid-search"} <= set(lines(ax))
    np.testing.assert_allclose(
        lines(ax)["SHINE"].get_ydata(), [256, 40, 10, 1, 1e-3]
    )


@pytest.mark.parametrize("n, shape", [
    (1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)),
])
def test_panels_wrap(n, shape):
    frame = pd.DataFrame({
        "dataset": [f"d{i}" for i in range(n)], "protocol": "fair",
    })
    places = drawing.stacked(frame)
    assert len(set(places.values())) == n
    assert drawing.grid_for(places)[1].shape == shape


def drawn_panels(frame, x_scale="linear"):
    options = Namespace(floor=1e-3, x_scale=x_scale)
    with drawing.paper_style():
        places = drawing.stacked(frame)
        _, axes = drawing.grid_for(places)
        return drawing.draw_panels(
            axes, places, frame, "time", (0.1, 0.9), options
        )


def test_one_seed_has_no_band(tmp_path):
    frame = results().query("p_dataset_seed == 0")
    for ax in drawn_panels(loaded(tmp_path, frame)):
        assert len(ax.lines) and not len(ax.collections)


def test_log_time_leaves_the_start_out(tmp_path):
    for ax in drawn_panels(loaded(tmp_path, results()), x_scale="log"):
        assert ax.get_xscale() == "log"
        for line in ax.lines:
            assert min(line.get_xdata()) > 0


@pytest.mark.parametrize("x_scale", ["linear", "log"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_panel_of_diverged_runs_says_so(first, x_scale, tmp_path):
    frame = results()
    frame["objective_diverged"] = 1.0 * (frame["stop_val"] >= first)
    empty = first == 0 or x_scale == "log"  # where the start is left out
    for ax in drawn_panels(loaded(tmp_path, frame), x_scale):
        ax.figure.canvas.draw()
        told = [text.get_text() for text in ax.texts]
        assert told == ["no run has a finite value"] * empty


def test_inversion_quality(drawn):
    figures, folder = drawn("fig2_opa")
    for figure in figures:
        ax = panels(figure)["inversion quality"]
        assert ax.get_xlim() == (0.994, 1.0005)
        assert ax.get_ylim() == (0.985, 1.1)
        assert [c.get_label() for c in ax.collections] == [
            "random (1 of 4 outside)", "prescribed (0 of 4 outside)",
            "krylov (0 of 4 outside)",
        ]
        np.testing.assert_allclose(
            ax.collections[0].get_offsets()[0], [0.999, 1.05]
        )
    table = (folder / "fig2_opa_inversion.md").read_text("utf-8")
    row, = (line for line in table.splitlines()
            if line.startswith("| random") and "cosine" in line)
    n, ours, authors = (c.strip() for c in row.strip("| ").split("|")[2:])
    assert n == "4"
    assert ours == "0.900000 / 0.974250 / 0.999000 / 0.999000 / 0.999000"
    assert authors.startswith("0.991283 / 0.997713 / 0.998619")


def test_authors_lines(drawn):
    greys = {
        (x, title): [
            line for line in ax.lines if line.get_color() == drawing.GREY
        ]
        for x, figure in zip(common.X_LABELS, drawn("fig1_bilevel")[0])
        for title, ax in panels(figure).items()
    }
    assert not greys["time", "20news, fair protocol"]
    # the best of seed 0 is 99; equally spaced values are "random-search"
    hoag, grid = greys["evaluations", "20news, published protocol"]
    assert hoag.get_ydata().tolist() == [257, 16, 4]
    assert hoag.get_xdata().tolist() == [0, 9, 18]
    assert grid.get_ydata().tolist() == [257, 16, 32]
    hoag, grid = greys["time", "20news, published protocol"]
    assert hoag.get_xdata().tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("dataset, factor, words", [
    ("20news[formulation=logistic,seed={}]", 1, ""),
    ("20news[formulation=logistic,seed={}]", 1.5, "seed 0 starts at 356"),
    ("toy[seed={}]", 1.5, ""), ("20news[formulation=nls,seed={}]", 1.5, ""),
])
def test_authors_of_another_split_are_announced(
    dataset, factor, words, authors_file, tmp_path, capsys
):
    theirs = pd.read_csv(authors_file)
    theirs["heldout_loss"] *= factor
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    options = Namespace(authors=tmp_path / "theirs.csv", floor=1e-3,
                        x_scale="linear")
    overlay = authors.make_overlay(
        options, loaded(tmp_path, results(dataset))
    )
    assert bool(overlay) == dataset.startswith("20news[formulation=logistic")
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == bool(words)


@pytest.mark.parametrize("solver, scheme", [
    ("SHINE[decay=0.78]", "shine-big-rank"), ("HOAG", "original"),
    ("SHINE[c2=0.0009,keep_pairs=True]", "shine-big-rank-pp"),
    ("HOAG[c2=0.0009]", "pure-python"), ("Grid-search", "random-search"),
    ("SHINE-OPA[c2=0.0009,memory=60]", "shine-big-rank-opa"),
    ("SHINE-OPA", None), ("Jacobian-Free[c2=0.0009]", None), ("AmIGO", None),
])
def test_authors_lines_are_of_the_same_forward_solver(solver, scheme):
    assert authors.scheme_of(solver) == scheme


# Errors

def broken(kind, tmp_path, good):
    """A file that will not do, and what its message should say."""
    path = tmp_path / "broken.parquet"
    if kind == "truncated":
        data = good.read_bytes()
        path.write_bytes(data[:len(data) // 2])
    elif kind == "text":
        path.write_text("no parquet\n")
    elif kind == "column":
        pd.read_parquet(good).drop(columns="objective_n_g").to_parquet(path)
    elif kind == "words":
        pd.read_parquet(good).assign(time="soon").to_parquet(path)
    elif kind == "empty":
        pd.read_parquet(good).iloc[:0].to_parquet(path)
    elif kind == "others":
        pd.read_parquet(good).assign(
            solver_name="Newton", dataset_name="toy[formulation=nls]"
        ).to_parquet(path)
    return path


def assert_one_line(error, path, capsys):
    assert error.value.code == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(path) in line
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind, words", [
    ("missing", "no such file"), ("truncated", "cannot be read"),
    ("text", "cannot be read"), ("column", "no column objective_n_g"),
    ("words", "not numbers"), ("empty", "has no rows"),
])
def test_bad_result_file(script, kind, words, result_file, inversion_file,
                         tmp_path, capsys):
    path = broken(kind, tmp_path, result_file)
    extra = ("--inversion", inversion_file) if script == "fig2_opa" else ()
    with pytest.raises(SystemExit) as error:
        draw(script, tmp_path / "out", path, *extra)
    assert words in assert_one_line(error, path, capsys)
    assert not (tmp_path / "out").exists()


def test_nothing_to_draw(result_file, tmp_path, capsys):
    path = broken("others", tmp_path, result_file)
    with pytest.raises(SystemExit) as error:
        draw("fig1_bilevel", tmp_path, path)
    assert_one_line(error, path, capsys)
    with pytest.raises(SystemExit) as error:
        draw("fig1_bilevel", tmp_path, result_file, "--datasets", "mnist")
    assert_one_line(error, result_file, capsys)


@pytest.mark.parametrize("script, option", [
    ("fig1_bilevel", "--authors"), ("fig2_opa", "--inversion"),
])
@pytest.mark.parametrize("text", [None, "", "scheme,direction\n1,2\n"])
def test_bad_extra_file(script, option, text, result_file, tmp_path, capsys):
    path = tmp_path / "extra.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as error:
        draw(script, tmp_path / "out", result_file, option, path)
    assert_one_line(error, path, capsys)


def test_floor_must_be_positive(result_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        draw("nls", tmp_path, result_file, "--floor", "0")
    assert error.value.code == 2
    assert "--floor" in capsys.readouterr().err


def test_versions_of_the_package_are_not_mixed_in_silence(tmp_path, capsys):
    frame = results()
    loaded(tmp_path, frame)
    assert not capsys.readouterr().err
    frame.loc[:5, "p_obj_fingerprint"] = "def"
    loaded(tmp_path, frame)
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and "abc, def" in line
    other = results("other[seed={}]").assign(p_obj_fingerprint="def")
    loaded(tmp_path, pd.concat([results(), other]))
    assert not capsys.readouterr().err


def test_as_a_program(tmp_path):
    run = subprocess.run(
        [sys.executable, "-W", "error", FIGURES / "quickstart.py", "gone"],
        capture_output=True, text=True, cwd=tmp_path,
    )
    assert run.returncode == 2 and not run.stdout
    line, = run.stderr.splitlines()
    assert line.startswith("error: gone: no such file")


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.py")),
                         ids=lambda path: path.name)
def test_imports_neither_the_package_nor_torch(path):
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            roots.add(node.module.split(".")[0])
    own = {script.stem for script in FIGURES.glob("*.py")}
    allowed = {"matplotlib", "numpy", "pandas", "pyarrow"} | own
    # the report inlines plotly.js; what benchopt's page loads is fetched once
    own_needs = {"report.py": {"plotly"}, "offline.py": {"pooch"}}
    allowed |= own_needs.get(path.name, set())
    assert roots <= allowed | sys.stdlib_module_names


def test_text_that_is_none(tmp_path):
    offsets = pa.py_buffer(np.array([0, 1], dtype="int32").tobytes())
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, offsets, pa.py_buffer(b"\x80")]
    )
    path = tmp_path / "damaged.parquet"
    write_table(pa.table({"solver_name": text}), path)
    with pytest.raises(common.ResultError, match="damaged.*UTF8.*run again"):
        common.read_table(path, common.read_parquet, [], "run again")
