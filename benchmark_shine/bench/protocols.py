"""The settings of each protocol, with their sources.

A parameter of a solver that is None has the value which the solver's protocol
gives it.

- "fair" is one setting for all methods, under a robust outer step.  Where the
  outer step, the tolerances or the root finder leave a choice, HOAG, the
  exact method, has made it (experiments/outer_rules.py): no approximate
  method had a say.  What saves HOAG less than 5 % (120 pairs, pairs that are
  corrected) is not taken.
- "hoag" is one setting for all methods too, under the step rule of HOAG.
- "published" is what the authors' code effectively does, method by method and
  figure by figure.
"""
from ..problems import NonlinearLeastSquares
from ..problems.base import BilevelProblem

# The fair protocol, by family of problems.
FAIR = {
    "bi-level problems": {
        "step": "secant",      # how theta moves
        "criterion": "energy",  # what inner tolerances bound, see `LBFGS`
        "memory": 60,          # pairs kept by L-BFGS
        "tol": 0.1,            # inner tolerance at the first outer step
        "decay": 0.78,         # its factor per outer step
        "c2": 0.9,             # curvature constant of the line search
        "scale": None,         # B0: as the problem says
        "keep_pairs": True,    # from one outer step to the next
        "max_iter": 1000,      # inner iterations per outer step
        "polish": 0,           # corrected steps after them, see `Polished`
        "first_q": "zero",     # first guess of the first linear solve
        "preconditioner": "none",
        "rank": None,          # of the preconditioner nystrom alone
        "refresh": None,       # outer steps that its sketch serves
        "stop": "residual",    # what ends conjugate gradients
        "growth": 0.0,         # see `ConjugateGradient`
        "root_pairs": 0,       # OPA pairs at the root
        "n_power": 5,          # power iterations for ‖J‖
        "guard": 0.2,          # see `Guarded`
    },
    "equilibrium networks": {
        "forward": "broyden",
        "backward": "broyden",
        "estimate": None,
        "side": "transposed",
        "guard": 0.5,          # see `SHINE-guarded`
        "slurm_gres": None,
    },
}
# The protocol "hoag": what differs from the fair one.
HOAG = {
    "step": "hoag", "tol": 1e-3, "decay": 0.9, "criterion": "gradient",
    "memory": 30,          # of the paper
    "anchor": "start",     # see `Hoag`
    "moves": 1,            # times that a step is applied, see `Hoag`
}

# A search has no small moves of theta, for which the forward solver was
# chosen: pairs of another theta cost it three times as many evaluations.  Its
# tolerance leaves a relative error of F of less than 1e-4.
_SEARCH = {
    "scale": "secant", "keep_pairs": False, "rtol": 0.0, "atol": 3e-4,
    "criterion": "energy", "order": "descending",
}
# What one method has for its own, in every protocol.  The names of
# variants are labels: each is its method with these settings.
OWN = {
    "SHINE-OPA": {"opa_every": (5, 5), "forward": "adjoint_broyden"},
    "Jacobian-Free": {"n_power": 0},
    "torchdeq": {"backward": "fixed_point_iter"},
    "jaxopt": {"q": "cg"},
    "Grid-search": _SEARCH,
    "Random-search": _SEARCH,
    "TPE-search": _SEARCH,
}
LABELS = {
    "SHINE-refine": {"backward_steps": 5},
    "SHINE-corrected": {"keep_pairs": "corrected"},
    "SHINE-at-root": {"root_pairs": 5},
    "SHINE-corrected-at-root": {"keep_pairs": "corrected", "root_pairs": 5},
    "HOAG-limited": {"backward_steps": 5},
    "SHINE-PCG": {"preconditioner": "shine"},
    "Recycled-PCG": {"preconditioner": "recycled"},
    "Nystrom-PCG": {"preconditioner": "nystrom", "rank": 20, "refresh": 5},
    "jaxopt-SHINE": {"q": "shine"},
}

# The authors' fork of HOAG (branch shine) calls SciPy's compiled L-BFGS-B in
# figures 1 and E.1, and an L-BFGS in Python, of which SHINE-OPA needs the
# pairs, in figure 2 and for non-linear least squares (branch nls).
_COMPILED = {
    "moves": 2, "anchor": "now", "decay": 0.78, "scale": "secant",
    "keep_pairs": False,
}
_PYTHON = {
    "moves": 2, "anchor": "now", "decay": 0.78, "scale": 1.0, "c2": 9e-4,
    "keep_pairs": True,
}
_NLS = _PYTHON | {"decay": 0.8}
_REFINE = {"backward_steps": 0, "growth": 0.01}
_HOAG = {"decay": 0.9, "memory": 10, "first_q": "z"}
_SEARCHED = {
    "rtol": 1e-3, "atol": 0.0, "criterion": "gradient", "memory": 10,
    "order": "ascending",
}

