"""The findings: paragraphs of numbers for docs/results.md and README.md.

A page has a place for each paragraph that it wants.  The words around the
numbers suit any outcome; verdicts are those of `figures.tables.claims`.
"""
import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd

from .. import backward_times, error_against_cost, figE2, lm, stats, theory
from ..networks import summarise
from ..results import ResultError, read_inputs, read_measurement
from . import claims, league, race
from .markdown import cell, markdown

FAIR, PUBLISHED, TEXT = "fair", "published", "20news"
STAY, FIRST = race.STAY.format("1e-2"), "evaluations to 1e-2"
SIDES = "equal settings", "the authors' settings"
STAYED = "stay 0.01"  # of rounding.csv
TIME, LAST = "time to stay at 1e-2", "last suboptimality"
# Files by what they are of.
ONE_PENALTY = (
    "figE1_fair.parquet", "figE1_paper.parquet", "bundled_fair.parquet",
)
MEMORY = *ONE_PENALTY, "memory_20news.parquet"
RACE = "race.parquet", "race_weak.parquet", "race_large.parquet"
TRAINED = "fig3_tiny.parquet", "deq_quick.parquet"
PASSES = (
    "backward_times_cuda.csv", "backward_times_imagenet.csv",
    "backward_times_cpu.csv",
)
INVERSES = (
    "figE2_dense.csv", "figE2_mdeq.csv", "figE2_tiny_cifar10.csv",
    "figE2_tiny_cifar10_penalised.csv",
)


# Figure E.2's, in the order of the paper.
DIRECTIONS = {
    "OPA": "SHINE-OPA", "adjoint Broyden": "SHINE[forward=adjoint_broyden]",
    "Broyden": "SHINE", "Jacobian-free": "Jacobian-Free",
}
ALIGNED = "tiny, cifar10"  # the README's network


class Record:
    """The result files of a folder, each read once, when it is asked for.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    warnings : list of str
        What was wrong with the files read so far, a sentence each.
    """

    def __init__(self, folder):
        self.folder, self.warnings, self._known = folder, [], {}

    def _read(self, names):
        inputs = read_inputs(self.paths(names))
        self.warnings += inputs.warnings
        return inputs

    def paths(self, names):
        """Return the paths of those of some files that are there.

        Raises
        ------
        ResultError
            Where none is.
        """
        found = [self.folder / name for name in names
                 if (self.folder / name).is_file()]
        if not found:
            raise ResultError(
                "Not measured: " + ", ".join(f"`{name}`" for name in names)
                + " are made by `make record`.")
        return found

    def runs(self, names):
        """Return the runs of those of some files that are there."""
        return self._read(names).need_runs()

    def league(self, names):
        """Return the problems of some files, and what to judge claims on.

        These are lists of `league.Problem` and of `claims.Place`.
        """
        if names not in self._known:
            inputs, problems, warnings = self._read(names), [], []
            if inputs.runs is not None:
                problems, warnings = league.problems_of(inputs.runs)
            self.warnings += warnings
            self._known[names] = (
                problems, claims.places_in(inputs, problems))
        return self._known[names]

    def places(self, names):
        """Return what claims can be judged on, a list of `claims.Place`."""
        return self.league(names)[1]


def need(there, what):
    """Raise a ResultError that names what a record lacks, unless there."""
    if not there:
        raise ResultError(f"Not in this record: {what}.")


# Words

def judge(places, one, other, quantity):
    """Judge the first claim about two methods and a quantity.

    Returns
    -------
    DataFrame
        Of `claims.findings`, that quantity's rows.

    Raises
    ------
    ResultError
        Where no file has both methods, and that quantity of them.
    """
    claim = next(
        claim for claim in claims.CLAIMS if (one, other) in claim.pairs
        and any(quantity in group for group in claim.quantities))
    found = claims.findings(replace(claim, pairs=((one, other),)), places)
    if not found.empty:  # it has no columns then
        found = found[found["quantity"] == quantity]
    if found.empty:
        raise ResultError(
            f"No file has both {one} and {other}, with {quantity}.")
    return found


def at(places, title, protocol=FAIR):
    """Keep the places of one data set, by its title, in one protocol."""
    return [place for place in places
            if (place.title, place.protocol) == (title, protocol)]


