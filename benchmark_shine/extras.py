"""Say which extra of this package brings a missing library."""
from importlib.util import find_spec


def require(extra, *libraries):
    """Check that the libraries of an extra are installed.

    Parameters
    ----------
    extra : str
        Name of the extra in pyproject.toml.
    libraries : str
        The names under which they are imported.

    Raises
    ------
    ImportError
        Where one is missing; the message has the command that installs it.
    """
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{', '.join(missing)}: not installed; "
            f"pip install 'benchmark_shine[{extra}]'", name=missing[0],
        )
