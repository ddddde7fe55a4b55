"""Figure 1: test loss against time, and against gradient evaluations.

    python figures/fig1_bilevel.py RESULT [RESULT ...] [--authors CSV]

Median over seeds of the suboptimality, and the band of the middle 80 %.
"""
from authors import command_line, make_overlay
from common import one_line_errors
from drawing import convergence

SHOWN = {"SHINE", "HOAG", "SHINE-refine", "Jacobian-Free", "Grid-search"}


def main(arguments=None):
    """Command line; returns the figures."""
    options = command_line(__doc__, "fig1_bilevel").parse_args(arguments)
    with one_line_errors():
        return convergence(
            options, SHOWN.__contains__, make_overlay=make_overlay
        )


if __name__ == "__main__":
    main()