def others(places, title):
    """Keep the places of the fair protocol but one."""
    return [place for place in places
            if place.protocol == FAIR and place.title != title]


def said(row):
    """Write one comparison: both numbers, the effect, the verdict."""
    return (
        f"{row['one']} {row['median_one']}, {row['other']} "
        f"{row['median_other']}; {verdict(row)}")


def verdict(row):
    """Write an effect with its interval and score, and the verdict."""
    if row["why"]:
        return f"**{row['verdict']}** ({row['why']})"
    effect = row["effect"].replace("(", "[").replace(")", "]")
    name = "difference" if claims.scale_of(row["quantity"]) is (
        claims.SCORES) else "ratio"
    return (f"{name} {effect}, {row['score'].removesuffix(':0')}, "
            f"**{row['verdict']}**")


def seeds(row):
    """Say over how many seeds a comparison is."""
    return league.in_words(row["n"], "seed")


def counted(found):
    """Count the verdicts over data sets."""
    return claims.counts_in_words(found["verdict"])


# The paragraphs.  Each takes a Record and returns sentences.

def sooner(record):
    """SHINE against HOAG."""
    places = record.places(ONE_PENALTY)
    here, bundled = at(places, TEXT), others(places, TEXT)
    fair = judge(here, "SHINE", "HOAG", STAY).iloc[0]
    time = judge(here, "SHINE", "HOAG", TIME).iloc[0]
    theirs = at(places, TEXT, PUBLISHED)
    first = judge(theirs, "SHINE", "HOAG", FIRST).iloc[0]
    stay = judge(theirs, "SHINE", "HOAG", STAY).iloc[0]
    return (
        f"Evaluations until a run of 20 newsgroups stays within 1e-2 of F\\*, "
        f"equal settings, {seeds(fair)}: {said(fair)}. Seconds, on a busy "
        f"machine: {said(time)}. On bundled data the claim in evaluations is "
        f"{counted(judge(bundled, 'SHINE', 'HOAG', STAY))}. With the authors' "
        f"settings, first arrival: {verdict(first)}; to stay there: "
        f"{said(stay)}.")


def one(record):
    """SHINE against HOAG in a sentence, for the README."""
    places = record.places(ONE_PENALTY)
    fair, first, stay = (
        judge(at(places, TEXT, protocol), "SHINE", "HOAG", quantity).iloc[0]
        for protocol, quantity in (
            (FAIR, STAY), (PUBLISHED, FIRST), (PUBLISHED, STAY)))
    gains, _ = opa_gains(record)
    return (
        f"On 20 newsgroups ({seeds(fair)}), evaluations until a run stays "
        f"within 1e-2 of F\\*: {said(fair)}. With the authors' settings, "
        f"first arrival: {verdict(first)}; to stay: {verdict(stay)}. Where "
        "the solver's steps lie in a subspace, OPA divides the error of dF/dθ "
        f"by {_range(gains)}.")


def free(record):
    """The Jacobian-free method, and searches, against SHINE."""
    places = record.places(ONE_PENALTY)
    fair = judge(at(places, TEXT), "SHINE", "Jacobian-Free", LAST).iloc[0]
    bundled = judge(others(places, TEXT), "SHINE", "Jacobian-Free", LAST)
    grid, drawn = (
        judge(at(places, TEXT), "SHINE", name, STAY).iloc[0]
        for name in ("Grid-search", "Random-search"))
    return (
        f"Relative suboptimality at the end, 20 newsgroups, {seeds(fair)}: "
        f"{said(fair)}. On bundled data SHINE's being lower is "
        f"{counted(bundled)}. Evaluations to stay at 1e-2 against searches: "
        f"{said(grid)}; {said(drawn)}.")


def opa(record):
    """OPA against plain SHINE, and what the inverse estimate inverts."""
    places = record.places(MEMORY)
    fair = judge(at(places, TEXT), "SHINE-OPA", "SHINE", STAY)
    bundled = judge(others(places, TEXT), "SHINE-OPA", "SHINE", STAY)
    inverted = judge(
        record.places(("fig2_inversion.csv",)), "prescribed", "random",
        "error of B v").iloc[0]
    compared, published = (
        "; ".join(said(row) for _, row in found.iterrows())
        for found in (fair, judge(
            at(places, TEXT, PUBLISHED), "SHINE-OPA", "SHINE", STAY)))
    return (
        f"Evaluations to stay at 1e-2 at equal memory, 20 newsgroups: "
        f"{compared}. With the authors' settings of either figure: "
        f"{published}. On bundled data, OPA's being at least as fast "
        f"is {counted(bundled)}. The error of B v, {inverted['n']} tries: "
        f"{said(inverted)}.")


