"""Measure which outer step brings the methods to the optimum.

    python -m experiments.outer_rules --output outputs/outer_rules.csv

Every method runs under every rule on the bundled problems, from three theta.
HOAG, the exact method, chooses the rule of the fair protocol: among the rules
under which it always ends within 0.1 % of F*, the one with the fewest
evaluations and products until it is there for good.  The root finder's own
choices are measured in the same way.  A Markdown file beside the rows has the
tables.  One thread; an hour and a half, or a quarter of it with
``--methods HOAG``.
"""
import argparse
import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmark_shine.checks import check_integer
from benchmark_shine.evaluate.bilevel import comparison
from benchmark_shine.outer import Secant, SecantState
from benchmark_shine.outer.secant import SHORTEST
from figures.tables.markdown import markdown

from .rows import Rows
from .tasks import BUNDLED, method_of, problem_of

METHODS = (
    "HOAG", "Recycled-PCG", "SHINE", "SHINE-OPA", "SHINE-refine",
    "SHINE-guarded", "HOAG-limited", "Jacobian-Free",
)
STARTS = -6.0, 0.0, 4.0
EXACT, FAIR = "HOAG", "fair"
N_OUTER = 30
KEY = "rule", "method", "task", "seed", "theta"
# Parts of F* within which a run has to end.
CLOSE, NEAR = 1e-3, 1e-2


class Sign(Secant):
    """Move by the radius itself, as Rprop does: only signs count."""

    def step(self, state, value, grads, first_residual):
        radius = self._radius(state, torch.cat([g.flatten() for g in grads]))
        found = super().step(state, value, grads, first_residual)
        moved = tuple(
            (t - g.sign() * r).clamp(-self.box, self.box)
            for t, g, r in zip(state.theta, grads, radius.split(
                [t.numel() for t in state.theta]
            ))
        )
        move = torch.cat(moved) - torch.cat(state.theta)
        return replace(found, theta=moved, move=move)


@dataclass(frozen=True)
class FreeState(SecantState):
    """Hold a radius beside the state of `Secant`."""

    radius: torch.Tensor | None = None


class Free(Secant):
    """Let the radius grow though the secant steps are shorter."""

    def step(self, state, value, grads, first_residual):
        radius = self._radius(state, grads[0])
        found = super().step(state, value, grads, first_residual)
        return FreeState(**vars(found), radius=radius)

    def _radius(self, state, grad):
        if state.move is None:
            return torch.full_like(grad, self.first)
        grown = (self.growth * state.radius).clamp(max=self.longest)
        shrunk = (self.shrink * state.move.abs()).clamp(min=SHORTEST)
        return torch.where(grad * state.grad > 0, grown, shrunk)


def _secant(tol, decay):
    return {"tol": tol, "decay": decay}


# Settings of the solvers, and what takes the place of their outer step.
RULES = {
    "fair": ({}, None),
    "hoag": ({"protocol": "hoag"}, None),
    "hoag, absolute tolerance": ({"step": "hoag", "tol": 1e-3}, None),
    "secant, relative tolerance": (
        _secant(1e-3, 0.9) | {"criterion": "gradient"}, None),
    "sign": ({}, Sign(growth=1.2)),
    "secant, radius of its own": ({}, Free(growth=1.5)),
    "secant, tol 0.1, decay 0.9": (_secant(0.1, 0.9), None),
    "secant, tol 0.03, decay 0.78": (_secant(0.03, 0.78), None),
    "secant, tol 0.01, decay 0.9": (_secant(0.01, 0.9), None),
    "secant, growth 1.5": ({}, Secant(growth=1.5)),
    "secant, radius up to 4": ({}, Secant(longest=4.0)),
}
# The rules that all methods are measured under; EXACT is under all.
FOR_ALL = "fair", "hoag", "sign"
# Choices of the root finder under the fair rule, made by EXACT alone.
CHOICES = {
    "memory 10": ({"memory": 10}, None),
    "memory 30": ({"memory": 30}, None),
    "memory 120": ({"memory": 120}, None),
    "pairs dropped": ({"keep_pairs": False}, None),
    "pairs corrected": ({"keep_pairs": "corrected"}, None),
    "B0 = I": ({"scale": 1.0}, None),
    "B0 = exp(-theta) I": ({"scale": "diagonal"}, None),
    "c2 = 9e-4": ({"c2": 9e-4}, None),
}


