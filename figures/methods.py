"""Name the methods: their order, looks, families, and labels of variants."""
import zlib
from dataclasses import dataclass, field

DASHED, DOTTED, MIXED = (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2))
LONG, TWO_DOTS = (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))
SOLID = "-"


@dataclass(frozen=True)
class Method:
    """One method: what it is called and what it looks like everywhere.

    ``colour`` is #RRGGBB, ``dash`` a line style of matplotlib.  ``family``
    says how the method gets q ("shared", "free", "exact", "series",
    "unrolled"); a "search" needs none.
    """

    name: str
    colour: str
    dash: str | tuple
    family: str


# In the order of legends and tables.  The colours are those that the usual
# colour-blindnesses keep apart (Okabe and Ito, Tol); relatives have
# neighbouring hues and differ in their dashes.
METHODS = tuple(Method(*row) for row in (
    ("SHINE", "#D55E00", SOLID, "shared"),
    ("SHINE-OPA", "#AA3377", SOLID, "shared"),
    ("SHINE-refine", "#E69F00", DASHED, "shared"),
    ("SHINE-guarded", "#A6330A", DASHED, "shared"),
    ("SHINE-fallback", "#CC79A7", DASHED, "shared"),
    ("Jacobian-Free", "#009E73", MIXED, "free"),
    ("HOAG", "#0072B2", SOLID, "exact"),
    ("HOAG-limited", "#56B4E9", DASHED, "exact"),
    ("Neumann", "#000000", TWO_DOTS, "series"),
    ("Phantom", "#44AA99", DASHED, "series"),
    ("Unrolled-network", "#666666", MIXED, "unrolled"),
    ("Reversible", "#666666", SOLID, "unrolled"),
    ("torchdeq", "#332288", SOLID, "exact"),
    ("torchdeq-defaults", "#009E73", LONG, "free"),
    ("Grid-search", "#7F5539", DOTTED, "search"),
    ("Random-search", "#999933", DOTTED, "search"),
    ("AmIGO", "#44AA99", SOLID, "series"),
    ("Nystrom", "#117733", DASHED, "series"),
    ("Recycled-PCG", "#0072B2", DASHED, "exact"),
    ("SHINE-PCG", "#0072B2", MIXED, "exact"),
    ("Nystrom-PCG", "#0072B2", TWO_DOTS, "exact"),
    ("SHINE-at-root", "#882255", DASHED, "shared"),
    ("SHINE-corrected", "#882255", SOLID, "shared"),
    ("SHINE-corrected-at-root", "#882255", DOTTED, "shared"),
    ("SOBA", "#666666", LONG, "unrolled"),
    ("F2SA", "#661100", SOLID, "series"),
    ("BOME", "#661100", LONG, "unrolled"),
    ("TPE-search", "#999933", LONG, "search"),
    ("Unrolled", "#666666", DASHED, "unrolled"),
    ("jaxopt", "#332288", DASHED, "exact"),
    ("jaxopt-SHINE", "#D55E00", MIXED, "shared"),
    ("optimistix", "#332288", MIXED, "exact"),
    ("sklearn-search", "#7F5539", LONG, "search"),
    ("qNBO", "#EE7733", MIXED, "shared"),
    ("NBO", "#56B4E9", LONG, "exact"),
    ("LancBiO", "#117733", SOLID, "series"),
    ("SubBiO", "#117733", MIXED, "series"),
))
BY_NAME = {method.name: method for method in METHODS}
ORDER = {method.name: place for place, method in enumerate(METHODS)}
# Variants that the configurations run: they have the colour of their method.
VARIANT_DASHES = {
    "SHINE (forward=adjoint_broyden)": LONG,
    "SHINE (forward=anderson)": DOTTED,
    "Jacobian-Free (forward=anderson)": DOTTED,
    "HOAG (backward=gmres)": LONG,
    "HOAG (forward=anderson)": DOTTED,
    "Phantom (form=unrolled)": TWO_DOTS,
    "torchdeq (backward=broyden)": LONG,
    "torchdeq (backward=anderson, forward=anderson)": DOTTED,
    "torchdeq (backward=phantom)": TWO_DOTS,
}
SPARE = tuple(
    (colour, dash)
    for dash in (LONG, DASHED, MIXED, TWO_DOTS, DOTTED)
    for colour in ("#EE3377", "#0077BB", "#33BBEE", "#004488", "#CC3311",
                   "#228833")
)


# Looks

def looks(labels):
    """Choose a colour and dashes for every label of one figure.

    Known methods and variants look the same in every figure.  Others get
    spare looks by their label; where another label of the same figure has
    that look, the next that is free.  The result maps a label to ``color``
    and ``linestyle``, for matplotlib.
    """
    found, taken = {}, set()
    for label in sorted(set(labels)):
        method = BY_NAME.get(label) or BY_NAME.get(base_of(label))
        dash = method.dash if label in BY_NAME else VARIANT_DASHES.get(label)
        if dash is not None:
            look = method.colour, dash
        else:
            look = _spare(label, taken)
            taken.add(look)
        found[label] = dict(zip(("color", "linestyle"), look))
    return found