def theorems(record):
    """What the theorems promise, measured."""
    ours, published = opa_gains(record)
    need(published, f'"{theory.PUBLISHED}" in theory.csv')
    return (
        f"Where the steps lie in a subspace, OPA's transposed direction makes "
        f"the error of dF/dθ {_range(ours)} times lower than it is without "
        f"OPA, and the direction of the published code {_range(published)} "
        "times (medians over draws, by problem and solver).")


def opa_gains(record):
    """Return how many times OPA lowers the error of dF/dtheta.

    Two lists, for OPA's direction and for that of the published code: the
    medians over draws, for each problem whose steps lie in a subspace and
    each solver.  The first has at least one.
    """
    path, = record.paths(("theory.csv",))
    table = theory.summary(theory.read_theory(path))
    ours, published = [], []
    for (_, steps), own in table.groupby(
            level=["problem", "steps"], sort=False):
        own = own.droplevel(["problem", "steps"])
        for method in own.index:
            plain = theory.alone(method)
            if steps != "subspace" or method == plain or (
                    plain not in own.index):
                continue
            gains = theory.gains(own, method).median()
            (published if method == theory.PUBLISHED else ours).append(gains)
    need(ours, "a solver with OPA and without, in theory.csv, whose steps lie "
               "in a subspace")
    return ours, published


def _range(numbers):
    return " to ".join(
        map(theory.times_in_words, (min(numbers), max(numbers))))


def several(record):
    """Several hyperparameters: on how many tasks most runs get there."""
    problems, places = record.league(RACE)
    problems = race.fair(problems)
    at_goals = {
        goal: race.medians(problems, race.STAY.format(goal))
        for goal in ("1e-1", "1e-2")
    }
    last = at_goals["1e-2"]
    shown = [name for name in race.in_order(last) if name in race.BRIEF]
    need(shown, f"{' or '.join(race.BRIEF)} on a task of the race")
    places = [place for place in places if place.protocol == FAIR]
    rows = [
        {"method": f"`{name}`"} | {
            f"within {goal}": f"{np.isfinite(medians.loc[name]).sum()} of "
                              f"{medians.loc[name].notna().sum()}"
            for goal, medians in at_goals.items()
        } | _duels(name, places)
        for name in shown
    ]
    return (
        f"On how many of {len(problems)} tasks more than half of the runs "
        "stay within a part of F\\*, fair protocol; and, for rivals that came "
        "later, on how many the claim that they stay within 1e-2 sooner is "
        "confirmed / undecided / refuted / not tested:"
    ), markdown(pd.DataFrame(rows).fillna(""))


def _duels(rival, places):
    if rival not in race.RIVALS:
        return {}
    found = claims.findings(race.claim_of(rival), places)
    found = found[found["quantity"] == STAY]
    order = (claims.CONFIRMED, claims.UNDECIDED, claims.REFUTED,
             claims.UNTESTED)
    return {
        f"sooner than {other}": " / ".join(
            str((own["verdict"] == word).sum()) for word in order)
        for other in ("SHINE", "Recycled-PCG")
        for own in [found[found["other"] == other]]
    }


def many(record):
    """Several hyperparameters in a sentence, for the README."""
    problems = race.fair(record.league(RACE)[0])
    medians = race.medians(problems, STAY)
    there = {
        name: np.isfinite(own).sum() for name, own in medians.iterrows()
        if name in race.BRIEF and own.notna().all()
    }
    need(there, f"{' or '.join(race.BRIEF)} on every task of the race")
    return (
        f"Of {len(problems)} tasks, most with a penalty per feature, class or "
        "group or a weight per training row, those where more than half of "
        "the runs stay within 1e-2 of F\\*: " + ", ".join(
            f"{name} {there[name]}"
            for name in sorted(there, key=there.get, reverse=True)) + ".")


