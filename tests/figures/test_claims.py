"""Verdicts on the paper's claims, of numbers that leave no doubt."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest, norm

from helpers.figure_rows import bilevel, run, save
from helpers.league_numbers import problem
from figures import stats
from figures.tables import claims, league

INF, NAN = np.inf, np.nan
FIRST, STAY = "evaluations to 1e-2", "evaluations to stay at 1e-2"
TEN = np.arange(10)
SOONER = "SHINE reaches a given suboptimality sooner"
OPA = "SHINE-OPA is at least as fast"


def arrivals(shine, hoag, **columns):
    """SHINE and HOAG, who arrive and stay at the same time."""
    both = {"SHINE": shine, "HOAG": hoag}
    return problem({FIRST: both, STAY: both}, **columns)


def memories(**of):
    """Runs of methods with a memory each, as far as claims look at them."""
    return pd.DataFrame([
        {"dataset": "toy", "protocol": "fair", "fingerprint": "abc",
         "path": "a", "machine": "", "settings": {"memory": memory},
         "method": name.replace("_", "-").replace("60", " (memory=60)")}
        for name, memory in of.items()])


def found(title, *problems, runs=None):
    claim, = (c for c in claims.CLAIMS if c.title.startswith(title))
    return claims.findings(claim, claims.places_of(problems, runs))


def verdicts(table):
    return dict(zip(table.get("quantity", []), table.get("verdict", [])))


@pytest.mark.parametrize("shine, hoag, verdict, effect, score, p", [
    (100 + TEN, 200 + 2 * TEN, "confirmed", "2", "10:0:0", "0.0039"),
    (200 + 2 * TEN, 100 + TEN, "refuted", "0.5", "0:10:0", "0.0039"),
    # nine wins, two comparisons in the family
    ([100] * 10, [90] + [150] * 9, "confirmed", "1.5", "9:1:0", "0.043"),
    ([100] * 10, [90] * 2 + [150] * 8, "undecided", "1.5 (1.2–1.5)",
     "8:2:0", "0.22"),
    ([100] * 10, [INF] * 10, "confirmed", "∞", "10:0:0", "0.0039"),
    ([100] * 5 + [INF] * 5, [INF] * 10, "undecided", "∞ (1–∞)", "5:0:5",
     "0.12"),
    # the sign test alone does not decide: the interval begins at 1
    ([100] * 7 + [INF] * 3, [INF] * 10, "undecided", "∞ (1–∞)", "7:0:3",
     "0.031"),
    ([INF] * 10, [INF] * 10, "undecided", "1", "0:0:10", "1"),
    ([100] * 7, [200] * 7, "confirmed", "2", "7:0:0", "0.031"),
    ([100] * 6, [200] * 6, "not tested", "2", "6:0:0", "–"),
    ([100] * 10, [200] * 5 + [NAN] * 5, "not tested", "2", "5:0:0", "–"),
])
def test_ratios_paired_by_seed(shine, hoag, verdict, effect, score, p):
    table = found(SOONER, arrivals(shine, hoag))
    assert verdicts(table) == {FIRST: verdict, STAY: verdict}
    row = table.iloc[0]
    assert (row["score"], row["p_text"]) == (score, p)
    if verdict != "undecided":  # whose interval has an end of the bootstrap
        assert row["effect"] == effect
    else:
        assert row["effect"].split()[0] == effect.split()[0]


def test_pairs_decide_where_medians_would_not():
    """Each seed has a scale of its own; SHINE wins on every one."""
    scale = 2.0 ** TEN
    table = found(SOONER, arrivals(scale, 1.5 * scale))
    assert set(table["verdict"]) == {"confirmed"}
    assert table["effect"].iloc[0] == "1.5"
    assert found(SOONER, arrivals(scale, np.random.default_rng(
        0).permutation(1.5 * scale)))["verdict"].iloc[0] == "undecided"


def test_first_and_stay_are_judged_apart_and_say_who_arrived():
    table = found(SOONER, problem({
        FIRST: {"SHINE": [100] * 10, "HOAG": [200] * 10},
        STAY: {"SHINE": [INF] * 10, "HOAG": [200] * 10}}))
    assert verdicts(table) == {FIRST: "confirmed", STAY: "refuted"}
    assert list(table["median_one"]) == ["100 (10 of 10)", "never (0 of 10)"]


def test_a_verdict_does_not_depend_on_what_else_is_read():
    own = arrivals([100] * 10, [90] + [150] * 9)
    first_only = problem(
        {FIRST: {"SHINE": [100] * 10, "HOAG": [90] + [150] * 9}})
    more = problem({q: {
        "SHINE": [100] * 10, "HOAG": [90] + [150] * 9,
        "Jacobian-Free": [INF] * 10, "SHINE (memory=60)": [1] * 10,
        "Grid-search": range(1, 11)} for q in (FIRST, STAY)})
    other = arrivals([1] * 20, [2] * 20, dataset="another")
    hoag = arrivals([1] * 20, [2] * 20, protocol="hoag")
    alone = found(SOONER, own)
    keys = ["quantity", "verdict", "p", "effect", "score"]
    for read in [(own, other), (hoag, other, own), (more, other)]:
        table = found(SOONER, *read)
        table = table[(table["place"] == "toy")
                      & (table["protocol"] == "fair")]
        pd.testing.assert_frame_equal(
            table[keys].reset_index(drop=True), alone[keys])
    # a claim about several methods judges each by itself
    shine = {"SHINE": [10] * 10, "Grid-search": [9] * 3 + [11] * 7}
    with_random = shine | {"Random-search": [99] * 10}
    grid = [found("Grid search", problem({FIRST: own, STAY: own}))
            for own in (shine, with_random)]
    assert grid[0]["p"].iloc[0] == grid[1]["p"].iloc[0]
    # what a file lacks counts in the family: p is doubled all the same
    lonely = found(SOONER, first_only)
    assert lonely["p"].iloc[0] == alone["p"].iloc[0]


@pytest.mark.parametrize("ratio, n", [(1, 10), (1.5, 10), (1.5, 20)])
def test_size_and_power_of_a_verdict(ratio, n, monkeypatch):
    """Two arrivals that agree: p is twice that of a sign test."""
    monkeypatch.setattr(stats, "N_RESAMPLES", 499)
    rng, decided = np.random.default_rng(0), []
    for _ in range(500):
        one, other = np.exp(rng.normal(size=n) + 0.4 * rng.normal(
            size=(2, n)))
        effects = stats.log_ratios(one, ratio * other)
        estimate, *p = stats.evidence(
            effects, *claims.BETTER, stats.median_interval, stats.sign_test)
        adjusted = stats.holm([min(p)] * 2)[0]
        decided.append(claims.verdict_of(estimate, adjusted, claims.BETTER))
    wins = np.arange(n + 1)
    rate = norm.cdf(np.log(ratio) / 0.4 / np.sqrt(2))
    enough = [2 * binomtest(k, n).pvalue <= 0.05 for k in wins]
    exact = binom.pmf(wins, n, rate) @ enough
    found = np.mean(np.array(decided) != "undecided")
    assert found == pytest.approx(exact, abs=0.04)
    assert ratio > 1 or found <= 0.05


# What cannot be compared

def test_ties_are_ties_whatever_their_last_bits():
    for ulp in (0, 1, -1, 5):
        one = np.full(10, 0.3)
        other = np.append(np.full(7, 0.6), np.full(3, 0.3 + ulp * 2.0**-54))
        row = found(SOONER, arrivals(one, other)).iloc[0]
        assert (row["score"], row["verdict"]) == ("7:0:3", "undecided")


def measured(time_of="a", package_of="abc"):
    """SHINE, of one file, and HOAG, on six seeds more than can decide."""
    numbers = {"SHINE": [1] * 10, "HOAG": [2] * 10}
    runs = pd.DataFrame({
        "method": ["SHINE", "HOAG"], "dataset": "toy", "protocol": "fair",
        "fingerprint": ["abc", package_of], "path": ["a", time_of],
        "machine": "", "settings": [{}, {}]})
    return found(SOONER, problem({
        title: numbers for title in (FIRST, "time to 1e-2")}), runs=runs)


def test_numbers_of_two_origins_are_not_compared():
    assert verdicts(measured()) == {
        FIRST: "confirmed", "time to 1e-2": "confirmed"}
    other = measured(time_of="b")
    assert verdicts(other) == {
        FIRST: "confirmed", "time to 1e-2": "not tested"}
    assert other["why"].iloc[-1] == "times of two occasions"
    other = measured(package_of="def")
    assert set(other["verdict"]) == {"not tested"}
    assert set(other["why"]) == {"runs of two packages"}


def test_differences_within_the_error_of_f_are_ties():
    title = "The Jacobian-free method stalls"

    def judged(ours, theirs, error=1e-8):
        numbers = {q: {"SHINE": [ours] * 10, "Jacobian-Free": [theirs] * 10}
                   for q in ("lowest suboptimality", "last suboptimality")}
        return found(title, problem(numbers | {league.ERROR: {
            "SHINE": [1e-12] * 10, "Jacobian-Free": [error] * 10}})).iloc[0]

    assert judged(0.999e-8, 1.001e-8)["score"] == "0:0:10"
    assert judged(0.0, 1.001e-8)["effect"] == "1"  # not ∞
    assert judged(0.0, 1e-6)["effect"] == "100"
    assert judged(INF, INF)["score"] == "0:0:10"
    assert judged(0.1, INF)["verdict"] == "confirmed"


def test_medians_are_of_the_seeds_that_are_compared():
    table = found(SOONER, arrivals(
        [100] * 7 + [1] * 13, [200] * 7 + [NAN] * 13))
    assert table["median_one"].iloc[0] == "100 (7 of 7)"


def test_a_name_with_a_bracket_is_not_a_setting():
    table = found(SOONER, problem({FIRST: {
        "SHINE (mine)": [1] * 10, "HOAG": [2] * 10}}))
    assert table.empty


@pytest.mark.parametrize("numbers, words", [
    ((0.5, -1, INF), "+0.5 (−1 to +∞)"), ((NAN, -INF, INF), "– (−∞ to +∞)"),
])
def test_differences_in_words(numbers, words):
    assert claims.SCORES.in_words(stats.Estimate(*numbers)) == words


def test_a_ratio_of_nothing_is_a_dash():
    assert claims.COSTS.in_words(
        stats.Estimate(NAN, -INF, INF)) == "– (0–∞)"


@pytest.mark.parametrize("p, text", [
    (0.0500427, "> 0.05"), (0.05, "0.05"), (0.0496, "0.05"),
    (0.062, "0.062"), (1e-9, "< 0.001"),
])
def test_a_p_value_is_on_its_side_of_the_level(p, text):
    assert claims._p_in_words(p) == text


# OPA, at equal memory

TIMES = {"SHINE": [100] * 10, "SHINE-OPA": [60] * 10,
         "SHINE (memory=60)": [60] * 10}


def opa(names, **of):
    numbers = {name: TIMES[name] for name in names}
    return found(OPA, problem({FIRST: numbers, STAY: numbers}),
                 runs=memories(**of) if of else None)


def test_opa_is_compared_at_equal_memory():
    names = ["SHINE", "SHINE-OPA"]
    apart = opa(names, SHINE=30, SHINE_OPA=60)
    assert set(apart["verdict"]) == {"not tested"}
    assert set(apart["why"]) == {"memory 60 against 30"}
    equal = opa([*names, "SHINE (memory=60)"], SHINE=30, SHINE60=60,
                SHINE_OPA=60)
    assert set(equal["other"]) == {"SHINE (memory=60)"}
    same = opa(names, SHINE=60, SHINE_OPA=60)
    assert set(same["other"]) == {"SHINE"} and set(same["n"]) == {10}
    assert set(opa(names)["why"]) == {"memory unknown against unknown"}


def test_opa_is_compared_with_the_settings_nearest_to_its_own():
    runs = memories(SHINE=30, SHINE60=30, SHINE_OPA=30)
    for settings, c2 in zip(runs["settings"], (0.9, 0.1, 0.1)):
        settings["c2"] = c2
    numbers = {name: TIMES[name] for name in runs["method"]}
    table = found(OPA, problem({FIRST: numbers}), runs=runs)
    assert set(table["other"]) == {"SHINE (memory=60)"}


@pytest.mark.parametrize("own, other, verdict, n", [
    (100 + TEN, 100 + TEN, "not tested", 10),  # equal on every seed
    ([INF] * 10, [INF] * 10, "not tested", 0),
    ([INF] * 10, [100] + [INF] * 9, "not tested", 1),
    ([100] * 7 + [INF] * 3, [101] * 7 + [INF] * 3, "confirmed", 7),
    ([100] * 9 + [50], [100] * 10, "confirmed", 10),
])
def test_a_margin_needs_runs_that_tell_two_methods_apart(
    own, other, verdict, n,
):
    numbers = {"SHINE-OPA": own, "SHINE": other}
    table = found(OPA, problem({FIRST: numbers, STAY: numbers}),
                  runs=memories(SHINE=60, SHINE_OPA=60))
    assert set(table["verdict"]) == {verdict} and set(table["n"]) == {n}
    assert table["median_one"].iloc[0].endswith("of 10)")


def test_settings_that_both_methods_have_are_compared():
    labels = ["SHINE (c2=0.1)", "SHINE (c2=0.9)", "HOAG (c2=0.9)"]
    numbers = {name: [1] * 10 for name in labels}
    table = found(SOONER, problem({FIRST: numbers}))
    assert list(zip(table["one"], table["other"])) == [
        ("SHINE (c2=0.9)", "HOAG (c2=0.9)")]
    numbers["HOAG"] = numbers.pop("HOAG (c2=0.9)")
    assert set(found(SOONER, problem({FIRST: numbers}))["one"]) == {
        "SHINE (c2=0.1)", "SHINE (c2=0.9)"}


# Networks

def on_network(**accuracies):
    return problem({"accuracy": {
        name.replace("_", "-"): [
            x + seed / 10 + (seed == i) / 100 for seed in range(4)]
        for i, (name, x) in enumerate(accuracies.items())
    }}, family=league.NETWORK)


LOSS, REPAIR, PAR = (
    "… at a loss of at most", "… which a few refining steps",
    "In networks both are on a par")


@pytest.mark.parametrize("shine, refine, loss, repair", [
    (90, 94.9, "refuted", "confirmed"), (90, 91, "refuted", "refuted"),
    (94.8, 95.1, "confirmed", "confirmed"),
    (96, 95, "confirmed", "not tested"),
])
def test_accuracies_against_a_margin(shine, refine, loss, repair):
    net = on_network(HOAG=95, SHINE=shine, SHINE_refine=refine)
    assert found(LOSS, net)["verdict"].tolist() == [loss]
    assert found(REPAIR, net)["verdict"].tolist() == [repair]


def test_no_loss_is_said_only_where_it_was_tested():
    why = found(REPAIR, on_network(HOAG=95, SHINE_refine=95))["why"]
    assert why.tolist() == ["SHINE's own loss was not tested"]
    why = found(REPAIR, on_network(
        HOAG=95, SHINE=96, SHINE_refine=95))["why"]
    assert why.tolist()[0].startswith("no loss of SHINE is found")


def test_without_spread_nothing_is_tested():
    row = found(PAR, problem({"accuracy": {
        "SHINE": [94.7] * 3, "Jacobian-Free": [95.0] * 3,
    }}, family=league.NETWORK)).iloc[0]
    assert row["verdict"] == "not tested" and "no spread" in row["why"]


def test_equivalence_has_two_margins():
    def of(difference, spread=0.0):
        numbers = 95 + difference + spread * np.array([-1, 0, 1, 0])
        return found(PAR, problem({"accuracy": {
            "SHINE": numbers, "Jacobian-Free": [95.0] * 4,
        }}, family=league.NETWORK))["verdict"].iloc[0]

    assert of(0.4, 0.01) == of(-0.4, 0.01) == "confirmed"
    assert of(0.6, 0.01) == of(-0.6, 0.01) == "refuted"
    assert of(0, 1) == "undecided"


def test_tenfold_means_tenfold():
    def of(ratio):
        return found("… by a factor of 10", problem({"backward": {
            "SHINE": [1.0] * 3, "HOAG": ratio * np.array([1, 1.1, 1 / 1.1]),
        }}, family=league.NETWORK)).iloc[0]

    assert [of(x)["verdict"] for x in (15, 9, 5)] == [
        "confirmed", "undecided", "refuted"]
    assert of(15)["effect"].startswith("15 (")  # the geometric mean


# Measurements that are no runs, and the page

def test_tries_of_an_inversion_are_paired():
    points = pd.DataFrame({
        "direction": ["prescribed", "random", "krylov"] * 10,
        "try": np.repeat(np.arange(10), 3),
        "ratio": [1.0, 1.1, 1.0] * 10, "cosine": [0.9999, 0.99, 1.0] * 10})
    claim, = (c for c in claims.CLAIMS if c.families == ("inversion",))
    table = claims.findings(claim, claims.places_of([], inversion=points))
    assert table["verdict"].tolist() == ["confirmed"] * 2
    assert table["n"].tolist() == [10, 10]
    assert table["effect"].iloc[1] == "179000"  # 0.179 over 1e-6, the least
    for ulp in (1, 4):  # of a cosine decide nothing
        moved = points.assign(cosine=points["cosine"] - ulp * 2.0**-53)
        again = claims.findings(
            claim, claims.places_of([], inversion=moved))
        assert again["effect"].tolist() == table["effect"].tolist()
    lacking = claims.findings(
        claim, claims.places_of([], inversion=points.drop(1)))
    assert lacking["n"].tolist() == [9, 9]


def test_the_page_has_every_claim_and_counts_data_sets():
    read = [arrivals([100] * 10, [200] * 10),
            arrivals([2] * 10, [1] * 10, dataset="another"),
            arrivals([2] * 2, [1] * 2, dataset="short")]
    text = claims.full(claims.places_of(read))
    assert text.count("\n## ") == len(claims.CLAIMS)
    assert ("- fair: SHINE against HOAG, evaluations to 1e-2: confirmed on 1 "
            "of 3 data sets, refuted on 1, not tested on 1.") in text
    assert "page: 2 families" in text and "in 0.1 of them" in text
    assert "seeds to compare: 2; 7 can decide" in text
    assert "No file compares these methods." in text


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(league, "problems_of", lambda runs: (
        [arrivals([100] * 10, [200] * 10)], ["some warning"]))
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    status, text, err = run(
        capsys, "claims", path, "--output-dir", tmp_path / "out")
    assert status == 0 and "warning: some warning" in err
    written = (tmp_path / "out" / "claims.md").read_text(encoding="utf-8")
    assert text.startswith(written) and "confirmed on 1 of 1" in written
