"""One page of everything in some result files; opens without a network.

    python figures/report.py RESULT [RESULT ...] [FILE.csv ...]

Writes NAME.html: what was run, the paper's claims, curves to play with, the
league, and every figure that the files hold.  Of CSV files it takes what
`python -m benchmark_shine.inversion` (figure 2) and `python -m
benchmark_shine.deq_inversion` (figure E.2) write.
"""
import base64
import hashlib
import html
import io
import json
import math
import re
import shlex
import sys
import tempfile
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs

import claims
import deq_convergence
import fig1_bilevel
import fig2_opa
import fig3_deq
import figE1_bilevel_extended
import figE2_deq_inversion
import league
import nls
import quickstart
from common import (
    PROTOCOLS, X_LABELS, ResultError, add_gap, alive, arguments, by_step,
    one_line_errors, quantile, rank, read_parquet, read_runs, read_table,
    short_names, split_name, warn, without_seed,
)
from drawing import style_of

TEMPLATE = Path(__file__).with_suffix(".html")
AUTHORS = ("--authors", Path(__file__).with_name("authors_20news_seed0.csv"))
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
DIGITS = 5  # of a number in the page

HEADINGS = {
    column.title: column.heading
    for family in (league.BILEVEL, league.NETWORK)
    for column in family.columns.values()
}

# What was run: words, and the column that has it (runs, measurements).
FACTS = {
    "package fingerprint": ("p_obj_fingerprint", "fingerprint"),
    "date": ("run_date",),
    "PyTorch": ("p_obj_torch", "torch"),
    "NumPy": ("version-numpy",),
    "SciPy": ("version-scipy",),
    "CUDA": ("version-cuda",),
    "git tag": ("benchmark-git-tag",),
    "processor": ("system-processor",),
    "cores": ("system-cpus",),
    "memory (GB)": ("system-ram (GB)",),
    "platform": ("platform",),
    "architecture": ("platform-architecture",),
    "release": ("platform-release",),
    "threads of PyTorch": ("p_obj_threads",),
    "OMP_NUM_THREADS": ("env-OMP_NUM_THREADS",),
    "outer steps": ("p_obj_n_outer",),
    "reference every": ("p_obj_reference",),
    "seeds": ("p_dataset_seed", "seed"),
}


# Text

def escape(text):
    """Text as HTML, in attributes too."""
    return html.escape(str(text))


def script_json(data):
    """JSON that may stand in a <script>: no tag can begin or end in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def fill(template, parts):
    """Put parts, by name, for {{name}}; parts are not looked into."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def prose(text):
    """Paragraphs with *stress* and **more of it**, from Markdown."""
    text = escape(text.strip())
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text, flags=re.DOTALL)
    text = re.sub(r"\*(.+?)\*", r"<i>\1</i>", text, flags=re.DOTALL)
    return "".join(f"<p>{part}</p>" for part in text.split("\n\n"))


# What was run

def _in_words(values):
    """Distinct values in their order, missing ones left out."""
    seen = dict.fromkeys(
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in values if not pd.isna(value)
    )
    return ", ".join(seen)


