"""The report page of result files whose every number is known beforehand."""
import html
import json
import re
import shutil
import subprocess
import sys
import tarfile
from argparse import Namespace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_league import INF, bilevel, network

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "figures"))

import claims  # noqa: E402
import league  # noqa: E402
import offline  # noqa: E402
import report  # noqa: E402
import traces  # noqa: E402
from claims import (  # noqa: E402
    CONFIRMED, REFUTED, UNDECIDED, UNTESTED, Spread,
)

SEEDS = (0, 1, 2)
PATHS = {
    "SHINE": ([1, 0.09, 0.0009, 0], 1.0),
    "HOAG": ([1, 0.2, 0.05, 0.001], 2.0),
    "Jacobian-Free": ([1, 0.5, 0.3, 0.3], 1.0),
}
ACCURACIES = {
    "SHINE": ([10, 90, 95], 1.0), "HOAG": ([10, 92, 95.2], 9.0),
    "Jacobian-Free": ([10, 80, 95], 0.5),
}


def told(runs, **columns):
    """Made-up runs, with what benchopt says of them."""
    return pd.concat(runs, ignore_index=True).assign(**{
        "objective_name": "SHINE[n_outer=30,reference=5]", "idx_rep": 0,
        "p_obj_torch": "2.13.0", "p_obj_threads": 1,
        "system-processor": "Abacus", "run_date": "2026-11-23T10:00:00.5",
        "version-cuda": None,
    } | columns)


def bilevel_runs(rename=str, paths=PATHS):
    return told([
        bilevel(rename(method), seed, gaps, unit * (seed + 1),
                value=70.0 + np.array(gaps),
                p_dataset_seed=seed)
        for method, (gaps, unit) in paths.items() for seed in SEEDS
    ])


def network_runs():
    return told([
        network(method, seed, accuracies, unit, forward_time=0.04 * steps,
                backward_time=0.01 * unit * steps, n_outer=steps,
                q_cosine_median=0.9, value=100.0 - steps)
        for method, (accuracies, unit) in ACCURACIES.items()
        for seed in SEEDS for steps in [np.arange(3)]
    ], p_obj_fingerprint="def")


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
        inside = self.tags[-1][0] if self.tags else ""
        if inside not in ("script", "style"):
            self.texts.append(data)
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(self.texts)

    @property
    def data(self):
        found = re.search(
            r'<script id="data" type="application/json">(.*?)</script>',
            self.source, re.DOTALL,
        )
        return json.loads(found[1])

    def curve(self, method, quantity, dataset="toy"):
        curve, = (
            c for c in self.data["curves"]
            if (c["method"], c["quantity"], c["dataset"])
            == (method, quantity, dataset)
        )
        return curve


def make(folder, *frames, csv=()):
    """The page of some frames, a result file each."""
    paths = []
    for i, frame in enumerate(frames):
        paths.append(folder / f"runs{i}.parquet")
        frame.to_parquet(paths[-1])
    return report.main([
        *map(str, [*paths, *csv]), "--output-dir", str(folder),
    ])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("report"), bilevel_runs(), network_runs()
    )


@pytest.fixture(scope="module")
def page(path):
    return Page(path)


# What is in the page

def test_the_page_loads_nothing(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), (tag, value)
    style, = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert "url(" not in style and "@import" not in style


def test_what_was_run_is_told(page):
    facts = {row[0]: row[1:] for row in page.rows if len(row) == 3}
    assert facts["package fingerprint"] == ["abc", "def"]
    assert facts["PyTorch"] == ["2.13.0", "2.13.0"]
    assert facts["processor"] == ["Abacus", "Abacus"]
    assert facts["seeds"] == ["0, 1, 2", "0, 1, 2"]
    assert facts["date"] == ["2026-11-23 10:00"] * 2
    assert facts["runs"] == ["9, of which 0 diverged"] * 2
    assert "different versions of the package (abc, def)" in page.text


def test_files_of_one_version_bring_no_notice():
    paths = [ROOT / "results" / f"fig{n}_paper.parquet" for n in (1, 2)]
    fingerprint, = set.union(*(
        set(pd.read_parquet(path)["p_obj_fingerprint"]) for path in paths
    ))
    notice, facts = report.what_was_run(paths)
    assert notice == "" and fingerprint in facts


