"""What is said before the first run, once benchopt knows what will run."""
import os
import traceback
from pathlib import Path

import click
import yaml


def watch(benchmark):
    """Check a command's solvers, data sets and places before its first run.

    benchopt has no hook for that, so its selection of solvers and of data
    sets is wrapped, for its next call alone: the benchmark itself is sent to
    workers, and is part of the cache's key.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name != "run":
        return
    for name in "check_dataset_patterns", "check_solver_patterns":
        _wrap_once(benchmark, name)


def _wrap_once(benchmark, name):
    select = getattr(benchmark, name)

    def checked(patterns, class_only=False):
        delattr(benchmark, name)
        try:
            selected = select(patterns, class_only=class_only)
        except SystemExit as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise click.ClickException(
                f"{frame.filename}, line {frame.lineno}: calls sys.exit as "
                "it is imported, which would end the run of all; raise an "
                "exception instead"
            ) from error
        refuse_equal_names(
            selected if class_only else [cls for cls, _ in selected]
        )
        context = click.get_current_context(silent=True)
        if context is not None and name == "check_solver_patterns":
            check_places(benchmark, context.params)
        return selected

    setattr(benchmark, name, checked)


def refuse_equal_names(classes):
    """Refuse two files of one name, whose rows would be one curve."""
    files = {}
    for cls in classes:
        first = files.setdefault(cls.name, cls._module_filename)
        if first != cls._module_filename:
            raise click.ClickException(
                f"{cls.name}: the name of both {first} and "
                f"{cls._module_filename}; change the class attribute `name` "
                "of one"
            )


def check_places(benchmark, options):
    """Insist on places that can be written, and tell a result's other name.

    ``options`` are those of the command ``benchopt run``.
    """
    cache = benchmark.get_cache_location()
    if cache is not None:
        _check_writable(
            cache, "set BENCHOPT_CACHE to a folder for finished runs"
        )
    output = _output(options)
    if output == "None" or os.sep not in output:
        folder = benchmark.benchmark_dir / "outputs"
    else:
        folder, output = Path(output).parent, Path(output).name
    _check_writable(folder, "give the result file a path, --output PATH")
    if output == "None":
        return
    asked = (folder / output).with_suffix(Path(output).suffix or ".parquet")
    if asked.exists():
        click.echo(
            f"{asked} exists and is kept: the rows of this run go to "
            f"{asked.stem}_N{asked.suffix}, which the last line names"
        )


def _output(options):
    """Return the option --output, be it of the command or its file."""
    if options["output"] == "None" and options["config_file"]:
        with open(options["config_file"]) as file:
            return str(yaml.safe_load(file).get("output", "None"))
    return options["output"]


def _check_writable(folder, remedy):
    there = next(
        path for path in (folder, *Path(folder).absolute().parents)
        if path.exists()
    )
    if not os.access(there, os.W_OK | os.X_OK):
        raise click.ClickException(
            f"{there}: no permission to write there; {remedy}"
        )
