"""Figure E.1: as figure 1, with every method but OPA.

    python figures/figE1_bilevel_extended.py RESULT [RESULT ...]
        [--authors CSV]
"""
from authors import command_line, make_overlay
from common import one_line_errors
from drawing import convergence


def main(arguments=None):
    """Command line; returns the figures."""
    parser = command_line(__doc__, "figE1_bilevel_extended")
    options = parser.parse_args(arguments)
    with one_line_errors():
        return convergence(
            options, lambda method: method != "SHINE-OPA",
            make_overlay=make_overlay,
        )


if __name__ == "__main__":
    main()