def test_the_command_asks_for_the_runs_of_the_file(root_dir):
    from benchopt.benchmark import Benchmark
    from benchopt.utils.parametrized_name_mixin import product_param

    benchmark = Benchmark(root_dir)
    for name in "fig2_paper", "deq_quick":
        frame = pd.read_parquet(root_dir / "results" / f"{name}.parquet")
        words = iter(report.shlex.split(report.command_of(frame)))
        assert [next(words) for _ in range(4)] == [
            "benchopt", "run", ".", "--no-timeout",
        ]
        asked = {"-o": [], "-d": [], "-s": []}
        for flag, value in zip(words, words, strict=True):
            asked[flag].append(value)
        for flag, check, column in (
            ("-s", benchmark.check_solver_patterns, "solver_name"),
            ("-d", benchmark.check_dataset_patterns, "dataset_name"),
        ):
            found = {
                str(cls.get_instance(**parameters))
                for cls, choice in check(asked[flag])
                for parameters in product_param(choice)
            }
            assert found == set(frame[column]), (name, flag)
        assert asked["-o"] == list(frame["objective_name"].unique())


def test_curves_are_medians_over_seeds(page):
    curve = page.curve("SHINE", "value_gap")
    assert curve["time"] == [0, 2, 4, 6]
    assert curve["evaluations"] == [0, 11, 22, 33]
    assert curve["outer"] == [0, 1, 2, 3]
    assert curve["0.5"] == [1, 0.09, 0.0009, 0]
    relative = page.curve("HOAG", "F")
    assert relative["0.5"] == relative["0"] == [1, 0.2, 0.05, 0.001]
    assert page.curve("SHINE", "accuracy", "net")["0.5"] == [10, 90, 95]
    assert page.curve("HOAG", "cosine", "net")["1"] == [0.9] * 3


def test_quantiles_are_over_seeds(tmp_path):
    runs = pd.concat([
        bilevel("SHINE", seed, [1, 0.5], value=[9.0, value])
        for seed, value in enumerate((1.0, 2.0, 4.0))
    ] + [bilevel("HOAG", seed, [1], value=0.0) for seed in SEEDS])
    path = tmp_path / "runs.parquet"
    runs.to_parquet(path)
    options = Namespace(results=[path], datasets=[])
    data = report.curves_of(report.read_runs(options))
    curve, = (
        c for c in data["curves"]
        if c["method"] == "SHINE" and c["quantity"] == "value_gap"
    )
    at_one = {q: curve[q][1] for q in ("0", "0.25", "0.5", "0.75", "1")}
    assert at_one == {"0": 1, "0.25": 1.5, "0.5": 2, "0.75": 3, "1": 4}


def test_a_diverged_curve_ends(tmp_path):
    runs = pd.concat([
        bilevel("SHINE", seed, [1, 0.5, 0.2],
                value=[9.0, 5.0, np.nan], diverged=[0.0, 0.0, 1.0])
        for seed in SEEDS
    ])
    path = tmp_path / "runs.parquet"
    runs.to_parquet(path)
    options = Namespace(results=[path], datasets=[])
    data = report.curves_of(report.read_runs(options))
    curve, = (c for c in data["curves"] if c["quantity"] == "value_gap")
    assert curve["0.5"] == [4, 0, None]
    assert "NaN" not in report.script_json(data)


def test_the_league_is_sortable_by_its_medians(page):
    heads = [
        a for tag, a in page.tags if tag == "table"
        and a.get("class") == "sortable"
    ]
    assert len(heads) == 4  # two data sets, two tables each
    keys = [a["data-key"] for _, a in page.tags if "data-key" in a]
    # SHINE, first of the bi-level league: order, seeds, times to 1e-1 … 1e-4
    first = "|".join(["0", "3.0", "2.0", "4.0", "4.0", "6.0"])
    assert first in "|".join(keys)
    assert ["2 (1.5–2.5)"] in [
        row[2:3] for row in page.rows if row[:2] == ["SHINE", "3"]
    ]
    assert "inf" in keys


def test_every_figure_that_can_be_drawn_is(page):
    pictures = [a for tag, a in page.tags if tag == "img"]
    names = [a["alt"].partition(":")[0] for a in pictures]
    assert names == [
        "Figure 1", "Figure 1", "Figure E.1", "Figure E.1", "Figure 3",
        "Networks", "A first look at a result file",
    ]
    assert all(a["src"].startswith("data:image/png;base64,iVBOR")
               for a in pictures)
    missing = page.text.partition("do not hold")[2]
    for name in "Figure 2", "Figure E.2", "Non-linear least squares":
        assert name in missing


