"""Draw figures and write tables from result files.

    python -m figures NAME FILE [FILE ...] [--output-dir DIR]

FILEs are the .parquet files that `benchopt run` writes and, for some
figures, CSV files of measurements, which are told by their columns.
"""
import argparse
import io
import shlex
import sys
import time
from pathlib import Path

from .gallery import FIGURES
from .plotting import save
from .results import ResultError, read_inputs
from .tables import claims, findings, league, race, reproduce
from .tables.markdown import marks_in, put

PATIENCE = 2  # seconds before it is told which file is read


# What a command does with its options

def draw_figure(name, options):
    """Write a figure's pictures and tables."""
    entry, inputs = FIGURES[name], read(options)
    drawing = entry.draw(inputs)
    warn(drawing.warnings)
    for end, figure in drawing.figures.items():
        for path in save(
                figure, options.output_dir, _join(options, end), entry.kinds):
            print(path)
    for end, text in drawing.tables.items():
        print(write(options.output_dir / f"{_join(options, end)}.md", text))
    print(drawing.caption)
    if name == "quickstart":
        _print_winners(inputs)


def _join(options, end):
    # a protocol or a loss of a user's own may have a name that is no file's
    return "_".join(filter(None, [options.name, end.replace("/", "-")]))


def _print_winners(inputs):
    try:
        problems, warnings = league.problems_of(inputs.runs)
    except ResultError as error:
        problems, warnings = [], [str(error)]
    warn(warnings)
    print(*league.who_won(problems), sep="\n")


def write_league(name, options):
    """Print the league; write it, or put a short one into a page."""
    inputs = read(options)
    problems, warnings = league.problems_of(
        inputs.need_runs(), options.methods)
    warn(warnings)
    command = command_of(name, options.words)
    if options.readme:
        text = "\n".join(map(league.brief, problems))
        print(text, end="")
        put(options.readme, "league", text, command)
    else:
        text = f"# The league\n\nMade by `{command}`.\n\n" + league.full(
            problems)
        print(text, end="")
        path = options.output_dir / f"{options.name}.md"
        print(write(path, text + "\n" + league.EXPLAINED))
        print(write(path.with_suffix(".csv"), league.csv(problems)))
    print("\n" + "\n".join(league.who_won(problems)))


def write_claims(name, options):
    """Print the paper's claims and their verdicts, and write them."""
    inputs = read(options)
    problems, warnings = league.problems_of(inputs.need_runs())
    warn(warnings)
    text = claims.full(claims.places_in(inputs, problems))
    print(text, end="")
    print(write(options.output_dir / f"{options.name}.md", text))


def write_reproduction(name, options):
    """Print the paper's numbers beside ours; put them into a page."""
    text, warnings = reproduce.compare(options.folder)
    warn(warnings)
    print(text, end="")
    if options.page:
        put(options.page, "reproduce", text, command_of(name, options.words))


def write_findings(name, options):
    """Print paragraphs of numbers; put those that a page has a place for."""
    record, command = (
        findings.Record(options.folder), command_of(name, options.words))
    wanted = list(findings.PARAGRAPHS)
    if options.page:
        places = marks_in(options.page)
        wanted = [mark for mark in wanted if mark in places]
        if not wanted:
            raise ResultError(
                f"{options.page}: has no place for any of "
                f"{', '.join(findings.PARAGRAPHS)}, such as <!-- sooner:begin "
                "--> and below it <!-- sooner:end -->"
            )
    for mark in wanted:
        text = findings.told(mark, record)
        print(f"{mark}:", text, sep="\n")
        if options.page:
            put(options.page, mark, text, command)
    warn(dict.fromkeys(record.warnings))


def write_race(name, options):
    """Write who wins where; put the short table into a page."""
    inputs = read(options)
    problems, warnings = league.problems_of(inputs.need_runs())
    warn(warnings)
    problems, command = race.fair(problems), command_of(name, options.words)
    if options.page:
        text = race.short(problems)
        print(text, end="")
        put(options.page, "race", text, command)
        return
    text = race.full(problems, claims.places_in(inputs, problems), command)
    print(text, end="")
    print(write(options.output_dir / f"{options.name}.md", text))