def base_of(label):
    """Return the method of a label of VARIANT_DASHES."""
    return label.partition(" (")[0] if label in VARIANT_DASHES else label


def _spare(label, taken):
    first = zlib.crc32(label.encode()) % len(SPARE)
    turned = SPARE[first:] + SPARE[:first]
    return next((look for look in turned if look not in taken), turned[0])


def in_order(frame):
    """Return the labels in a table of runs, in the order of legends."""
    pairs = frame[["base", "method"]].drop_duplicates().to_numpy().tolist()
    return [label for _, label in sorted(pairs, key=lambda p: rank(*p))]


def rank(base, label):
    """Return a sort key: the order of METHODS, then the alphabet."""
    return ORDER.get(base, len(ORDER)), label


# What a setting makes of a solver

def _positive(value):
    return isinstance(value, (int, float)) and value > 0


def _given(value):
    return value is not None


# Solver, settings that it must have, and what the two are called.  The first
# entry that fits counts; it takes those settings out that are fixed by it.
VARIANTS = (
    ("SHINE", {"keep_pairs": "corrected", "root_pairs": _positive},
     "SHINE-corrected-at-root"),
    ("SHINE", {"root_pairs": _positive}, "SHINE-at-root"),
    ("SHINE", {"keep_pairs": "corrected"}, "SHINE-corrected"),
    ("SHINE", {"growth": _positive}, "SHINE-refine"),
    ("SHINE", {"backward_steps": _positive}, "SHINE-refine"),
    ("HOAG", {"preconditioner": "shine"}, "SHINE-PCG"),
    ("HOAG", {"preconditioner": "recycled"}, "Recycled-PCG"),
    ("HOAG", {"preconditioner": "nystrom"}, "Nystrom-PCG"),
    ("HOAG", {"backward_steps": _given}, "HOAG-limited"),
    ("jaxopt", {"q": "shine"}, "jaxopt-SHINE"),
)
# The fair protocol's settings; a label shows those that differ.  The package
# has them too, but needs torch to be imported: a test compares the two.
DEFAULTS = {
    "step": "secant", "criterion": "energy", "memory": 60, "tol": 0.1,
    "decay": 0.78, "c2": 0.9, "scale": None, "keep_pairs": True,
    "max_iter": 1000, "polish": 0,
    "forward": "broyden", "backward": "broyden", "first_q": "zero",
    "n_power": 5, "growth": 0.0, "estimate": "transposed", "side":
    "transposed", "rule": "norm", "ratio": 1.3, "k": 5, "tau": 1.0,
    "root_pairs": 0, "preconditioner": "none", "n_layers": 10, "rank": None,
    "refresh": None, "stop": "residual",
}
OWN_DEFAULTS = {
    "SHINE": {"backward_steps": 0},
    "SHINE-OPA": {
        "forward": "adjoint_broyden", "opa_every": (5, 5),
        "backward_steps": 0,
    },
    "SHINE-fallback": {"backward_steps": 0},
    "Jacobian-Free": {"backward_steps": 0, "n_power": 0},
    "SHINE-refine": {"backward_steps": 5},
    "SHINE-at-root": {"root_pairs": 5, "backward_steps": 0},
    "SHINE-corrected": {"keep_pairs": "corrected", "backward_steps": 0},
    "SHINE-corrected-at-root": {
        "keep_pairs": "corrected", "root_pairs": 5, "backward_steps": 0,
    },
    "HOAG": {"backward_steps": None},
    "HOAG-limited": {"backward_steps": 5},
    "SHINE-PCG": {"backward_steps": None, "preconditioner": "shine"},
    "Recycled-PCG": {
        "backward_steps": None, "n_recycled": 30,
        "preconditioner": "recycled",
    },
    "Nystrom-PCG": {
        "backward_steps": None, "preconditioner": "nystrom", "rank": 20,
        "refresh": 5,
    },
    "Neumann": {"backward_steps": 10},
    "AmIGO": {"backward_steps": 10},
    "Unrolled": {"backward_steps": 20},
    "Nystrom": {"rank": 10, "rho": None, "sketch": "columns", "seed": 0},
    "SOBA": {"n_iter": 50, "ratio": 10.0},
    "F2SA": {"order": 1, "nu": 0.1, "tightness": 1.0},
    "BOME": {"n_iter": 10, "n_inner": 10, "eta": 0.5, "ratio": 0.1},
    "qNBO": {
        "backward_steps": 10, "update": "sr1", "inner": "shared",
        "inner_steps": 5, "newton_steps": 10, "inner_step": 1.0,
    },
    "NBO": {"n_newton": 1, "inner": "shared"},
    "LancBiO": {
        "backward_steps": 10, "longest": 10, "growth": 10.0,
        "inner": "shared", "inner_steps": 5,
    },
    "SubBiO": {
        "backward_steps": 10, "inner": "shared", "inner_steps": 5,
    },
    "Grid-search": {"n_points": 10},
    "Random-search": {"n_points": 10},
    "sklearn-search": {"n_points": 10, "tol": 1e-4},
    "TPE-search": {"n_points": 30, "n_startup": 10},
    "Phantom": {"form": "series"},
    "Reversible": {"steps": 5, "beta": 0.8},
    "torchdeq": {"backward": "fixed_point_iter"},
    "jaxopt": {"keep": True, "q": "cg"},
    "jaxopt-SHINE": {"keep": True, "q": "shine"},
    "optimistix": {"keep": True},
}
# What the protocol "hoag" has in place of them.
HOAG = {
    "step": "hoag", "criterion": "gradient", "tol": 1e-3, "decay": 0.9,
    "memory": 30,
    "anchor": "start", "moves": 1,
}
# The published protocol brings values of its own for all but these.
IN_EVERY_PROTOCOL = (
    "forward", "backward", "preconditioner", "side", "n_power", "polish",
    "rank", "refresh", "stop",
)


