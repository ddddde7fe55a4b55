"""Fill the page: who won, claims, curves, league, figures, what was run."""
import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from ..gallery import FIGURES
from ..plotting import paper_style
from ..results import ResultError
from ..tables import claims, league
from . import curves, facts

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Picture:
    """One figure: PNG in base64, each with its width in CSS pixels."""

    title: str
    caption: str
    images: list


def write_page(inputs, path):
    """Write one page of everything in some files.

    Warnings are returned, which the page shows too.  Inputs without runs
    are a ResultError.
    """
    problems, warnings = problems_of(inputs.need_runs())
    pictures, lacking, more = draw_figures(inputs)
    warnings = (*warnings, *more)
    files = [facts.read_file(file) for file in inputs.files]
    shared, differing = facts.shared_facts(files)
    page = template().render(
        files=files, shared=shared, differing=differing,
        notices=[*inputs.warnings, *warnings],
        winners=league.who_won(problems),
        rules=claims.RULES, claims=judged(inputs, problems),
        tables=[table for p in problems for table in league_tables(p)],
        league_csv=as_link(league.csv(problems)),
        explained=league.EXPLAINED.partition("\n\n")[2],
        curves=list(html_of(inputs.runs)),
        curves_csv=as_link(runs_csv(inputs.runs)),
        pictures=pictures, lacking=lacking, plotly=get_plotlyjs(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", errors="replace")
    return warnings


def template():
    """Return the template; every text in it is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters["paragraphs"] = lambda text: text.strip().split(
        "\n\n")
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def as_link(text):
    """Return a text as the address of a download."""
    data = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f"data:text/csv;base64,{data}"


# The league

def problems_of(runs):
    """Return the league's problems, none where nothing was measured."""
    try:
        return league.problems_of(runs)
    except ResultError as error:
        return [], [str(error)]


def league_tables(problem):
    """Yield the tables of one problem: title, note, head and rows.

    A cell is its text, and whether it is a winner's.
    """
    note, before = problem.note, None
    for protocol in problem.protocols:
        own = problem.league[problem.league["protocol"] == protocol]
        for columns in problem.family.tables:
            title = f"{problem.dataset}, {protocol} protocol"
            yield {
                "title": "" if title == before else title,
                "note": note,
                "head": ["method", "seeds", *(c.heading for c in columns)],
                "rows": [
                    league_row(method, rows.set_index("quantity"), columns)
                    for method, rows in own.groupby("method", sort=False)
                ],
            }
            note, before = "", title


def league_row(method, rows, columns):
    """Return the cells of one method."""
    cells = [(method, False), (league.seeds(rows.iloc[0]), False)]
    for column in columns:
        row = rows.loc[column.title]
        text = league.cell(column, row).replace("**", "")
        cells.append((text, bool(row["winner"])))
    return cells


# Claims

def judged(inputs, problems):
    """Return every claim with its comparisons and the count of verdicts."""
    places = claims.places_in(inputs, problems)
    return [
        one_claim(claim, claims.findings(claim, places))
        for claim in claims.CLAIMS
    ]


def one_claim(claim, found):
    """Return a claim for the template."""
    counts = {} if found.empty else found["verdict"].value_counts().to_dict()
    return {
        "claim": claim,
        "verdicts": [
            (verdict, counts[verdict]) for verdict in claims.VERDICTS
            if verdict in counts
        ],
        "comparisons": found.to_dict("records"),
        "pairs": " or ".join(" and ".join(pair) for pair in claim.pairs),
    }


# Curves and figures

DOWNLOAD = (
    "dataset", "protocol", "method", "seed", "step", "time", "evaluations",
    "n_g", "n_vjp", "value", "value_function", "value_error", "optimum",
    "test_loss", "test_accuracy", "theta", "cosine", "hypergrad_rel_error",
    "hypergrad_sign", "diverged",
)


def runs_csv(runs):
    """Return the runs as CSV, the columns that have a number."""
    shown = [name for name in DOWNLOAD if runs[name].notna().any()]
    return runs[shown].to_csv(index=False, float_format="%.7g")


def html_of(runs):
    """Yield title and HTML of the curves, which the page's plotly draws."""
    for i, (title, figure) in enumerate(curves.figures_of(runs)):
        yield title, to_html(
            figure, validate=False, full_html=False, include_plotlyjs=False,
            div_id=f"curves{i}",
            config={"displaylogo": False, "responsive": True},
        )


def draw_figures(inputs):
    """Draw every figure that the files hold.

    Also returned are (title, reason) of the others, and warnings.
    """
    pictures, lacking, warnings = [], [], []
    for name, entry in FIGURES.items():
        if name == "quickstart":
            continue  # which the curves of the page show
        try:
            with paper_style():
                drawing = entry.draw(_of_the_paper(inputs, entry))
                images = [as_png(page) for page in _first_version(drawing)]
        except ResultError as error:
            lacking.append((entry.title, str(error)))
            continue
        except Exception as error:  # the rest of the page is worth having
            lacking.append((entry.title, (
                f"could not be drawn ({type(error).__name__}: {error}), "
                "which is a fault of the suite: please report it")))
            continue
        pictures.append(Picture(entry.title, drawing.caption, images))
        warnings += drawing.warnings
    return pictures, lacking, tuple(dict.fromkeys(warnings))


def _first_version(drawing):
    """Leave out the versions by the test loss, which the curves have."""
    first = [page for end, page in drawing.figures.items()
             if not end.startswith("test_loss")]
    return first or list(drawing.figures.values())


def _of_the_paper(inputs, entry):
    """Leave out what the paper's figure has not, if anything is left."""
    runs = inputs.runs
    runs = runs[runs["bare_dataset"].isin(entry.paper)
                & (runs["formulation"] != "nls")]  # it has its own figure
    return replace(inputs, runs=runs) if len(runs) else inputs


def as_png(figure, dpi=150):
    """Return a figure as PNG in base64, and its width in CSS pixels."""
    buffer = io.BytesIO()
    figure.get_layout_engine().execute(figure)  # once, not at each drawing
    figure.set_layout_engine("none")
    figure.savefig(buffer, format="png", dpi=dpi)
    width = round(figure.get_figwidth() * 140)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), width