def test_a_picture_that_fails_leaves_the_page(tmp_path, capsys):
    def main(words):
        raise ValueError("no\nticks")

    module = Namespace(__name__="fig", main=main)
    assert report.draw(module, [], tmp_path) == ([], "ValueError: no ticks")
    assert "fig cannot be drawn" in capsys.readouterr().err


# What a file holds is text

NASTY = {
    "SHINE": '</script><script>alert(1)</script>',
    "HOAG": '<img src=x onerror=alert(1)>"\'<!--',
    "Jacobian-Free": "{{data}} &lt;b&gt; \u2028",
}


def test_names_do_not_become_markup(tmp_path, page):
    runs = bilevel_runs(NASTY.get).assign(**{
        "p_obj_torch": "<script>alert(2)</script>",
        "p_obj_fingerprint": "<b>x</b>",
    })
    runs["dataset_name"] = [
        f"<i onclick=alert(3)>[seed={seed}]" for seed in runs["p_dataset_seed"]
    ]
    nasty = Page(make(tmp_path, runs))
    allowed = {(tag, *sorted(a)) for tag, a in page.tags}
    assert {(tag, *sorted(a)) for tag, a in nasty.tags} <= allowed
    assert [tag for tag, _ in nasty.tags].count("script") == 3
    assert {curve["method"] for curve in nasty.data["curves"]} == set(
        NASTY.values()
    )
    assert NASTY["HOAG"] in [row[0] for row in nasty.rows if row]


def test_script_json_is_json_and_has_no_tags():
    data = {"</script>": ["<!--", "\u2028", "&amp;", 'a"b', 1.5, None]}
    text = report.script_json(data)
    assert json.loads(text) == data
    assert not set("<>&\u2028") & set(text)


def test_parts_are_not_looked_into():
    parts = {"one": "{{two}}", "two": "2"}
    assert report.fill("{{one}} {{two}}", parts) == "{{two}} 2"
    with pytest.raises(KeyError):
        report.fill("{{three}}", parts)


# Bad files

@pytest.mark.parametrize("name, content, words", [
    ("none.parquet", None, "no such file"),
    ("junk.parquet", b"junk", "cannot be read"),
    ("other.csv", b"a,b\n1,2\n", "not a file of"),
    ("empty.csv", b"", "cannot be read"),
])
def test_a_bad_file_is_told_in_a_line(name, content, words, tmp_path, capsys):
    good, bad = tmp_path / "good.parquet", tmp_path / name
    bilevel_runs().to_parquet(good)
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(SystemExit) as error:
        report.main([str(good), str(bad), "--output-dir", str(tmp_path)])
    line, = capsys.readouterr().err.splitlines()
    assert error.value.code == 2 and words in line and name in line
    assert not list(tmp_path.glob("*.html"))


def test_measurements_alone_are_not_enough(capsys):
    with pytest.raises(SystemExit):
        report.main([str(ROOT / "results" / "fig2_inversion.csv")])
    assert "needs a result file" in capsys.readouterr().err


# The rules of the claims

def spread(q1, median, q3, counted=3, of=3):
    return Spread(q1, median, q3, counted, of)


