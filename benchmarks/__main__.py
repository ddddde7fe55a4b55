"""Measure what the suite itself costs.

    python -m benchmarks                       all of it, 15 minutes
    python -m benchmarks pieces growth         some sections

Every line is a ratio of calls that alternate in one process, so that both
sides meet the same machine: medians, and the quartiles of the ratio.  The
table goes to benchmarks.csv and benchmarks.md, with a figure of the parts of
a step and one of the growth of its cost.  One thread is timed in CPU seconds;
two are timed in wall-clock seconds, and want an idle machine.
"""
import argparse
from pathlib import Path

import torch

from . import (
    growth, newsgroups, parts, pieces, scipy_runs, torchdeq_steps,
)
from .frame import keep

SECTIONS = {
    "pieces": pieces, "parts": parts, "lines": newsgroups,
    "scipy": scipy_runs, "torchdeq": torchdeq_steps, "growth": growth,
}


def main():
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help="; ".join(
            f"{name}: {section.__doc__.splitlines()[0]}"
            for name, section in SECTIONS.items()
        ),
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR",
        help="of the table and the figures; default: outputs",
    )
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(unknown)}: {', '.join(SECTIONS)}")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for name in options.sections or SECTIONS:
        print(f"\n{SECTIONS[name].__doc__.splitlines()[0]}")
        # adjoints and products with Jᵀ switch gradients on for themselves
        with torch.no_grad():
            lines = SECTIONS[name].main(options.output_dir)
        keep(name, lines, options.output_dir)


if __name__ == "__main__":
    main()
