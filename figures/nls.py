"""Non-linear least squares: as figure 1, every method, middle half of seeds.

    python figures/nls.py RESULT [RESULT ...]
"""
from common import command_line, one_line_errors
from drawing import convergence


def main(arguments=None):
    """Command line; returns the figures."""
    parser = command_line(__doc__, "nls")
    options = parser.parse_args(arguments)
    with one_line_errors():
        return convergence(
            options, lambda method: True, (0.25, 0.75), formulation="nls"
        )


if __name__ == "__main__":
    main()