@pytest.mark.parametrize("rule, one, other, verdict", [
    (claims.lower, (1, 2, 3), (4, 5, 6), CONFIRMED),
    (claims.lower, (4, 5, 6), (1, 2, 3), REFUTED),
    (claims.lower, (1, 2, 4), (4, 5, 6), UNDECIDED),
    (claims.lower, (1, 2, 3), (INF, INF, INF), CONFIRMED),
    (claims.lower, (1, 2, INF), (INF, INF, INF), UNDECIDED),
    (claims.lower, (INF, INF, INF), (INF, INF, INF), UNDECIDED),
    (claims.higher, (4, 5, 6), (1, 2, 3), CONFIRMED),
    (claims.higher, (1, 2, 3), (4, 5, 6), REFUTED),
    (claims.Times(10), (1, 2, 3), (31, 40, 50), CONFIRMED),
    (claims.Times(10), (1, 2, 3), (29, 40, 50), UNDECIDED),
    (claims.Times(10), (1, 2, 3), (7, 8, 9), REFUTED),
    (claims.no_later, (1, 2, 9), (1, 2, 3), CONFIRMED),
    (claims.no_later, (1, 2.5, 9), (1, 2, 3), UNDECIDED),
    (claims.no_later, (4, 5, 6), (1, 2, 3), REFUTED),
    (claims.no_later, (1, 2, 3), (INF, INF, INF), CONFIRMED),
    (claims.no_later, (INF, INF, INF), (INF, INF, INF), UNDECIDED),
    (claims.AtMostBelow(0.5), (93, 93, 93), (93, 93.5, 94), CONFIRMED),
    (claims.AtMostBelow(0.5), (92, 92.9, 94), (93, 93.5, 94), UNDECIDED),
    (claims.AtMostBelow(0.5), (91, 91, 92), (93, 93.5, 94), REFUTED),
    (claims.Within(0.5), (93, 93, 93), (93, 93.5, 94), CONFIRMED),
    (claims.Within(0.5), (95, 95, 96), (93, 93.5, 94), REFUTED),
    (claims.Within(0.5), (91, 91, 92), (93, 93.5, 94), REFUTED),
    (claims.Within(0.5), (94.2, 95, 96), (93, 93.5, 94), UNDECIDED),
])
def test_rules(rule, one, other, verdict):
    assert rule(spread(*one), spread(*other)) == verdict


def judged(tmp_path, frame, **measured):
    """(title of claim, methods, quantity) -> verdict."""
    path = tmp_path / "runs.parquet"
    frame.to_parquet(path)
    problems = league.read_problems(
        Namespace(results=[path], datasets=[], methods=None)
    )
    places = claims.places_of(problems, **measured)
    verdicts = {}
    for claim in claims.CLAIMS:
        for row in claims.findings(claim, places).itertuples():
            verdicts[claim.title, row.one, row.other, row.quantity] = (
                row.verdict
            )
    return verdicts


SOONER = "SHINE reaches a given suboptimality sooner than HOAG"
STALLS = "The Jacobian-free method stalls at a worse value than SHINE"
CHEAPER = "In networks the backward pass is cheaper than the full solve"
TEN = "… by a factor of 10 to 60"
REFINED = "… which a few refining steps make good"


def test_claims_on_bilevel_problems(tmp_path):
    verdicts = judged(tmp_path, bilevel_runs())
    times = SOONER, "SHINE", "HOAG", "time to 1e-2"
    counts = SOONER, "SHINE", "HOAG", "evaluations to 1e-2"
    # times of seeds 2, 4, 6 and 6, 12, 18: quartiles 3–5 and 9–15
    assert verdicts[times] == verdicts[counts] == CONFIRMED
    pair = "SHINE", "Jacobian-Free", "lowest suboptimality"
    assert verdicts[STALLS, *pair] == CONFIRMED
    assert not any("search" in key[2] for key in verdicts)

    swapped = {"SHINE": "HOAG", "HOAG": "SHINE"}
    verdicts = judged(
        tmp_path, bilevel_runs(lambda name: swapped.get(name, name))
    )
    assert verdicts[times] == verdicts[counts] == REFUTED


def test_overlapping_quartiles_decide_nothing(tmp_path):
    gaps = PATHS["SHINE"][0]
    paths = {"SHINE": (gaps, 1.0), "HOAG": (gaps, 1.5)}
    verdicts = judged(tmp_path, bilevel_runs(paths=paths))
    assert verdicts[SOONER, "SHINE", "HOAG", "time to 1e-2"] == UNDECIDED


def test_too_few_seeds_test_nothing(tmp_path):
    frame = bilevel_runs()
    verdicts = judged(tmp_path, frame[frame["p_dataset_seed"] < 2])
    assert set(verdicts.values()) == {UNTESTED}
    gone = (frame["solver_name"] == "HOAG") & (frame["p_dataset_seed"] == 2)
    verdicts = judged(tmp_path, frame[~gone])
    assert verdicts[SOONER, "SHINE", "HOAG", "time to 1e-2"] == UNTESTED


def test_several_settings_are_not_passed_over(tmp_path):
    frame = bilevel_runs()
    other = frame[frame["solver_name"] == "SHINE"]
    verdicts = judged(tmp_path, pd.concat([
        frame, other.assign(solver_name="SHINE[c2=0.0009]"),
        other.assign(solver_name="SHINE[c2=0.5]"),
    ])[lambda rows: rows["solver_name"] != "SHINE"])
    assert verdicts[SOONER, "SHINE", "HOAG", "time to 1e-2"] == UNTESTED
    # a method that was not run at all is no such case
    assert not any("search" in name for _, *names, _ in verdicts
                   for name in names)


