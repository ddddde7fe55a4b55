"""The report of result files whose every number is known beforehand."""
import base64
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from helpers.figure_rows import bilevel, rows, runs_of, save

from figures import __main__ as command
from figures.gallery import FIGURES
from figures.report import curves, facts
from figures.results import read_inputs

SEEDS = tuple(range(6))
GAPS = {
    "SHINE": ([1, 0.09, 0.0009, 0], 1.0),
    "HOAG": ([1, 0.2, 0.05, 0.001], 2.0),
    "Jacobian-Free": ([1, 0.5, 0.3, 0.3], 1.0),
}
SYSTEM = {
    "objective_name": "outer-loss[n_outer=30,reference=5]",
    "p_obj_torch": "2.13.0", "p_obj_n_outer": 30, "p_obj_threads": 1,
    "system-processor": "Abacus", "run_date": "2026-11-23T10:00:00.5",
}


def bilevel_runs(rename=str, **columns):
    return pd.concat([
        bilevel(rename(method), seed, gaps, unit * (seed + 1),
                value=70.0 + np.array(gaps), **columns)
        for method, (gaps, unit) in GAPS.items() for seed in SEEDS
    ]).assign(**SYSTEM)


def network_runs():
    return pd.concat([
        rows(method, seed, 3, dataset="net", q_cosine_median=0.9,
             test_accuracy=[0.1, 0.9, 0.95 + 1e-4 * (
                 method == "SHINE") + 1e-5 * seed * len(method)],
             n_outer=np.arange(3),
             forward_time=0.04 * np.arange(3),
             backward_time=0.01 * np.arange(3))
        for method in GAPS for seed in SEEDS
    ]).assign(**SYSTEM | {"p_obj_fingerprint": "def"})


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.texts, self.rows = [], [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.texts.append(data)
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data.strip()

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def make(folder, *frames):
    paths = [
        save(folder / f"runs{i}.parquet", frame)
        for i, frame in enumerate(frames)
    ]
    words = ["report", *map(str, paths), "--output-dir", str(folder)]
    assert command.main(words) == 0
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("report"), bilevel_runs(), network_runs()
    )


# The page

def test_the_page_loads_nothing(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), (tag, value)
    style, = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert "url(" not in style and "@import" not in style


def test_the_page_says_who_won_first(page):
    won, claims = page.text.index("Who won", 200), page.text.index("claims")
    sentence = (
        "SHINE is first in evaluations to stay at 1e-2 (22, 6 of 6 runs), "
        "undecided with so few seeds"
    )
    assert sentence in page.text
    assert won < page.text.index(sentence)
    assert claims < page.text.index("What was run", 200)


def test_the_page_has_what_it_promises(page):
    images = [a for tag, a in page.tags if tag == "img"]
    titles = {a["alt"].partition(":")[0] for a in images}
    assert {"Figure 1", "Figure E.1", "Figure 3"} <= titles
    assert all(a["src"].startswith("data:image/png;base64,iVBOR")
               for a in images)
    lacking = page.text.partition("do not hold")[2]
    assert "Figure E.2" in lacking and "Non-linear" in lacking
    assert ["method", "seeds", "evaluations to 1e-1"] in [
        row[:3] for row in page.rows]
    badges = [a["class"] for tag, a in page.tags
              if a.get("class", "").startswith("badge")]
    assert "badge confirmed" in badges and "badge not-tested" in badges


def test_a_figure_that_fails_leaves_the_rest(tmp_path, monkeypatch):
    def fails(inputs):
        raise KeyError("odd")

    entry = FIGURES["fig1"]
    monkeypatch.setitem(FIGURES, "fig1", replace(entry, draw=fails))
    found = make(tmp_path, bilevel_runs())
    assert "could not be drawn (KeyError: 'odd')" in found.text
    assert any(tag == "img" for tag, _ in found.tags)


def test_downloads_hold_the_numbers(page):
    links = {
        a["download"]: a["href"] for tag, a in page.tags if "download" in a
    }
    text = base64.b64decode(links["curves.csv"].partition(",")[2]).decode()
    assert text.splitlines()[0].startswith("dataset,protocol,method,seed")
    assert len(text.splitlines()) == 1 + 3 * len(SEEDS) * (4 + 3)
    league = base64.b64decode(links["league.csv"].partition(",")[2])
    heads = league.decode().splitlines()
    assert sum(line.startswith("dataset,") for line in heads) == 1


def test_what_differs_between_files_is_told_by_file(page):
    assert ["PyTorch", "2.13.0"] in page.rows
    head, = (row for row in page.rows if row[:1] == ["file"])
    column = head.index("package fingerprint")
    found = {row[0]: row[column] for row in page.rows if len(row) == len(head)
             and row[0].endswith(".parquet")}
    assert found == {"runs0.parquet": "abc", "runs1.parquet": "def"}