def facts_of(path, frame):
    """Words about one file, a dict of text."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    found = {"SHA-256": digest[:16] + " …"}
    for name, columns in FACTS.items():
        for column in columns:
            if column in frame and frame[column].notna().any():
                found[name] = _in_words(frame[column].unique())
    if "run_date" in frame:
        found["date"] = " to ".join(dict.fromkeys(
            str(date)[:16].replace("T", " ")
            for date in (frame["run_date"].min(), frame["run_date"].max())
        ))
    if "solver_name" in frame:
        runs = frame.groupby(["dataset_name", "solver_name"])
        dead = runs["objective_diverged"].max() > 0
        found["runs"] = f"{len(dead)}, of which {dead.sum()} diverged"
    return found | {"rows": str(len(frame))}


PLAIN = re.compile(r"[A-Za-z/][\w./-]*|[-+\d.e]+")


def _value(text):
    """A parameter's value from its name, as benchopt's command wants it."""
    if text[:1] in "[(":
        return f"[{text}]"  # one value that is a list, not a choice of them
    return text if PLAIN.fullmatch(text) else f"'{text}'"


def pattern(name, seeds=()):
    """benchopt's pattern for a name of a result file.

    Parameters
    ----------
    name : str
        As ``base[a=1,b=2]``.
    seeds : iterable of int
        In place of a seed of its own.
    """
    base, parameters = split_name(name)
    parameters = {key: _value(text) for key, text in parameters.items()}
    if "seed" in parameters and seeds:
        parameters["seed"] = f"[{','.join(map(str, sorted(seeds)))}]"
    words = ",".join(f"{key}={value}" for key, value in parameters.items())
    return f"{base}[{words}]" if words else base


def command_of(frame):
    """The command that makes such a result file again."""
    words = ["benchopt", "run", ".", "--no-timeout"]
    for name in frame["objective_name"].unique():
        words += ["-o", pattern(name)]
    names = pd.Series(frame["dataset_name"].unique())
    for _, own in names.groupby(names.map(without_seed), sort=False):
        seeds = [split_name(name)[1].get("seed") for name in own]
        words += ["-d", pattern(own.iloc[0], filter(None, seeds))]
    for name in frame["solver_name"].unique():
        words += ["-s", pattern(name)]
    repetitions = int(frame["idx_rep"].max()) + 1
    words += ["-r", str(repetitions)] if repetitions > 1 else []
    return shlex.join(words)


def read_raw(path):
    """A file as it is."""
    if path.suffix == ".csv":
        return read_table(path, pd.read_csv, [], "give another file")
    return read_table(
        path, read_parquet,
        ["objective_name", "dataset_name", "solver_name", "idx_rep"],
        "give the .parquet file that `benchopt run` wrote",
    )


def what_was_run(paths):
    """A notice, if files differ; a table with a column per file, commands."""
    raw = {path: read_raw(path) for path in paths}
    facts = [facts_of(path, frame) for path, frame in raw.items()]
    names = dict.fromkeys(name for found in facts for name in found)
    head = "".join(f"<th>{escape(path.name)}</th>" for path in paths)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(
            f"<td>{escape(found.get(name, '–'))}</td>" for found in facts
        ) + "</tr>"
        for name in names
    )
    commands = "".join(
        f"<p>{escape(path.name)}:</p>"
        f"<pre>{escape(command_of(frame))}</pre>"
        for path, frame in raw.items() if path.suffix != ".csv"
    )
    prints = sorted({f.get("package fingerprint", "unknown") for f in facts})
    notice = "" if len(prints) == 1 else (
        "<p class=notice>These files are of different versions of the "
        f"package ({escape(', '.join(prints))}): compare with care, times "
        "least of all.</p>"
    )
    return notice, (
        "<div class=scroll><table class=facts><thead><tr><th></th>"
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        "<details><summary>The commands that repeat these runs"
        f"</summary>{commands}</details>"
    )


# Curves

# Quantity -> label of its axis, whether it is best seen on a logarithmic one,
# and the least value that such an axis shows.
QUANTITIES = {
    "F": ("relative suboptimality of F (exact)", True, 1e-6),
    "value_gap": ("validation loss − best", True, 1e-3),
    "test_gap": ("test loss − best", True, 1e-3),
    "test_loss": ("test loss", True, 1e-6),
    "accuracy": ("test accuracy (%)", False, 1e-6),
    "cosine": ("cosine of q with the exact one", False, 1e-6),
    "error": ("relative error of dF/dθ", True, 1e-6),
}
X_AXES = X_LABELS | {"outer": "outer steps"}


def is_network(frame):
    """Whether a data set trains a network, as figure 3 sees it."""
    return frame["test_accuracy"].notna().any()


def quantities_of(runs):
    """What the curves of one data set may show, columns of `QUANTITIES`."""
    runs = runs.assign(error=runs["hypergrad_rel_error"])
    if is_network(runs):
        dead = runs["diverged"] > 0
        of_run = [runs[key] for key in ("protocol", "method", "seed")]
        return runs.assign(
            time=runs["time"] - runs.groupby(of_run)["time"].transform("min"),
            test_loss=alive(runs, "test_loss"),
            accuracy=(100 * runs["test_accuracy"]).mask(dead, -np.inf),
        )
    runs = runs.assign(
        value_gap=add_gap(runs, "value")["gap"],
        test_gap=add_gap(runs, "test_loss")["gap"],
    ).drop(columns="test_loss")
    if runs["value_function"].notna().any():
        runs["F"] = league.add_suboptimality(runs)["gap"]
    return runs


def _number(x):
    """For JSON: a few digits, None where it is not finite."""
    return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None


def curve_of(own, quantity):
    """Medians over seeds of each x, quantiles of a quantity; lists."""
    ys = by_step(own, quantity)
    curve = {
        x: own.pivot(index="step", columns="seed", values=x).ffill()
        .loc[ys.index].median(axis=1)
        for x in X_AXES
    }
    curve |= {
        f"{q:g}": ys.agg(quantile, axis=1, q=q) for q in QUANTILES
    } if len(ys) else {}
    return {name: [*map(_number, column)] for name, column in curve.items()}


def curves_of(runs):
    """What the interactive part of the page needs, for JSON."""
    datasets = sorted(runs["dataset"].unique())
    titles, curves = short_names(datasets), []
    for dataset in datasets:
        found = quantities_of(runs[runs["dataset"] == dataset])
        for (protocol, method), own in found.groupby(["protocol", "method"]):
            for quantity in QUANTITIES:
                if quantity not in own or own[quantity].isna().all():
                    continue
                measured = own.dropna(subset=quantity)
                curve = curve_of(measured, quantity)
                if curve["time"]:
                    curves.append({
                        "dataset": titles[dataset], "protocol": protocol,
                        "method": method, "quantity": quantity,
                        "seeds": int(own["seed"].nunique()), **curve,
                    })
    methods = sorted(set(runs["method"]), key=rank)
    return {
        "datasets": list(titles.values()), "protocols": list(PROTOCOLS),
        "quantities": {
            name: dict(zip(("label", "log", "floor"), values))
            for name, values in QUANTITIES.items()
        },
        "x": X_AXES,
        "styles": [{"method": m, **_style(m)} for m in methods],
        "curves": curves,
    }


def _style(method):
    """Colour and dashes as plotly has them."""
    style = style_of(method)
    dashes = style["linestyle"]
    return {
        "color": style["color"],
        "dash": "solid" if dashes == "-" else
                ",".join(f"{2 * length:g}px" for length in dashes[1]),
    }


# The league

def _key(value):
    """What a cell is sorted by; nothing where it has no number."""
    return "" if pd.isna(value) else repr(float(value))


def league_table(problem, protocol, columns):
    """A table whose columns sort at a click."""
    own = problem.league[problem.league["protocol"] == protocol]
    groups = [
        (method, rows.set_index("quantity"))
        for method, rows in own.groupby("method", sort=False)
    ]
    head = "".join(
        f"<th aria-sort=none><button>{escape(name)}</button></th>"
        for name in ["method", "seeds", *(c.heading for c in columns)]
    )
    body = []
    for i, (method, rows) in enumerate(groups):
        cells = [
            (method, f"{i}"),
            (league.seeds(rows.iloc[0]), _key(rows["seeds"].iloc[0])),
        ]
        tags = ["<td>", "<td>"]
        for column in columns:
            row = rows.loc[column.title]
            plain = row.copy()
            plain["winner"] = False
            cells.append((league.cell(column, plain), _key(row["median"])))
            tags.append("<td class=winner>" if row["winner"] else "<td>")
        body.append("<tr>" + "".join(
            f'{tag[:-1]} data-key="{escape(key)}">{escape(text)}</td>'
            for tag, (text, key) in zip(tags, cells)
        ) + "</tr>")
    return (
        "<div class=scroll><table class=sortable><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def league_of(problems):
    """Every table of every problem."""
    titles, parts = short_names([p.dataset for p in problems]), []
    for problem in problems:
        title = escape(titles[problem.dataset])
        parts.append(f"<h3>{title}</h3><p>{escape(problem.note)}</p>")
        for protocol in league.protocols(problem):
            parts.append(f"<h4>{title}, {escape(protocol)} protocol</h4>")
            parts += [
                league_table(problem, protocol, columns)
                for columns in problem.family.tables
            ]
    explained = league.EXPLAINED.partition("\n\n")[2]
    return "".join(parts) + (
        "<details><summary>What the columns mean</summary>"
        f"{prose(explained)}</details>"
    )


# Claims

def _spread(spread):
    """Median and quartiles in words."""
    low, middle, high = (
        league.number(x, "") for x in (spread.q1, spread.median, spread.q3)
    )
    if middle == "∞":
        return "never"
    return middle if low == middle == high else f"{middle} ({low}–{high})"


def _ratio(first, second):
    """How many times the second is the first, where that says something."""
    ratio = second.median / first.median if first.median else math.nan
    return f"{ratio:.2g}" if 0 < ratio < math.inf else "–"


def _badge(verdict, text=None):
    kind = verdict.replace(" ", "-")
    return f"<span class='badge {kind}'>{escape(text or verdict)}</span>"


def claim_of(claim, found):
    """A claim, its rule, and a row per comparison."""
    if found.empty:
        pairs = " or ".join(" and ".join(pair) for pair in claim.pairs)
        body = (
            f"<p class=quiet>No file here compares {escape(pairs)} in this."
            "</p>"
        )
        badges = _badge(claims.UNTESTED)
    else:
        counts = found["verdict"].value_counts()
        badges = " ".join(
            _badge(verdict, f"{verdict} {counts[verdict]}")
            for verdict in claims.VERDICTS if verdict in counts
        )
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in (
                escape(row.place),
                escape(HEADINGS.get(row.quantity, row.quantity)),
                f"{escape(row.one)}<br><b>{escape(_spread(row.first))}</b>",
                f"{escape(row.other)}<br><b>{escape(_spread(row.second))}</b>",
                _ratio(row.first, row.second),
                _badge(row.verdict) + (
                    f"<br><small>{escape(row.why)}</small>" if row.why else ""
                ),
            )) + "</tr>"
            for row in found.itertuples()
        )
        body = (
            "<div class=scroll><table class=comparison><thead><tr>"
            "<th>where</th><th>quantity</th><th>the claim is for</th>"
            "<th>against</th><th>ratio</th><th>verdict</th>"
            f"</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    return (
        f"<details class=claim><summary><span>{escape(claim.title)}</span> "
        f"<span>{badges}</span></summary><p class=quiet>"
        f"{escape(claim.source)}. <i>Rule:</i> {escape(claim.rule)}</p>"
        f"{body}</details>"
    )


def claims_of(problems, inversion, alignment):
    """Every claim."""
    places = claims.places_of(problems, inversion, alignment)
    return prose(claims.RULES) + "".join(
        claim_of(claim, claims.findings(claim, places))
        for claim in claims.CLAIMS
    )


# Figures

def draw(module, words, folder):
    """Run a figure's script.

    Returns
    -------
    list of Path, str
        Pictures, or else why there is none.
    """
    said = io.StringIO()
    name = module.__name__
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            module.main([
                *map(str, words), "--output-dir", str(folder), "--name", name,
            ])
    except SystemExit:
        return [], said.getvalue().strip().removeprefix("error: ")
    except Exception as error:  # one picture less, and the page says why
        why = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"{name} cannot be drawn from these files ({why})")
        return [], why
    print(said.getvalue(), end="", file=sys.stderr)
    return sorted(folder.glob(f"{name}*.png"), reverse=True), ""


def picture(path, words):
    """A picture, in the page itself, at 1.5 of its pixels to one of CSS."""
    png = path.read_bytes()
    width = int.from_bytes(png[16:20], "big")  # of the header
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<img alt="{escape(words)}" width={width // 1.5:.0f} '
        f'src="data:image/png;base64,{data}">'
    )


def figures_of(runs, results, inversion, alignment):
    """Every figure that the files hold, and why others are missing.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of `common.read_runs`.
    results, inversion, alignment : list of Path
        Runs; measurements of figure 2 and of figure E.2, if any.
    """
    datasets = set(runs["dataset"])
    networks = set(runs.groupby("dataset").filter(is_network)["dataset"])

    def of(names):
        bases = sorted({split_name(name)[0] for name in names})
        return [*results, "--datasets", *bases]

    bilevel = datasets - networks
    wanted = [
        (fig1_bilevel, [*of(bilevel), *AUTHORS], bilevel),
        (fig2_opa, [*of(bilevel), "--inversion", *inversion],
         bilevel and len(inversion) == 1),
        (figE1_bilevel_extended, [*of(bilevel), *AUTHORS], bilevel),
        (nls, of(bilevel), bilevel),
        (fig3_deq, of(networks), networks),
        (deq_convergence, of(networks), networks),
        (figE2_deq_inversion, alignment, alignment),
        (quickstart, [*of(datasets), "--x-scale", "log"], True),
    ]
    parts, missing = [], []
    with tempfile.TemporaryDirectory() as folder:
        for module, words, able in wanted:
            title = module.__doc__.partition("\n")[0]
            paths, why = [], "the files have no such measurements"
            if able:
                paths, why = draw(module, words, Path(folder))
            if not paths:
                missing.append(f"<li>{escape(title)} – {escape(why)}</li>")
                continue
            images = "".join(picture(path, title) for path in paths)
            parts.append(
                f"<figure>{images}<figcaption>{escape(title)}</figcaption>"
                "</figure>"
            )
    return "".join(parts) + (
        "<details><summary>Figures that these files do not hold</summary>"
        f"<ul>{''.join(missing)}</ul></details>" if missing else ""
    )


# The page

def measurements(paths):
    """CSV files by kind: of figure 2, of figure E.2."""
    kinds = {"direction": [], "state": []}
    for path in paths:
        columns = set(read_raw(path))
        kind = next((kind for kind in kinds if kind in columns), None)
        if kind is None:
            raise ResultError(
                f"{path}: not a file of benchmark_shine.inversion or "
                "benchmark_shine.deq_inversion; leave it out"
            )
        kinds[kind].append(path)
    if len(kinds["direction"]) > 1:
        raise ResultError(
            f"{kinds['direction'][1]}: a second file of "
            "benchmark_shine.inversion; give one"
        )
    return kinds.values()


def parts_of(options):
    """What `report.html` has gaps for, less the notes."""
    csv = [path for path in options.results if path.suffix == ".csv"]
    results = [path for path in options.results if path not in csv]
    if not results:
        raise ResultError(
            f"{csv[0]}: needs a result file of `benchopt run` beside it"
        )
    inversion, alignment = measurements(csv)
    chosen = Namespace(
        results=results, datasets=options.datasets, methods=None
    )
    runs = read_runs(chosen)
    try:
        problems, reason = league.read_problems(chosen), ""
    except ResultError as error:
        problems, reason = [], str(error)
    notice, run = what_was_run(options.results)
    return {
        "notice": notice,
        "files": escape(", ".join(p.name for p in options.results)),
        "run": run,
        "claims": claims_of(
            problems,
            fig2_opa.read_inversion(inversion[0]) if inversion else None,
            figE2_deq_inversion.read(alignment) if alignment else None,
        ),
        "league": league_of(problems) if problems else (
            f"<p class=notice>{escape(reason)}</p>"
        ),
        "figures": figures_of(runs, results, inversion, alignment),
        "data": script_json(curves_of(runs)),
        "plotly": get_plotlyjs(),
    }


def main(words=None):
    """Command line; returns the path of the page."""
    options = arguments(__doc__, "report").parse_args(words)
    with one_line_errors():
        said = io.StringIO()
        with redirect_stderr(said):
            parts = parts_of(options)
        notes = dict.fromkeys(said.getvalue().splitlines())
        print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
        page = fill(TEMPLATE.read_text(encoding="utf-8"), parts | {
            "notes": "".join(
                f"<p class=notice>{escape(note)}</p>" for note in notes
            ),
        })
        options.output_dir.mkdir(parents=True, exist_ok=True)
        path = options.output_dir / f"{options.name}.html"
        path.write_text(page, encoding="utf-8")
        print(path)
    return path


if __name__ == "__main__":
    main()