def test_claims_on_networks(tmp_path):
    verdicts = judged(tmp_path, network_runs())
    for title, shine, free in (
        (CHEAPER, CONFIRMED, CONFIRMED),  # 9 and 18 times
        (TEN, REFUTED, CONFIRMED),
    ):
        assert verdicts[title, "SHINE", "HOAG", "backward"] == shine
        assert verdicts[title, "Jacobian-Free", "HOAG", "backward"] == free
    level = "In networks both are on a par"
    assert verdicts[level, "SHINE", "Jacobian-Free", "accuracy"] == CONFIRMED


@pytest.mark.parametrize("shine, refined, verdict", [
    (90, 95, CONFIRMED), (90, 94, REFUTED), (95, 94, UNTESTED),
])
def test_refining_needs_something_to_make_good(
    shine, refined, verdict, tmp_path
):
    ends = {"HOAG": 95, "SHINE": shine, "SHINE-refine": refined}
    frame = told([
        network(method, seed, [10, end])
        for method, end in ends.items() for seed in SEEDS
    ])
    verdicts = judged(tmp_path, frame)
    assert verdicts[REFINED, "SHINE-refine", "HOAG", "accuracy"] == verdict


def test_claims_on_measurements(tmp_path):
    # B v = 1.1 J⁻¹ v, turned by nothing: off by 0.1; at a right angle and
    # as long: by √2
    inversion = pd.DataFrame({
        "direction": ["random"] * 3 + ["prescribed"] * 3 + ["krylov"] * 3,
        "ratio": [1.1] * 3 + [1.0] * 6,
        "cosine": [1.0] * 6 + [0.0] * 3,
    })
    cosines = {"SHINE": 0.5, "Jacobian-Free": 0.4, "SHINE-OPA": 0.9,
               "SHINE[forward=adjoint_broyden]": 0.95}
    alignment = pd.DataFrame([
        {"network": "dense", "state": "trained", "solver": solver,
         "sample_cosine_median": cosine * known,
         "reference_converged": known}
        for solver, cosine in cosines.items() for known in (1, 1, 1, 0)
    ])
    verdicts = judged(
        tmp_path, bilevel_runs(), inversion=inversion, alignment=alignment
    )
    found = {key[1:3]: v for key, v in verdicts.items()
             if key[3] in ("error of B v", "cosine of q")}
    adjoint = "SHINE (forward=adjoint_broyden)"
    assert found == {
        ("prescribed", "random"): CONFIRMED, ("krylov", "random"): REFUTED,
        ("SHINE-OPA", adjoint): REFUTED, (adjoint, "SHINE"): CONFIRMED,
        ("SHINE", "Jacobian-Free"): CONFIRMED,
    }
    place, = (p for p in claims.places_of([], inversion)
              if p.family == "inversion")
    errors = {name: s.median for (_, name), s in place.numbers.items()}
    assert errors == pytest.approx(
        {"random": 0.1, "prescribed": 0.0, "krylov": np.sqrt(2)}, abs=1e-7
    )


def test_claims_are_on_the_page(page):
    row = next(row for row in page.rows if row[1:2] == ["time to 1e-2 (s)"])
    assert row == [
        "toy, fair", "time to 1e-2 (s)", "SHINE4 (3–5)", "HOAG12 (9–15)", "3",
        CONFIRMED,
    ]
    badges = [a["class"] for tag, a in page.tags
              if tag == "span" and "class" in a]
    for verdict in CONFIRMED, REFUTED, "not-tested":
        assert f"badge {verdict}" in badges
    assert "third quartile lies below" in page.text


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WATCH = """<script>
window.wrong = [];
addEventListener("error", event => wrong.push(String(event.message)), true);
addEventListener("unhandledrejection", e => wrong.push(String(e.reason)));
const complain = console.error;
console.error = (...words) => { wrong.push(words.join(" ")); };
</script>"""
TELL = """<script>
addEventListener("load", async () => {
  const seen = {};
  try { await (%s)(seen); } catch (error) { wrong.push(String(error)); }
  for (const {name} of performance.getEntriesByType("resource"))
    if (!name.startsWith("data:")) wrong.push(`fetched ${name}`);
  const out = document.createElement("pre");
  out.id = "outcome";
  out.textContent = JSON.stringify({...seen, wrong});
  document.body.append(out);
});
</script>"""


