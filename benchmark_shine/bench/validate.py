"""Check a solver or a data set of a file, and rank a solver.

    python -m benchmark_shine.bench.validate path/to/my_solver.py

See docs/add_a_solver.md and docs/add_a_problem.md.  The exit status is 1 where
the file is invalid: it cannot be loaded, raises, returns the wrong thing or
miscounts.  A hypergradient that is not exact is no error.
"""
import argparse
import io
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLONE = "git clone https://github.com/benchopt/benchmark_shine"


def validate(path, n_seeds=3, n_outer=None, results=None):
    """Check the solver or the data set of a file, and rank a solver.

    Parameters
    ----------
    path : Path
    n_seeds : int
        Of each race.
    n_outer : int or None
        Outer steps of each race; None: what it is made for.
    results : Path or None
        Folder to keep the races' result files in.

    Raises
    ------
    Invalid
        With what is wrong.
    """
    # Not above: a wheel without the extra "bench" lacks what these import.
    from benchopt.benchmark import Benchmark

    from ..checks import check_integer
    from .door import files, invalid, problems, race, solvers

    check_integer("--seeds", n_seeds, least=1)
    if n_outer is not None:
        check_integer("--n-outer", n_outer, least=1)
    source = invalid.Source(path.resolve())
    suite = Benchmark(ROOT)
    cls = files.load(source, suite)
    if issubclass(cls, files.BaseDataset):
        exact, = (c for c in suite.get_solvers() if c.name == "HOAG")
        problems.check_data(cls, source, exact.get_instance(), print)
        race.check_by_benchopt(source.path, "dataset", ROOT)
        print("Checks of benchopt: passed")
        return
    fits = solvers.check_truth(cls, source, print)
    race.check_by_benchopt(source.path, "solver", ROOT)
    print("Checks of benchopt: passed")
    with tempfile.TemporaryDirectory() as folder:
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
        for problem, contest in race.RACES.items():
            if problem in fits:
                rows = race.run_race(contest, source, cls, n_seeds, n_outer,
                                     results or Path(folder), ROOT)
                print(f"Race on {race.ranking(rows, ROOT)}")


def make_parser():
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark_shine.bench.validate",
        description="Check a solver or a data set, and rank a solver.",
    )
    add = parser.add_argument
    add("path", type=Path, metavar="FILE",
        help="file with a class Solver or Dataset")
    add("--seeds", type=int, default=3, help="of each race (default: 3)")
    add("--n-outer", type=int, help="outer steps of each race")
    add("--results", type=Path, metavar="FOLDER",
        help="keep the result files of the races")
    add("--traceback", action="store_true",
        help="show all that is known of a fault before its line")
    return parser


def need_clone():
    """Say what is missing for this command; return None if nothing is."""
    if find_spec("benchopt") is None:
        return ("needs benchopt: pip install 'benchmark_shine[bench]', and a "
                f"clone: {CLONE}")
    if not (ROOT / "objective.py").is_file():
        return (f"needs a clone of the suite, which {ROOT} is not: {CLONE}, "
                "then run this command in it")
    return None


def main(words=None):
    """Run a command line; return the exit status."""
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that lacks a character shows "?" in its place
            stream.reconfigure(errors="replace")
    options = make_parser().parse_args(words)
    lacks = need_clone()
    if lacks:
        print(f"benchmark_shine.bench.validate: {lacks}", file=sys.stderr)
        return 2
    from .door.invalid import Invalid

    began = time.perf_counter()
    try:
        validate(
            options.path, options.seeds, options.n_outer, options.results
        )
    except (Invalid, ValueError) as error:
        if options.traceback:
            print(getattr(error, "detail", "").rstrip(), file=sys.stderr)
        place = getattr(error, "place", None)
        where = f"{options.path}, {place}" if place else options.path
        print(f"invalid: {where}: {error}", file=sys.stderr)
        return 1
    print(f"valid: {options.path} ({time.perf_counter() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