def one(rule, name, problem, compared):
    """Run a method under a rule: where it ends, and when it is there."""
    settings, outer = (RULES | CHOICES)[rule]
    method = method_of(name, problem, N_OUTER, **settings)
    if outer is not None:
        method = replace(method, outer=outer)
    n, gaps, furthest = [], [], 0.0
    for step, totals, _ in method.run(problem):
        found = {} if step.diverged else compared(step, method)
        value, optimum = (
            found.get(key, math.inf) for key in ("value_function", "optimum")
        )
        n.append(totals.n_g + totals.n_vjp)
        gaps.append((value - optimum) / optimum if found else math.inf)
        furthest = max(furthest, float(step.theta[0].detach().abs().max()))
    return {
        "gap": gaps[-1], "stay": stay(n, gaps, CLOSE), "evaluations": n[-1],
        "furthest": furthest,
    }


def stay(n, gaps, gap):
    """Return the count from which on a run is within a gap; inf if never."""
    outside = np.flatnonzero(~(np.array(gaps) <= gap))
    following = outside[-1] + 1 if len(outside) else 0
    return n[following] if following < len(n) else math.inf


def measure(rows, n_seeds, names):
    """Measure what the file lacks."""
    torch.set_num_threads(1)
    runs = [
        (rule, name) for rule in RULES for name in names
        if name == EXACT or rule in FOR_ALL
    ] + [(choice, EXACT) for choice in CHOICES]
    for seed, task in product(range(n_seeds), BUNDLED):
        compared = None
        for theta, (rule, name) in product(STARTS, runs):
            key = {"rule": rule, "method": name, "task": task, "seed": seed,
                   "theta": theta}
            if not rows.missing(**key):
                continue
            problem = problem_of(task, seed, theta=theta)
            compared = compared or comparison(problem)
            rows.add(**key, **one(rule, name, problem, compared))


def tables(frame):
    """Write the tables of rules and methods, and of the choices."""
    of_rules = frame[frame["rule"].isin(list(RULES))]
    exact = frame[frame["method"] == EXACT]
    return "\n".join([
        "Runs that end within 1 % (in brackets 0.1 %) of F*, and runs that "
        "touched the bound of theta:\n",
        markdown(_counts(of_rules)),
        f"{EXACT} alone, on the runs that every rule has: how many end within "
        "0.1 % of F*; the evaluations and products until a run is there for "
        "good, against those of the fair rule (geometric mean of the ratios "
        "of the runs that both bring there; runs with fewer and with more), "
        "and their medians by problem:\n",
        markdown(_costs(exact)),
    ])


def _counts(frame):
    rows = []
    for rule, own in frame.groupby("rule", sort=False):
        row = {"rule": rule}
        for method, runs in own.groupby("method", sort=False):
            near, close = ((runs["gap"] <= x).sum() for x in (NEAR, CLOSE))
            row[method] = f"{near} ({close})"
        touched = (own["furthest"] >= 12).sum()
        rows.append(row | {
            "runs of each": str(len(runs)), "touched": str(touched),
        })
    return pd.DataFrame(rows).fillna("–")


def _costs(frame):
    """Compare the rules, run by run, on what all of them have measured."""
    table = frame.pivot(
        index=["task", "seed", "theta"], columns="rule", values="stay"
    ).dropna()
    rows = []
    for rule in frame["rule"].unique():
        counts, fair = table[rule], table[FAIR]
        reached = np.isfinite(counts) & np.isfinite(fair)
        ratio = np.exp(np.log(counts / fair)[reached].mean())
        better, worse = (counts < fair).sum(), (counts > fair).sum()
        medians = counts.groupby("task", sort=False).median()
        rows.append({
            "rule": rule,
            "within 0.1 %": f"{np.isfinite(counts).sum()} of {len(counts)}",
            "times the fair rule": f"{ratio:.2f}",
            "fewer : more": f"{better}:{worse}",
        } | {task: f"{count:.0f}" for task, count in medians.items()})
    return pd.DataFrame(rows)


def main():
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/outer_rules.csv"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    try:
        check_integer("seeds", arguments.seeds, least=1)
        measure(
            Rows(arguments.output, KEY), arguments.seeds, arguments.methods
        )
    except ValueError as error:
        parser.error(str(error))
    page = arguments.output.with_suffix(".md")
    page.write_text(tables(pd.read_csv(arguments.output)), encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