def browse(path, tmp_path, act):
    """What JavaScript sees on a page, in a browser without a network.

    ``act`` is a function of an object to be filled.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    page = path.read_text(encoding="utf-8")
    page = page.replace("<head>", "<head>" + WATCH, 1)
    watched = tmp_path / "watched.html"
    watched.write_text(page + TELL % act, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
         "--disable-dev-shm-usage", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}",
         "--host-resolver-rules=MAP * ~NOTFOUND",
         "--proxy-server=127.0.0.1:9", "--window-size=1200,900",
         "--virtual-time-budget=20000", "--dump-dom", watched.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen.pop("wrong") == []
    assert "CONSOLE" not in done.stderr  # warnings, and Chromium's own words
    return seen


ACT = """async seen => {
  const drawn = () => [...document.querySelectorAll(
    "#curves .scatterlayer .trace .js-line")].length;
  const plot = document.getElementById("curves");
  const set = async (name, value) => {
    const select = document.getElementById(name);
    select.value = value;
    select.dispatchEvent(new Event("change"));
    await new Promise(done => setTimeout(done, 50));
  };
  const names = () => plot.data.filter(t => t.meta).map(t => t.meta);
  await new Promise(done => setTimeout(done, 200));
  const offered = name => [...document.getElementById(name).options]
    .map(option => option.value);
  seen.datasets = offered("dataset");
  await set("dataset", "toy");
  seen.quantity = document.getElementById("quantity").value;
  seen.names = names();
  seen.bands = plot.data.length - seen.names.length;
  seen.drawn = drawn();
  seen.scale = plot.layout.yaxis.type;
  seen.title = document.querySelector("#curves .ytitle").textContent;

  const box = [...document.querySelectorAll("#methods label")]
    .find(label => label.textContent === "HOAG").querySelector("input");
  box.click();
  await new Promise(done => setTimeout(done, 50));
  seen.without = names();
  seen.drawnWithout = drawn();
  box.click();
  await set("band", "");
  seen.plain = drawn();
  await set("x", "evaluations");
  seen.evaluations = plot.data.find(t => t.meta === "SHINE").x;
  await set("x", "outer");
  await set("x-scale", "log");
  seen.outer = plot.data.find(t => t.meta === "SHINE").x;
  seen.floored = plot.data.find(t => t.meta === "SHINE").y;
  await set("y-scale", "linear");
  seen.exact = plot.data.find(t => t.meta === "SHINE").y;
  await set("dataset", "net");
  seen.net = document.getElementById("quantity").value;
  seen.offered = offered("quantity");
  await set("quantity", "accuracy");
  seen.netScale = plot.layout.yaxis.type;
  document.getElementById("none").click();
  await new Promise(done => setTimeout(done, 50));
  seen.none = drawn();

  const table = [...document.querySelectorAll("table.sortable")]
    .find(one => one.textContent.includes("lowest suboptimality"));
  const column = () => [...table.tBodies[0].rows]
    .map(row => row.cells[0].textContent);
  const heads = [...table.tHead.rows[0].cells];
  const head = heads.find(
    cell => cell.textContent.startsWith("lowest suboptimality"));
  seen.before = column();
  head.querySelector("button").click();
  seen.up = column();
  seen.sorted = head.getAttribute("aria-sort");
  head.querySelector("button").click();
  seen.down = column();
  heads[0].querySelector("button").click();
  seen.again = column();
}"""


def test_a_browser_without_network_shows_everything(path, tmp_path):
    seen = browse(path, tmp_path, ACT)
    methods = ["SHINE", "Jacobian-Free", "HOAG"]
    assert seen["datasets"] == ["net", "toy"]
    assert (seen["quantity"], seen["scale"]) == ("F", "log")
    assert seen["title"] == "relative suboptimality of F (exact) (floor 1e-6)"
    assert seen["names"] == methods and seen["bands"] == 3
    assert seen["drawn"] == 6 and seen["plain"] == 3
    assert seen["without"] == ["SHINE", "Jacobian-Free"]
    assert seen["drawnWithout"] == 4 and seen["none"] == 0
    assert seen["evaluations"] == [0, 11, 22, 33]
    assert seen["outer"] == [1, 2, 3]  # 0 has no logarithm
    assert seen["floored"] == [0.09, 0.0009, 1e-6]
    assert seen["exact"] == [0.09, 0.0009, 0]
    assert seen["offered"] == ["test_loss", "accuracy", "cosine"]
    assert seen["netScale"] == "linear"
    assert seen["before"] == seen["again"] == ["SHINE", "HOAG",
                                               "Jacobian-Free"]
    assert seen["up"] == ["SHINE", "HOAG", "Jacobian-Free"]
    assert seen["sorted"] == "ascending"
    assert seen["down"] == seen["up"][::-1]


# benchopt's own page

def test_benchopts_page_loads_nothing_once_inlined():
    import benchopt.plotting.generate_html as benchopts

    page = benchopts.TEMPLATE_RESULT.read_text(encoding="utf-8")
    assert set(offline.SOURCES) <= set(re.findall(r'https:[^"]*', page))
    read = []
    page = offline.inline(page, lambda *source: read.append(source) or "/**/")
    assert len(read) == len(offline.SOURCES)
    assert not re.search(r'<(script|link)\b[^>]*(src|href)="http', page)
    assert page.count("<script>/**/</script>") == 3
    assert page.count("<style>/**/</style>") == 1
    assert offline.inline(page, None) == page


@pytest.mark.parametrize("page, text, words", [
    ('<script src="https://example.org/a.js"></script>', "", "not known"),
    (f'<script src="{next(iter(offline.SOURCES))}"></script>', "</SCRIPT>",
     "has </script in it"),
])
def test_what_cannot_be_inlined_is_told(page, text, words, tmp_path, capsys,
                                        monkeypatch):
    monkeypatch.setattr(offline.inline, "__defaults__", (lambda *_: text,))
    path = tmp_path / "page.html"
    path.write_text(page)
    with pytest.raises(SystemExit):
        offline.main([str(path)])
    line, = capsys.readouterr().err.splitlines()
    assert words in line and "page.html" in line
    assert path.read_text() == page


def test_files_come_out_of_the_archive_or_a_line_says_why(
    tmp_path, monkeypatch
):
    (tmp_path / "a.js").write_text("let θ;", encoding="utf-8")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "a.js", "package/a.js")
    monkeypatch.setattr(
        offline.pooch, "retrieve", lambda *_, **__: tmp_path / "a.tgz"
    )
    assert offline.fetch("a.tgz", "0", "package/a.js") == "let θ;"

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(offline.pooch, "retrieve", unreachable)
    with pytest.raises(offline.ResultError, match="connect once"):
        offline.fetch("a.tgz", "0", "package/a.js")


def test_benchopt_finds_the_plots_and_their_numbers(root_dir):
    from benchopt.benchmark import Benchmark

    benchmark = Benchmark(root_dir)
    benchmark.check_plots()
    names = ["suboptimality", "cosine_of_q", "backward_against_forward_time"]
    assert set(names) <= set(benchmark.get_plot_names())
    frame = pd.concat([bilevel_runs(), network_runs()], ignore_index=True)
    data, options = benchmark.get_plot_data(frame, names)
    assert options["suboptimality"]["panel"] == ["net, fair", "toy, fair"]
    # what the views of config.yml choose is there
    for view in benchmark.get_plot_config()["plot_configs"].values():
        kind = view["plot_kind"]
        assert kind in names
        for key in set(view) - {"plot_kind", "scale"}:
            assert view[key] in options[kind][key.removeprefix(f"{kind}_")]

    def curve(plot, key, method="SHINE"):
        found, = (t for t in data[plot][key]["data"] if t["label"] == method)
        return found

    losses = curve(
        "suboptimality", "suboptimality_toy, fair_validation loss_evaluations"
    )
    assert losses["x"] == [0, 11, 22, 33]
    assert losses["y"] == pytest.approx([1, 0.09, traces.FLOOR, traces.FLOOR])
    assert losses["color"] == traces.style_of("SHINE")["color"]
    cosines = curve("cosine_of_q", "cosine_of_q_net, fair_time", "HOAG")
    assert cosines["x"] == [0, 9, 18] and cosines["y"] == [0.9] * 3
    point = curve(
        "backward_against_forward_time",
        "backward_against_forward_time_net, fair", "HOAG",
    )
    assert (point["x"], point["y"]) == (
        pytest.approx([40]), pytest.approx([90])
    )
    # the toy has no cosine
    assert data["cosine_of_q"]["cosine_of_q_toy, fair_time"]["data"] == []