def errors(record):
    """Errors of q at equal cost, and costs of a hypergradient, a table."""
    path, = record.paths(("error_against_cost.csv",))
    frame = error_against_cost.read_errors([path])
    frame = frame[frame["start"] == "warm"]
    need(error_against_cost.EXACT in set(frame["method"]),
         f"{error_against_cost.EXACT} from a warm start, in {path.name}")
    budgets = error_against_cost.budgets(frame)
    at_cost = [
        error_against_cost.at_equal_cost(frame, "q_error", tol).groupby(
            "method").median() for tol in budgets]
    costs = error_against_cost.cost_to_reach(
        frame, "gradient_error", error_against_cost.GRADIENT).unstack("method")
    rows = []
    for name in filter(set(costs).__contains__, error_against_cost.SHOWN):
        rows.append({"method": f"`{name}`"} | {
            f"q at HOAG's cost, {tol:g}":
                league.number(own[name], ".1g")
            for tol, own in zip(budgets, at_cost)
        } | {
            "dF/dθ within 1 %":
                f"{np.isfinite(costs[name]).sum()} of {len(costs)}",
            "cost of it / HOAG's":
                error_against_cost.times_exact(costs, name),
        })
    return (
        f"{league.in_words(len(costs), 'case')}: "
        f"{league.in_words(frame['task'].nunique(), 'task')}, "
        f"{league.in_words(frame['seed'].nunique(), 'seed')}, "
        f"{frame['step'].nunique()} θ. The "
        "median error of q for at most the cost that HOAG has at two inner "
        "tolerances; in how many cases some tolerance brings dF/dθ to 1 %, "
        "and the geometric mean of what that costs over what it costs HOAG:"
    ), markdown(pd.DataFrame(rows))


def passes(record):
    """Times of the backward pass over the full solve's, and published."""
    found = backward_times.summary(
        backward_times.read_times(*record.paths(PASSES)))
    rows = []
    for (network, device), own in found.groupby(
            backward_times.KEY, sort=False):
        published = 1 / backward_times.published_ratios(network)
        own = own.set_index("method")["ratio"]
        rows.append({"network": f"{network.upper()}, {device}"} | {
            title: f"{cell(1 / own.get(method, np.nan), '.1f')} / "
                   f"{published[name, steps]:.1f}"
            for title, name, steps, method in (
                ("full solve, 5 steps", "HOAG", 5, "HOAG[backward_steps=5]"),
                ("SHINE, 5 steps", "SHINE", 5, "SHINE[backward_steps=5]"),
                ("SHINE", "SHINE", 0, "SHINE"),
                ("Jacobian-Free", "Jacobian-Free", 0, "Jacobian-Free"),
            )
        })
    return (
        "How many times faster than the full solve a backward pass is, ours / "
        "published:"), markdown(pd.DataFrame(rows))


def accuracy(record):
    """What inexact gradients cost in accuracy, a table."""
    rows = []
    for one in ("SHINE", "Jacobian-Free", "SHINE-refine"):
        for place in record.places(TRAINED):
            if place.family != "network":
                continue
            row = claims.compare(
                place, "accuracy", one, "HOAG",
                claims.Region(-claims.POINTS))
            if row.get("why") == "not run":
                continue
            rows.append({
                "method": f"`{one}`", "data set": place.title,
                "seeds": str(row["n"]),
                "less the full solve (points)":
                    claims.in_words(row)["effect"],
                "verdict": row["verdict"],
            })
    need(rows, "HOAG with SHINE, SHINE-refine or Jacobian-Free on a network")
    return (
        "Test accuracy at the end less that of the full solve, paired by "
        "seed, with its 95 % interval by Student's t; the claim is that at "
        f"most {claims.POINTS} points are lost:"), markdown(
            pd.DataFrame(rows))