# Ramzi et al., ICLR 2022, arXiv 2106.00553: figure, method, settings other
# than the fair ones.  "fig1" includes figure E.1; networks are figure 3's.
PUBLISHED = {
    "fig1": {
        "SHINE": _COMPILED,
        "Jacobian-Free": _COMPILED,
        "SHINE-refine": _COMPILED | _REFINE,
        "HOAG": _COMPILED | _HOAG,
        "HOAG-limited": _COMPILED | _HOAG,
        "Grid-search": _SEARCHED,
        "Random-search": _SEARCHED,
    },
    "fig2": {
        "SHINE": _PYTHON,
        "SHINE-OPA": _PYTHON | {"memory": 60, "opa_every": (29, 0)},
        "HOAG": _PYTHON | _HOAG,
    },
    "nls": {
        "SHINE": _NLS,
        "SHINE-OPA": _NLS | {"memory": 60, "opa_every": (12.25, 0)},
        "HOAG": _NLS | _HOAG | {"decay": 0.8},
        "Jacobian-Free": _NLS,
        "SHINE-refine": _NLS | _REFINE,
    },
    "fig3": {
        "SHINE": {},
        "SHINE-OPA": {"side": "untransposed"},
        "SHINE-refine": {"estimate": "untransposed"},
        "SHINE-fallback": {},
        "HOAG": {},
        "HOAG-limited": {},
        "Jacobian-Free": {},
    },
}
PROTOCOLS = "fair", "hoag", "published"


def family(problem):
    """Return the family of a problem, a key of FAIR."""
    bilevel, networks = FAIR
    return bilevel if isinstance(problem, BilevelProblem) else networks


def foreign(problem):
    """Return the parameters that mean something for the other family alone."""
    own = FAIR[family(problem)]
    return {name for table in FAIR.values() for name in table} - own.keys()


def figures(problem):
    """Return the figures of the paper that have such a problem."""
    if isinstance(problem, NonlinearLeastSquares):
        return ("nls",)
    if isinstance(problem, BilevelProblem):
        return "fig1", "fig2"
    return ("fig3",)


def settings_of(name, problem, protocol="fair", figure=None):
    """Return what a protocol says of a method on a problem.

    Parameters
    ----------
    name : str
        The solver's.
    problem : BilevelProblem or NetworkProblem
    protocol : {"fair", "hoag", "published"}
    figure : {"fig1", "fig2", "fig3", "nls"} or None
        Whose published settings.  None: of the first figure that has both
        the problem and the method.

    Raises
    ------
    ValueError
        Where there is no such protocol or figure, the method was not
        published there, or its label stands for a setting of the other
        family.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"protocol: {protocol!r} is not one of {', '.join(PROTOCOLS)}"
        )
    kind, label = family(problem), LABELS.get(name, {})
    for setting in foreign(problem) & label.keys():
        raise ValueError(f"{name}: {setting} has no meaning for {kind}")
    if protocol != "published" and figure is not None:
        raise ValueError("figure: needs protocol=published")
    base = FAIR[kind]
    if isinstance(problem, BilevelProblem):
        base = base | {"scale": problem.scale}
        base |= {} if protocol == "fair" else HOAG
    elif protocol == "hoag":
        raise ValueError(f"protocol: hoag has no meaning for {kind}")
    base = base | OWN.get(name, {}) | label
    if protocol != "published":
        return base
    possible = [
        other for other in figures(problem) if name in PUBLISHED[other]
    ]
    if figure is None and possible:
        figure = possible[0]
    if figure not in possible:
        where = ", ".join(possible) or "no figure"
        raise ValueError(
            f"protocol: {name} was published in {where} for {kind}"
            + (f", not in {figure}" if figure else "")
        )
    return base | PUBLISHED[figure][name]


def variant(solver, name):
    """Return the parameters of a solver under the label of a variant.

    What the label stands for becomes the default of the parameters that it
    sets, under each protocol.
    """
    return solver.parameters | {key: [None] for key in LABELS[name]}
