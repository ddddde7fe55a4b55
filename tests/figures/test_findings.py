"""The findings' paragraphs, of numbers that are known beforehand."""
import numpy as np
import pandas as pd
import pytest

from figures import figE2
from figures.results import ResultError
from figures.tables import claims, findings, league, race
from figures.tables.markdown import markdown

from helpers.figure_rows import bilevel, pass_times, run, save, table
from helpers.league_numbers import problem

FIRST, STAY = "evaluations to 1e-2", "evaluations to stay at 1e-2"
INF = np.inf
SEVERAL = {
    "SHINE": [INF] * 8, "HOAG": [150] * 8, "Recycled-PCG": [90] * 8,
    "qNBO": [50] * 8,
}


def on(dataset, protocol="fair", first=2.0, stay=1.5):
    """SHINE and HOAG, whose counts have these ratios."""
    return problem({
        FIRST: {"SHINE": [100] * 10, "HOAG": [100 * first] * 10},
        STAY: {"SHINE": [100] * 10, "HOAG": [100 * stay] * 10},
        "time to 1e-2": {"SHINE": [1] * 10, "HOAG": [4] * 10},
        "time to stay at 1e-2": {"SHINE": [1] * 10, "HOAG": [3] * 10},
    }, dataset, protocol)


class Known(findings.Record):
    """A record whose problems are given."""

    def __init__(self, *problems):
        self._given = list(problems), claims.places_of(problems)

    def league(self, names):
        return self._given


def test_a_verdict_is_that_of_the_claims():
    places = claims.places_of([on("toy")])
    row = findings.judge(places, "SHINE", "HOAG", STAY).iloc[0]
    assert findings.said(row) == (
        "SHINE 100 (10 of 10), HOAG 150 (10 of 10); ratio 1.5, 10:0, "
        "**confirmed**")
    page = table(claims.table(
        claims.findings(claims.CLAIMS[0], places)), "where")
    told, = [row for row in page if row["quantity"] == STAY]
    assert told["verdict"] == "confirmed"


def test_runs_that_are_the_same_confirm_nothing(monkeypatch):
    numbers = {"SHINE-OPA": [100] * 10, "SHINE": [100] * 10}
    same = problem({FIRST: numbers, STAY: numbers})
    runs = pd.DataFrame({
        "method": list(numbers), "dataset": "toy", "protocol": "fair",
        "fingerprint": "abc", "path": "a", "machine": "",
        "settings": [{"memory": 60}] * 2})
    record = Known(same)
    monkeypatch.setattr(record, "places", lambda names: (
        claims.places_of([same], runs) if names == findings.MEMORY else []))
    rows = {row["claim"]: row for row in table(
        findings.verdicts(record)[1], "claim")}
    assert rows["SHINE-OPA is at least as fast as SHINE"][
        "equal settings"] == "1 equal on every seed"


def test_too_few_seeds_are_said():
    short = problem({STAY: {"SHINE": [1] * 3, "HOAG": [2] * 3}})
    row = findings.judge(
        claims.places_of([short]), "SHINE", "HOAG", STAY).iloc[0]
    assert findings.verdict(row) == (
        "**not tested** (seeds to compare: 3; 7 can decide)")


def test_protocols_and_data_sets_have_their_own_numbers():
    text = findings.sooner(Known(
        on("20news"), on("20news", "published", first=5.0, stay=0.5),
        on("digits", stay=0.9), on("ridge")))
    text = " ".join(text.split())
    assert "HOAG 150 (10 of 10); ratio 1.5, 10:0, **confirmed**" in text
    assert "machine: SHINE 1 (10 of 10), HOAG 3" in text
    assert "confirmed on 1 of 2 data sets, refuted on 1" in text
    assert "first arrival: ratio 5, 10:0, **confirmed**" in text
    assert "to stay there: SHINE 100 (10 of 10), HOAG 50 (10 of 10)" in text
    assert text.endswith("ratio 0.5, 0:10, **refuted**.")


