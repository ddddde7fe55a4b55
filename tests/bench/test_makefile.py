"""The Makefile: help, paths with spaces, and what it says at once."""
import os
import shlex
import subprocess

import pytest


def make(root_dir, *words):
    """Run make in the checkout, as a user's shell would."""
    environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith("MAKE")
    }
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=root_dir,
        env=environment, capture_output=True, text=True,
    )


def test_make_alone_shows_help(root_dir):
    said = make(root_dir).stdout
    for target in "run", "figure", "report", "validate", "test-machines":
        assert f"make {target}" in said


@pytest.mark.parametrize("name", ["FILE", "SOLVER"])
@pytest.mark.parametrize("path", ["my solvers/a b.py", "it's.py", "a$b.py"])
def test_a_file_is_one_word_whatever_its_name(root_dir, name, path):
    commands = make(root_dir, "-n", "validate", f"{name}={path}").stdout
    *_, last = commands.replace("\\\n", " ").strip().splitlines()
    assert shlex.split(last)[-2:] == ["benchmark_shine.bench.validate", path]


def test_a_folder_that_cannot_be_written_to_is_named_at_once(root_dir):
    done = make(root_dir, "usable", "OUTPUTS=/dev/null/x")
    assert done.returncode == 2
    assert done.stderr.startswith("make cannot write in ")
    assert "/dev/null/x" in done.stderr.splitlines()[0]


def test_an_environment_of_another_python_is_not_used(root_dir, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n[ $1 = -V ] && echo Python 3.99.0\nexit 0\n")
    python.chmod(0o755)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").write_text("#!/bin/sh\necho 3.11\n")
    (tmp_path / "venv" / "bin" / "python").chmod(0o755)
    done = make(
        root_dir, "usable", f"PYTHON={python}", f"VENV={tmp_path}/venv",
        f"OUTPUTS={tmp_path}",
    )
    assert done.returncode == 2
    assert "has another Python" in done.stderr