def deep(record):
    """Times and accuracy in networks, in sentences for the README."""
    found = backward_times.summary(
        backward_times.read_times(*record.paths(PASSES)))
    # of the first device, where there are two
    ratios = found[found["method"] == "SHINE"].groupby("network")[
        "ratio"].first()
    times = [
        f"{1 / ratios[network]:.1f} in MDEQ {network.upper()} "
        f"({1 / backward_times.published_ratios(network)['SHINE', 0]:.1f})"
        for network in ("large", "small") if network in ratios
    ]
    need(times, "the times of SHINE in MDEQ LARGE or SMALL")
    places = [
        place for place in record.places(TRAINED) if place.family == "network"]
    lost = judge(places, "SHINE", "HOAG", "accuracy")
    cosines = aligned(record)
    cosines = cosines[[name.startswith(ALIGNED) for name in cosines.index]]
    need(len(cosines), f'the network "{ALIGNED}", trained, of figure E.2')
    cosines = cosines.iloc[0]
    _, ends = bits(record)
    return (
        "How many times faster than the full solve SHINE's backward pass is: "
        f"{' and '.join(times)}; in brackets what was published. That at most "
        f"{claims.POINTS} points of accuracy are lost: " + "; ".join(
            f"{row['place']} ({seeds(row)}) {row['effect']}, "
            f"**{row['verdict']}**" for _, row in lost.iterrows())
        + f". Cosine of q with the exact q, {cosines.name}: " + ", ".join(
            f"{title} {cell(cosines.get(solver, np.nan), '.3f')}"
            for title, solver in DIRECTIONS.items())
        + ". Bits per character more than the full solve, on text: "
        + ", ".join(f"{name} {more_bits(ends, name)}"
                    for name in ("SHINE", "SHINE-refine")) + ".")


def alignment(record):
    """How well q is aligned with the exact one in networks, a table."""
    return (
        "The cosine of q with the exact q on trained networks, of the median "
        "sample; the paper's order is that of the columns:"
    ), markdown(pd.DataFrame([
        {"network": network} | {
            title: cell(own.get(solver, np.nan), ".3f")
            for title, solver in DIRECTIONS.items()}
        for network, own in aligned(record).iterrows()
    ]))


def aligned(record):
    """Return the cosine of q of each solver on each trained network."""
    frame = figE2.read_alignment(record.paths(INVERSES))
    frame = frame[
        (frame["state"] == "trained") & (frame["reference_converged"] > 0)]
    need(len(frame), "an exact q on a trained network of figure E.2")
    return frame.groupby(["network", "solver"])[
        "sample_cosine_median"].median().unstack("solver")


def language(record):
    """Held-out bits per character of the DEQ-Transformer, a table."""
    runs, ends = bits(record)
    levels = [runs[name].median() for name in lm.BASELINES]
    rows = [
        {"method": f"`{method}`", "seeds": str(len(own)),
         "bits per character": cell(own.median(), ".3f"),
         "less the full solve": "–" if method == "HOAG" else
         more_bits(ends, method)}
        for method, own in sorted(
            ends.groupby(level="method"), key=lambda item: item[1].median())
    ]
    return (
        "Bits per character of held-out text, medians over seeds. A unigram "
        f"model takes {cell(levels[0], '.2f')}, a bigram model "
        f"{cell(levels[1], '.2f')}. The "
        "last column is the mean difference, paired by seed, with its 95 % "
        "interval by Student's t:"), markdown(pd.DataFrame(rows))


def bits(record):
    """Return the runs on text, and where each method ends with each seed."""
    runs = summarise(lm.text_runs(record.runs(("lm_quick.parquet",))))
    need("HOAG" in set(runs["method"]), "HOAG, the full solve, on text")
    return runs, runs.set_index(["method", "seed"])["bits_per_character"]


def more_bits(ends, method):
    """Write how many bits more than the full solve a method takes.

    "–" where fewer than two seeds have both.
    """
    if method not in ends:
        return "–"
    gaps = stats.differences(*ends[method].align(ends["HOAG"], join="inner"))
    return "–" if len(gaps) < 2 else (
        claims.SCORES.in_words(stats.mean_interval(gaps)))


