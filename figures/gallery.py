"""List the figures by name: what each needs and what each draws."""
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import (
    backward_times, convergence, cost, deq, error_against_cost, fig2, fig3,
    figE2, lm, profiles, theory,
)

RUNS = "result files of `benchopt run`"


@dataclass(frozen=True)
class Entry:
    """One figure: a line about it, and what files it is drawn from.

    ``draw`` makes a `plotting.Drawing` of `results.Inputs`; a ResultError
    says what they lack.  ``paper`` are the data sets in the paper's figure,
    if those are few; ``kinds`` are those of the pictures' files.
    """

    title: str
    needs: str
    draw: Callable
    paper: tuple = ()
    kinds: tuple = ("pdf", "png")


FIGURES = {
    "quickstart": Entry(
        "A first look: how far every method is from the optimum",
        RUNS, partial(convergence.draw, convergence.QUICKSTART),
        kinds=("png",),
    ),
    "fig1": Entry(
        "Figure 1: suboptimality against time and evaluations; test loss",
        RUNS, partial(convergence.draw, convergence.FIG1),
        convergence.FIG1.paper,
    ),
    "fig2": Entry(
        "Figure 2: SHINE with OPA, convergence and quality of the inverse",
        RUNS + ", and the CSV file of the inversion", fig2.draw,
        fig2.CURVES.paper,
    ),
    "fig3": Entry(
        "Figure 3: accuracy of networks against time of a backward pass",
        RUNS + " on networks", fig3.draw,
    ),
    "backward_times": Entry(
        "Figure 3, x axis: times of backward passes beside the published ones",
        "the CSV file of that measurement", backward_times.draw,
    ),
    "figE1": Entry(
        "Figure E.1: as figure 1, with every method but OPA",
        RUNS, partial(convergence.draw, convergence.FIGE1),
        convergence.FIGE1.paper,
    ),
    "figE2": Entry(
        "Figure E.2: how well each method inverts J in networks",
        "CSV files of that measurement", figE2.draw,
    ),
    "nls": Entry(
        "Non-linear least squares: as figure 1, every method",
        RUNS + " with formulation nls",
        partial(convergence.draw, convergence.NLS),
    ),
    "deq": Entry(
        "Networks: test loss and accuracy of every method against time",
        RUNS + " on networks", deq.draw,
    ),
    "lm": Entry(
        "Language: bits per character of every method, and of counting models",
        RUNS + " on text", lm.draw,
    ),
    "theory": Entry(
        "Theorems 1 to 3: how exact SHINE is at each inner iteration",
        "the CSV file of that measurement", theory.draw,
    ),
    "cost": Entry(
        "What equilibrium networks cost: memory, time, and training",
        "CSV files of these measurements", cost.draw,
    ),
    "profiles": Entry(
        "Profiles: how much each method solves, and how soon",
        RUNS, profiles.draw,
    ),
    "error_against_cost": Entry(
        "Error of q and of the hypergradient against their cost, theta fixed",
        "CSV files of that measurement", error_against_cost.draw,
    ),
}
