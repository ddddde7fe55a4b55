"""A first look at a result file: every method, a panel per data set.

    python figures/quickstart.py RESULT [RESULT ...]

Validation loss, which the methods descend, above the best that any method
reached with the same seed, against time; median and middle 80 % over seeds.
"""
from common import command_line, load, one_line_errors
from drawing import (
    add_legend, draw_panels, grid_for, paper_style, remove_empty, save,
    stacked,
)


def main(arguments=None):
    """Command line; returns the figure, in a list."""
    parser = command_line(__doc__, "quickstart")
    options = parser.parse_args(arguments)
    with one_line_errors(), paper_style():
        frame = load(options, loss="value")
        places = stacked(frame)
        figure, axes = grid_for(places)
        used = draw_panels(
            axes, places, frame, "time", (0.1, 0.9), options, loss="value"
        )
        remove_empty(axes)
        add_legend(figure, used)
        save(figure, options.output_dir, options.name)
        return [figure]


if __name__ == "__main__":
    main()
