"""Make figures from nothing: run, measure, draw and rank.

    python -m experiments.figures fig1 fig2 --scale paper

Each figure is drawn from the result file of a benchopt configuration, from
files of measurements, or from both.  benchopt keeps the runs that finished,
so the same command goes on where it was interrupted.
"""
import argparse
import os
import shlex
import subprocess
import sys
import traceback
from contextlib import chdir
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
SCALES = "quick", "paper"
DRAWING = "figures.__main__"


@dataclass(frozen=True)
class Recipe:
    """What one figure is drawn from.

    Parameters
    ----------
    config : str
        Name of a configuration in configs/; empty: the figure needs no runs.
    measured : dict of str to str
        Of each CSV file, the experiment that writes it, with its options.
    bundled : bool
        Whether the data of its runs come with the suite.
    data : tuple of str
        Data sets that its experiments read at the scale *paper*.
    """

    config: str = ""
    measured: dict = field(default_factory=dict)
    bundled: bool = False
    data: tuple = ()


RECIPES = {
    "quickstart": Recipe("quickstart", bundled=True),
    "fig1": Recipe("fig1_{scale}"),
    "fig2": Recipe("fig2_{scale}", {"fig2_inversion": "opa_inversion"}),
    "figE1": Recipe("figE1_{scale}"),
    "nls": Recipe("nls_{scale}"),
    "fig3": Recipe("deq_{scale}"),
    "deq": Recipe("deq_{scale}"),
    "lm": Recipe("lm_quick"),  # the paper has no language model
    "figE2": Recipe(measured={
        f"figE2_{{scale}}_{network}":
        f"deq_inversion {network} --scale {{scale}}"
        for network in ("dense", "mdeq")
    }, data=("cifar10",)),
    "theory": Recipe(measured={"theory": "theory"}),
    "backward_times": Recipe(measured={
        "backward_times_{scale}": "backward_times --scale {scale}",
    }, data=("cifar10",)),
    "cost": Recipe(measured={
        "cost_memory": "cost memory", "cost_training": "cost training",
        "backward_times_{scale}": "backward_times --scale {scale}",
    }, data=("cifar10",)),
    "error_against_cost": Recipe(measured={
        "error_against_cost_{scale}": "error_against_cost --scale {scale}",
    }, data=("20news",)),
}
ALL = [name for name in RECIPES if name != "quickstart"]


class Failed(Exception):
    """A command of a figure ended with an error."""


def call(*words, module="benchopt.cli"):
    """Run a command of benchopt, or of another module, in this process.

    The commands of one figure share the imports, which take seconds.

    Parameters
    ----------
    words : sequence of str or Path
        What follows the name of the command.
    module : {"benchopt.cli", "figures.__main__"}

    Raises
    ------
    Failed
        Where the command ends with an error.
    """
    words, found = [*map(str, words)], import_module(module)
    try:
        with chdir(ROOT):
            if module == "benchopt.cli":
                status = found.benchopt.main(
                    words, "benchopt", standalone_mode=False
                )
            else:
                status = found.main(words)
    except click.Abort:  # what click makes of an interruption
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise Failed(error.format_message()) from None
    except SystemExit as error:
        status = error.code
    except Exception:  # as in a process of its own: the next figure goes on
        traceback.print_exc()
        status = 1
    if status:
        raise Failed(_told([module.split(".")[0], *words], status))


def measure(*words):
    """Run an experiment in a process of its own, whose costs it measures."""
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT)
    if done.returncode:
        raise Failed(_told(words, done.returncode))


def _told(words, status):
    command = shlex.join(map(str, words))
    return f"{command}: failed with status {status}"


def shown(path):
    """Show a path from the current folder, if it lies there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def fetch(*options):
    """Fetch data that ``benchopt prepare`` knows, as far as it can."""
    try:
        call("prepare", ".", *options)
    except Failed:
        print("Some data are not here; what needs them says how to get them.",
              flush=True)


def race(config, path):
    """Run a benchopt configuration into a result file.

    benchopt names a second file of the same name anew.  The earlier one is
    therefore put aside; it is kept beside the new one, or comes back to its
    place where there is none.
    """
    aside = path.with_name(f"{path.stem}.aside-{os.getpid()}.parquet")
    if path.exists():
        path.replace(aside)
    try:
        call("run", ".", "--config", f"configs/{config}.yml",
             "--output", path)
    finally:  # an interrupted run may have written what had finished
        if aside.exists():
            aside.replace(path.with_suffix(".previous.parquet")
                          if path.exists() else path)
    print(f"result file: {shown(path)}", flush=True)


def make(name, scale, folder):
    """Make one figure of `RECIPES`: result files, pictures and tables."""
    recipe = RECIPES[name]
    config = recipe.config.format(scale=scale)
    runs, files = folder / f"{config}.parquet", []
    if config:
        if not recipe.bundled:
            fetch("--config", f"configs/{config}.yml")
        race(config, runs)
        files.append(runs)
    if scale == "paper":
        for data in recipe.data:
            fetch("-d", data)
    for stem, experiment in recipe.measured.items():
        files.append(folder / f"{stem.format(scale=scale)}.csv")
        words = f"experiments.{experiment}".format(scale=scale).split()
        measure(*words, "--output", files[-1])
    output = "--output-dir", folder, "--name"
    stem = name if name == "quickstart" else f"{name}_{scale}"
    call(name, *files, *output, stem, module=DRAWING)
    if config and name != "quickstart":
        call("league", runs, *output, f"{config}_league", module=DRAWING)
    words = shlex.join(map(shown, files))
    print(f'\nNext: make report RESULT="{words}"    one page of all this')
    if config:
        print(f'      make league RESULT="{shown(runs)}"    who is best, in '
              'tables')


def main(words=None):
    """Command line; exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="+", metavar="NAME", choices=[*RECIPES, "all"],
        help=f"one of {', '.join(RECIPES)}; all: all but quickstart",
    )
    parser.add_argument(
        "--scale", choices=SCALES, default=SCALES[0],
        help="quick: small data, minutes; paper: the full protocol; "
             "default: %(default)s",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR",
        help="default: outputs in the current folder",
    )
    options = parser.parse_args(words)
    folder = options.output_dir.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))
    os.environ["MPLBACKEND"] = "Agg"
    names = ALL if "all" in options.names else options.names
    failed = []
    for name in names:
        try:
            make(name, options.scale, folder)
        except Failed as error:
            failed.append(name)
            print("error:", error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
