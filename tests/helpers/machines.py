"""Run the fast tests as other processors would, and on other Pythons.

    python tests/helpers/machines.py [NAME ...] [-- OPTION OF PYTEST ...]

The tests run once per line of `MACHINES`, then once per virtual environment
.venv-* of the suite's folder, which for instance

    make rivals PYTHON=python3.13 VENV=.venv-3.13

makes.  Exit status 1 where one of the runs fails.
"""
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {
    "as it is": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell"},
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem",
    },
    "two threads": {"OMP_NUM_THREADS": "2"},
}


def variants():
    """List (name, interpreter, settings) of each run."""
    here = [(name, sys.executable, settings)
            for name, settings in MACHINES.items()]
    others = [(path.parents[1].name, path, {})
              for path in sorted(ROOT.glob(".venv-*/bin/python"))]
    return here + others


def run(name, python, settings, options):
    """Run the tests; return a line on them."""
    print(f"== {name}: {python} {settings or ''}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-m", "not slow", *options],
        cwd=ROOT,
        env=os.environ | settings,
    )
    minutes = (time.monotonic() - began) / 60
    verdict = "FAILED" if done.returncode else "green"
    return f"{name}: {verdict}, {minutes:.1f} minutes"


def main(words):
    """Command line; exit status."""
    at = words.index("--") if "--" in words else len(words)
    names, options = words[:at], words[at + 1:]
    verdicts = [
        run(*variant, options) for variant in variants()
        if not names or variant[0] in names
    ]
    if not verdicts:
        sys.exit(f"{' '.join(names)}: no such machine or environment")
    print("", *verdicts, sep="\n")
    return int(any("FAILED" in verdict for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