def test_tasks_are_counted():
    titles = [race.STAY.format(gap) for gap in league.SUBOPTIMALITIES]
    other = SEVERAL | {"SHINE": [40] * 8, "qNBO": [50] * 3 + [INF] * 5}
    record = Known(*(
        problem({title: numbers for title in titles}, name)
        for name, numbers in {"one": SEVERAL, "two": other}.items()))
    words, text = findings.several(record)
    rows = {row["method"]: row for row in table(text, "method")}
    assert "On how many of 2 tasks" in words
    assert rows["`SHINE`"]["within 1e-2"] == "1 of 2"
    assert rows["`SHINE`"]["sooner than SHINE"] == ""
    # confirmed, undecided, refuted, not tested
    assert rows["`qNBO`"]["sooner than SHINE"] == "1 / 0 / 1 / 0"
    assert rows["`qNBO`"]["sooner than Recycled-PCG"] == "1 / 1 / 0 / 0"
    assert "HOAG 2, Recycled-PCG 2, SHINE 1, qNBO 1" in findings.many(
        record)


def test_ratios_stand_beside_the_published_ones(tmp_path):
    pass_times(0.25).to_csv(tmp_path / "backward_times_cpu.csv", index=False)
    row, = table(findings.told(
        "passes", findings.Record(tmp_path)), "network")
    assert row["Jacobian-Free"] == "4.0 / 16.2"  # 209 / 12.9 ms
    assert row["SHINE"] == "- / 13.1"


def test_what_was_not_measured_is_said(tmp_path):
    record = findings.Record(tmp_path)
    for name in findings.PARAGRAPHS:
        assert findings.told(name, record).startswith("Not measured: `")


def test_what_is_wrong_with_the_files_is_told(tmp_path, capsys):
    other = bilevel("HOAG", 0, [1, 0], dataset="20news",
                    p_obj_fingerprint="def")
    save(tmp_path / "figE1_fair.parquet", other.assign(
        p_obj_fingerprint="abc", objective_solver="SHINE"), other)
    status, _, err = run(capsys, "findings", tmp_path)
    assert status == 0
    assert err.count("rows of 2 versions of the package (abc; def)") == 1