NASTY = {
    "SHINE": "</script><script>alert(1)</script>",
    "HOAG": "<img src=x onerror=alert(1)>\"'<!--",
    "Jacobian-Free": "{{ data }} &lt;b&gt; $x^2$",
}


def test_names_do_not_become_markup(tmp_path):
    runs = bilevel_runs(NASTY.get, p_obj_torch="<script>alert(2)</script>")
    page = make(tmp_path, runs)
    # plotly's own, and what it writes for the one data set's curves
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any("onerror" in a for _, a in page.tags)
    for name in NASTY.values():
        assert any(row[:1] == [name] for row in page.rows), name


# Curves

def trace(figure, name):
    found = [t for t in figure["data"] if t.get("name") == name]
    return found[0]


def test_curves_are_medians_and_the_menu_moves_them(tmp_path):
    runs = runs_of(bilevel_runs())
    figure = curves.figure_of(runs, "fair")
    line = trace(figure, "SHINE")
    assert line["x"] == [0, 11, 22, 33]
    assert line["y"] == [1, 0.09, 0.0009, pytest.approx(  # the error of F
        1e-6 / 350, rel=0.2)]
    against = {
        button["label"]: button["args"][0]["x"]
        for button in figure["layout"]["updatemenus"][0]["buttons"]
    }
    place = figure["data"].index(line)
    assert against["against time (s)"][place] == [0, 3.5, 7, 10.5]
    shown = [t for t in figure["data"] if t["visible"]]
    assert {t["legendgroup"] for t in shown} == set(GAPS)
    for button in figure["layout"]["updatemenus"][1]["buttons"]:
        assert len(button["args"][0]["visible"]) == len(figure["data"])


def test_a_gap_of_zero_has_a_place_on_a_logarithmic_axis():
    found = curves.quantities_of(runs_of(
        bilevel("SHINE", 0, [1, 0.1, 0], value_error=0.0)))
    assert (found[["best_gap", "gap_F"]] > 0).all(axis=None)


def test_bands_are_quantiles_over_seeds():
    runs = runs_of(*(
        bilevel("SHINE", seed, [1, gap]) for seed, gap in
        enumerate((0.1, 0.2, 0.3, 0.4, 0.5))
    ), *(bilevel("HOAG", seed, [1, 0]) for seed in range(5)))
    curve = curves.curves_of(runs)["gap_F", "SHINE"]
    numbers = curve.low[1], curve.y[1], curve.high[1]
    np.testing.assert_allclose(numbers, (0.14, 0.3, 0.46))


def test_a_diverged_median_ends_its_line():
    runs = runs_of(*(
        bilevel("SHINE", seed, [1, 0.5, 0.2], value=[9.0, 5.0, np.nan],
                diverged=[0.0, 0.0, 1.0]) for seed in SEEDS
    ))
    figure = curves.figure_of(runs, "fair")
    assert trace(figure, "SHINE")["y"][2] is None
    json.dumps(figure, allow_nan=False)


# Commands

@pytest.mark.parametrize("value, text", [
    (3, "3"), (0.9, "0.9"), (30.0, "30"), ("now", "now"),
    ("a b, c", "'a b, c'"), ((29, 0), "[[29, 0]]"), (True, "True"),
])
def test_values_are_written_as_benchopt_reads_them(value, text):
    assert facts.written(value) == text


def test_the_command_names_what_was_run():
    frame = pd.concat([
        bilevel("SHINE", seed, [1, 0.5], p_solver_memory=memory,
                p_dataset_path="cohort, 2023/x.svm")
        for seed in (0, 1, 2) for memory in (10, 30)
    ]).assign(**SYSTEM)
    words = shlex.split(facts.command_of(frame))
    assert words == [
        "benchopt", "run", ".", "--no-timeout",
        "-o", "outer-loss[n_outer=30,reference=1,threads=1]",
        "-d", "toy[path='cohort, 2023/x.svm',seed=[0,1,2]]",
        "-s", "SHINE[memory=10,protocol=fair]",
        "-s", "SHINE[memory=30,protocol=fair]",
    ]


# The real thing

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.slow
def test_a_browser_draws_the_curves(tmp_path):
    make(tmp_path, bilevel_runs())
    dom = subprocess.run([
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
        "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=8000", "--dump-dom",
        f"file://{tmp_path / 'report.html'}",
    ], capture_output=True, text=True, timeout=120).stdout
    assert dom.count('class="scatterlayer') == 1
    assert all(name in dom for name in GAPS)


@pytest.mark.parametrize("name", ["fig2_paper", "deq_quick"])
def test_committed_files_have_a_page(name, root_dir):
    # what benchopt has pickled is no text
    path = root_dir / "results" / f"{name}.parquet"
    assert facts.read_file(path).command.startswith("benchopt run")
    runs = read_inputs([path]).runs
    titles = [title for title, _ in curves.figures_of(runs)]
    assert len(titles) == len(runs[["dataset", "protocol"]].drop_duplicates())