def write_report(name, options):
    """Write one page of everything in some files."""
    from .report import write_page  # plotly, which no other command needs

    path = options.output_dir / f"{options.name}.html"
    warn(write_page(read(options), path))
    print(path)


def read(options):
    """Read the files of a command line; say what is wrong with them."""
    start = time.monotonic()

    def say(line):
        if time.monotonic() - start > PATIENCE:
            print(line, file=sys.stderr)

    inputs = read_inputs(options.files, options.datasets, say)
    warn(inputs.warnings)
    return inputs


def warn(sentences):
    """Print warnings, a line each, on stderr."""
    for sentence in sentences:
        print("warning:", sentence, file=sys.stderr)


def write(path, text):
    """Write a text file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def command_of(name, words):
    """Return the command line that was given."""
    return shlex.join(["python", "-m", "figures", name, *words])


# The command line

def _add_files(parser, name):
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR",
        help="default: outputs in the current folder",
    )
    parser.add_argument(
        "--name", default=name, help=f"of the files written; default: {name}"
    )
    parser.add_argument(
        "--datasets", nargs="+", default=(), metavar="NAME",
        help="only these, e.g. 20news; write it after the files",
    )


def _add_league(parser):
    parser.add_argument(
        "--methods", nargs="+", default=(), metavar="NAME",
        help="show only these, e.g. SHINE; every method counts all the same "
             "for what is best and who wins",
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE",
        help="put short tables between the lines <!-- league:begin --> and "
             "<!-- league:end --> of this Markdown file, and write no other",
    )


def _add_folder(parser):
    parser.add_argument(
        "folder", type=Path,
        help="with files as `make figure` or `make record` names them",
    )


def _add_page(parser, mark):
    parser.add_argument(
        "--page", type=Path, metavar="FILE",
        help=f"put the text between the lines <!-- {mark}:begin --> and "
             f"<!-- {mark}:end --> of this Markdown file",
    )


# Name -> a line about it, what it does.  Figures come before them.
TABLES = {
    "league": (
        "Who is best: what each method reaches, how soon, at what cost",
        write_league,
    ),
    "claims": ("The paper's claims, judged by these files", write_claims),
    "findings": (
        "What the record says, in paragraphs for docs/results.md and README",
        write_findings,
    ),
    "race": (
        "Who wins where: every method on every task, and the rivals of SHINE",
        write_race,
    ),
    "reproduce": (
        "The paper's numbers beside those in a folder", write_reproduction,
    ),
    "report": ("All of it on one page, which opens offline", write_report),
}


# Those that read a folder -> the mark of their place in a page.
FOLDERS = {"findings": "NAME", "reproduce": "reproduce"}


def make_parser():
    """Make the parser, with a command per figure and table."""
    parser = argparse.ArgumentParser(
        prog="python -m figures", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="NAME"
    )
    for name, entry in FIGURES.items():
        own = commands.add_parser(
            name, help=entry.title,
            description=f"{entry.title}. Needs: {entry.needs}.",
        )
        own.set_defaults(run=draw_figure)
        _add_files(own, name)
    for name, (title, run) in TABLES.items():
        own = commands.add_parser(name, help=title, description=title + ".")
        own.set_defaults(run=run)
        if name in FOLDERS:
            _add_folder(own)
            _add_page(own, FOLDERS[name])
            continue
        _add_files(own, name)
        if name == "league":
            _add_league(own)
        if name == "race":
            _add_page(own, name)
    return parser


def main(words=None):
    """Run a command line; return the exit status."""
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that lacks a character shows "?" in its place
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if words is None else [*map(str, words)]
    options = make_parser().parse_args(words)
    options.words = words[1:]
    try:
        options.run(options.command, options)
    except (ResultError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