def test_a_page_gets_what_it_has_a_place_for(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- language:begin -->\nold\n<!-- language:end -->\nb\n", "utf-8")
    status, text, _ = run(capsys, "findings", tmp_path, "--page", page)
    assert status == 0 and text.startswith("language:")
    lines = page.read_text("utf-8").splitlines()
    assert lines[0] == "a" and lines[-1] == "b" and "old" not in lines
    assert lines[2].startswith("Not measured: `lm_quick.parquet`")
    page.write_text("no place\n", "utf-8")
    status, _, err = run(capsys, "findings", tmp_path, "--page", page)
    assert status == 2 and str(page) in err and "sooner" in err


def test_the_race_fills_its_place_of_a_page(tmp_path, capsys, monkeypatch):
    titles = [race.STAY.format(gap) for gap in league.SUBOPTIMALITIES]
    known = problem({title: SEVERAL for title in titles})
    monkeypatch.setattr(league, "problems_of", lambda runs: ([known], []))
    page = tmp_path / "page.md"
    page.write_text("<!-- race:begin -->\n<!-- race:end -->\n", "utf-8")
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    assert run(capsys, "race", path, "--page", page)[0] == 0
    assert race.short([known]) in page.read_text("utf-8")


def test_without_its_methods_there_is_a_sentence():
    search = problem({STAY: {"Grid-search": [1.0]}})
    with pytest.raises(ResultError, match="No file has both SHINE and HOAG"):
        findings.judge(claims.places_of([search]), "SHINE", "HOAG", STAY)


def test_a_network_without_an_exact_q_is_no_place():
    rows = pd.DataFrame([
        {"network": network, "state": "trained", "solver": "SHINE",
         "dataset": "toy", "batch": 0, "sample_cosine_median": 0.5,
         "reference_converged": known}
        for network, known in (("one", 1), ("other", 0))
    ])
    place, = claims.places_of([], alignment=rows)
    assert place.title == "one, trained"


def test_runs_that_rounding_moves_are_counted(tmp_path):
    pd.DataFrame({
        "rule": ["fair", "fair", "hoag"], "method": "HOAG",
        "gap": [1e-4, 1e-2, 1e-5],
    }).to_csv(tmp_path / "outer_rules.csv", index=False)
    rows = [
        {"task": "toy", "seed": 0, "method": "SHINE", "protocol": protocol,
         "stay 0.01": count}
        for protocol, counts in {
            "fair": [100, 101, 100, 150],
            "published": [INF, INF, INF, 100, 300],  # the median: never
        }.items() for count in counts
    ]
    for kept, expected in (
        (rows, "75.0 % under equal settings and 60.0 % under the authors' "
               "settings need"),
        (rows[:4], "75.0 % under equal settings need"),
    ):
        pd.DataFrame(kept).to_csv(tmp_path / "rounding.csv", index=False)
        text = findings.instrument(findings.Record(tmp_path))
        assert f"two instruction sets, {expected} the same" in text
        assert "1 of 2 runs under the fair step" in text


SPEED = pd.DataFrame({
    "section": ["pieces", "pieces", "growth"],
    "what": ["a product; threads: 1", "a product; threads: 12", "exponent"],
    "ratio": [1.5, 2.5, 0.7], "low": [1.25, 2.0, 0.7],
    "high": [1.75, 3.0, 0.7], "reference": "what it reads",
    "fingerprint": "abc"})


def test_the_cost_of_the_suite_is_that_on_one_thread(tmp_path):
    SPEED.to_csv(tmp_path / "benchmarks.csv", index=False)
    lines = findings.told("speed", findings.Record(tmp_path)).splitlines()
    assert lines[0] == "Measured by the package `abc`."
    assert [[word.strip() for word in line.strip("|").split("|")]
            for line in lines[4:]] == [
        ["`pieces`", "a product", "1.50", "1.25 to 1.75", "what it reads"],
        ["`growth`", "exponent", "0.70", "", "what it reads"],
    ]


# What a record lacks

def errors(**changes):
    return pd.DataFrame([
        {"task": "ridge", "seed": 0, "start": "warm", "method": method,
         "tol": tol, "step": step, "n_g": 1 / tol, "n_vjp": 1,
         "q_error": tol, "gradient_error": tol / 9, "z_error": tol,
         "fingerprint": "abc"} | changes
        for method in ("HOAG", "SHINE") for tol in (0.1, 0.01)
        for step in (2, 4)
    ])


def theorems(*methods, steps="subspace"):
    return pd.DataFrame([
        {"problem": "ridge", "steps": steps, "method": method, "draw": 0,
         "n": n, "d": 9, "z_error": 0.1, "fingerprint": "abc", "span": 4,
         "hypergradient_error": 0.1, "q_error": 0.1}
        for method in methods for n in (0, 1)
    ])


RULES = pd.DataFrame({
    "rule": ["fair", "fair", "hoag"], "method": "HOAG",
    "gap": [1e-4, 1e-2, 1e-5]})
ROUNDED = pd.DataFrame({
    "task": "toy", "seed": 0, "method": "SHINE", "protocol": ["fair"],
    "stay 0.01": 9})


@pytest.mark.parametrize("name, files, words", [
    ("errors", {"error_against_cost": errors().query("method != 'HOAG'")},
     "Not in this record: HOAG from a warm start, in error_against_cost.csv."),
    ("errors", {"error_against_cost": errors(start="cold")},
     "Not in this record: HOAG from a warm start"),
    ("theorems", {"theory": theorems("BFGS", "BFGS, OPA", steps="span")},
     "Not in this record: a solver with OPA and without, in theory.csv,"),
    ("theorems", {"theory": theorems("BFGS, OPA")},
     "Not in this record: a solver with OPA and without, in theory.csv,"),
    ("theorems", {"theory": theorems("BFGS", "BFGS, OPA")},
     'Not in this record: "adjoint Broyden, OPA published" in theory.csv.'),
    ("instrument", {"outer_rules": RULES.query("rule == 'fair'"),
                    "rounding": ROUNDED},
     "Not in this record: HOAG under the rule hoag, in outer_rules.csv."),
    ("instrument", {"outer_rules": RULES.assign(gap=1), "rounding": ROUNDED},
     "in 0 of 2 runs under the fair step and in 0 of 1 under HOAG's own"),
    ("instrument", {"outer_rules": RULES.drop(columns="gap"),
                    "rounding": ROUNDED}, "outer_rules.csv: no column gap;"),
    ("instrument", {"outer_rules": RULES,
                    "rounding": ROUNDED.assign(protocol="odd")},
     "Not in this record: the protocol fair or published in rounding.csv."),
    ("speed", {"benchmarks": SPEED[1:2]},
     "Not in this record: a line of one thread in benchmarks.csv."),
    ("deep", {"backward_times_cpu": pass_times(0.2)},
     "Not in this record: the times of SHINE in MDEQ LARGE or SMALL."),
])
def test_what_a_record_lacks_is_named(name, files, words, tmp_path):
    for file, frame in files.items():
        frame.to_csv(tmp_path / f"{file}.csv", index=False)
    text = findings.told(name, findings.Record(tmp_path))
    assert words in " ".join(text.split())


def test_a_case_that_the_exact_method_misses_is_no_ratio_of_zero(tmp_path):
    frame = errors()
    missed = (frame["method"] == "HOAG") & (frame["step"] == 4)
    frame.loc[missed, "gradient_error"] = 0.5
    frame.to_csv(tmp_path / "error_against_cost.csv", index=False)
    text = findings.told("errors", findings.Record(tmp_path))
    assert "2 cases: 1 task, 1 seed, 2 θ." in text
    rows = {row["method"]: row for row in table(text, "method")}
    assert rows["`SHINE`"]["dF/dθ within 1 %"] == "2 of 2"
    assert rows["`SHINE`"]["cost of it / HOAG's"] == "1.00"
    frame.loc[frame["method"] == "HOAG", "gradient_error"] = 0.5
    frame.to_csv(tmp_path / "error_against_cost.csv", index=False)
    text = findings.told("errors", findings.Record(tmp_path))
    rows = {row["method"]: row for row in table(text, "method")}
    assert rows["`SHINE`"]["cost of it / HOAG's"] == "–"


def network_places(*methods):
    """A network on which these methods were trained."""
    accuracy = {name: [90.0, 91.0, 92.0] for name in methods}
    return problem({"accuracy": accuracy}, family=league.NETWORK)


class Trained(findings.Record):
    """A record with known networks, and times of the passes in a folder."""

    def league(self, names):
        places = claims.places_of([network_places(*self.methods)])
        return [], places


@pytest.mark.parametrize("methods, words", [
    (("SHINE",), "Not in this record: HOAG with SHINE, SHINE-refine or"),
    (("SHINE", "HOAG"), "| `SHINE` |"),
])
def test_accuracy_needs_the_full_solve(methods, words, tmp_path):
    record = Trained(tmp_path)
    record.methods = methods
    assert words in findings.told("accuracy", record)


def test_deep_needs_its_network(tmp_path):
    times = pass_times(0.2)
    times = pd.concat([times, times.query("steps == 0").assign(
        method="SHINE")]).assign(network="large")
    times.to_csv(tmp_path / "backward_times_cpu.csv", index=False)
    one = dict.fromkeys(figE2.NUMBERS, 0.5) | {
        "dataset": "digits[network=dense]", "state": "trained",
        "solver": "SHINE", "fingerprint": "abc", "reference_converged": 1}
    pd.DataFrame([one]).to_csv(tmp_path / "figE2_dense.csv", index=False)
    record = Trained(tmp_path)
    record.methods = "SHINE", "HOAG"
    assert findings.told("deep", record) == (
        'Not in this record: the network "tiny, cifar10", trained, of figure '
        "E.2.\n")
    pd.DataFrame([one | {"reference_converged": 0}]).to_csv(
        tmp_path / "figE2_dense.csv", index=False)
    assert findings.told("alignment", record) == (
        "Not in this record: an exact q on a trained network of figure "
        "E.2.\n")


def test_a_table_of_nothing_is_nothing():
    assert markdown(pd.DataFrame()) == ""