def instrument(record):
    """What the outer step and rounding change."""
    path, = record.paths(("outer_rules.csv",))
    rules = read_measurement(
        path, ("rule", "method"), ("gap",),
        "give the CSV file of `python -m experiments.outer_rules`")
    close = rules[rules["method"] == "HOAG"].groupby("rule")["gap"].agg(
        lambda gaps: f"{(gaps <= 1e-3).sum()} of {len(gaps)}")
    for rule in FAIR, "hoag":
        need(rule in close, f"HOAG under the rule {rule}, in {path.name}")
    path, = record.paths(("rounding.csv",))
    repeats = read_measurement(
        path, ("task", "protocol", "method"), ("seed", STAYED),
        "give the CSV file of `python -m experiments.rounding`")
    stable = " and ".join(
        f"{unmoved(repeats[repeats['protocol'] == protocol]):.1f} % {words}"
        for protocol, words in (
            (FAIR, "under equal settings"),
            (PUBLISHED, "under the authors' settings"))
        if (repeats["protocol"] == protocol).any())
    need(stable, f"the protocol {FAIR} or {PUBLISHED} in {path.name}")
    return (
        f"The exact method ends within 0.1 % of F\\* in {close[FAIR]} "
        f"runs under the fair step and in {close['hoag']} under HOAG's own "
        f"rule. Of runs that start from z that "
        f"differ by 1e-12, on two instruction sets, {stable} need the same "
        "evaluations to stay at 1e-2 as their median, to 2 %; where most runs "
        "of a method never stay, a run that never does is the same.")


def unmoved(repeats, within=0.02):
    """Return the percentage of counts that are near their median.

    Where most runs never stay, the median is infinite, and so are the counts
    near it.
    """
    medians = repeats.groupby(["task", "seed", "method"])[STAYED].transform(
        "median")
    counts = repeats[STAYED]
    near = (counts == medians) | ((counts / medians - 1).abs() <= within)
    return 100 * near.mean()


def verdicts(record):
    """Count the verdicts of every claim, a table."""
    places = record.places(MEMORY) + [
        place for names in (TRAINED, ("fig2_inversion.csv",), INVERSES)
        for place in record.places(names) if place.family != "bilevel"
    ]
    rows = []
    for claim in claims.CLAIMS:
        found = claims.findings(claim, places)
        if found.empty:  # it has no columns then
            rows.append(dict.fromkeys(("claim", *SIDES), "–") | {
                "claim": claim.title})
            continue
        last = {group[-1] for group in claim.quantities
                if not group[-1].startswith("time")}
        found = found[found["quantity"].isin(last)]
        found = found.assign(verdict=found["verdict"].mask(
            found["why"] == claims.SAME, claims.SAME))
        rows.append({"claim": claim.title} | {
            title: "–" if own.empty else ", ".join(
                f"{(own['verdict'] == word).sum()} {word}"
                for word in (*claims.VERDICTS, claims.SAME)
                if (own["verdict"] == word).any())
            for title, own in zip(SIDES, (
                found[found["protocol"] != PUBLISHED],
                found[found["protocol"] == PUBLISHED]))
        })
    return "", markdown(pd.DataFrame(rows))


def speed(record):
    """What the suite itself costs on one thread, a table."""
    path, = record.paths(("benchmarks.csv",))
    found = read_measurement(
        path, ("section", "what", "reference", "fingerprint"),
        ("ratio", "low", "high"),
        "give the CSV file of `python -m benchmarks`")
    one = found[~found["what"].str.contains(r"threads: (?!1$)")]
    need(len(one), f"a line of one thread in {path.name}")
    prints = " and ".join(
        f"`{name}`" for name in sorted(set(one["fingerprint"])))
    return f"Measured by the package {prints}.", markdown(pd.DataFrame({
        "section": "`" + one["section"] + "`",
        "what": one["what"].str.replace("; threads: 1", ""),
        "ratio": one["ratio"].map("{:.2f}".format),
        "quartiles": [
            "" if low == high else f"{low:.2f} to {high:.2f}"
            for low, high in zip(one["low"], one["high"])],
        "of": one["reference"],
    }))


PARAGRAPHS = {
    paragraph.__name__: paragraph for paragraph in (
        instrument, verdicts, sooner, free, opa, theorems, several, errors,
        passes, accuracy, alignment, language, one, many, deep,
        speed,
    )
}


def told(name, record):
    """Write a paragraph of PARAGRAPHS, filled to lines, and its table.

    What has not been measured is said in its place.
    """
    try:
        text = PARAGRAPHS[name](record)
    except ResultError as error:
        text = str(error)
    words, table = (text, "") if isinstance(text, str) else text
    parts = [textwrap.fill(
        words, 79, break_long_words=False, break_on_hyphens=False), table]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"