def canonical(solver, settings):
    """Return the method that a solver with such settings is.

    Also returned are the settings that are left, without those which the
    name of the method stands for.
    """
    for name, wanted, method in VARIANTS:
        if name == solver and all(
            test(settings.get(key)) if callable(test)
            else settings.get(key) == test for key, test in wanted.items()
        ):
            fixed = {key for key, test in wanted.items()
                     if not callable(test)}
            return method, {
                key: value for key, value in settings.items()
                if key not in fixed
            }
    return solver, settings


def defaults_of(method, protocol):
    """Return the settings of a method that its label need not show."""
    if method not in BY_NAME:
        return {}
    own = OWN_DEFAULTS.get(method, {})
    if BY_NAME[method].family == "search":
        return own  # its forward solver is not that of the others
    usual = DEFAULTS | (HOAG if protocol == "hoag" else {}) | own
    if protocol in ("fair", "hoag"):
        return usual
    return {key: usual[key] for key in IN_EVERY_PROTOCOL if key in usual}


# Labels

@dataclass(frozen=True)
class Thing:
    """A solver or a data set with its settings.

    ``usual`` settings need not be told where they have that value, and must
    be told where not; those of ``told`` must be told.
    """

    name: str
    settings: dict
    usual: dict = field(default_factory=dict)
    told: tuple = ()


def distinct_labels(things):
    """Choose words for things so that two different ones never read alike.

    The result has for each thing a list of (setting, value as text).
    Settings that are not as usual come first, then as few others as tell
    the thing from all of the same name.
    """
    filled = [thing.usual | thing.settings for thing in things]
    return [
        _told(thing, own, [
            other for rival, other in zip(things, filled)
            if rival.name == thing.name
        ]) for thing, own in zip(things, filled)
    ]


def _told(thing, own, rivals):
    odd = [key for key, usual in thing.usual.items() if own[key] != usual]
    odd += [key for key in thing.told if key not in odd]
    left = [r for r in rivals if all(r.get(k) == own.get(k) for k in odd)]
    keys = {key for rival in rivals for key in rival}
    words = {key for rival in rivals for key, value in rival.items()
             if isinstance(value, str)}
    # a word says more than a number, and a hash of the data nothing
    for key in sorted(keys, key=lambda k: (
            k != "formulation", k == "data", k not in words, k)):
        alike = [r for r in left if r.get(key) == own.get(key)]
        if len(alike) < len(left):
            left = alike
            odd.append(key)
    return [
        (key, text_of(own.get(key), [r.get(key) for r in rivals]))
        for key in sorted(set(odd), key=lambda k: (k != "formulation", k))
        if key in own and not (
            key in thing.usual and own[key] == thing.usual[key])
    ]


def text_of(value, others=()):
    """Return a setting's value as text; paths by the end that tells them."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    text = str(value)
    if "/" not in text:
        return text
    parts = text.split("/")
    others = [str(o).split("/") for o in others if str(o) != text]
    return next(
        "/".join(parts[-n:]) for n in range(1, len(parts) + 1)
        if n == len(parts) or all(o[-n:] != parts[-n:] for o in others)
    )


def label(name, words):
    """Return ``name (a=1, b=2)``; the formulation goes without its key."""
    text = ", ".join(
        value if key == "formulation" else f"{key}={value}"
        for key, value in words
    )
    return f"{name} ({text})" if text else name
