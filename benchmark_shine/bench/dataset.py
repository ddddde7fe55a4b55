"""The bridge from data sets to benchopt."""
from ..problems import Logistic, NonlinearLeastSquares

BINARY = {"logistic": Logistic, "nls": NonlinearLeastSquares}


def loaded(build):
    """Build a problem, or say why not: what a dataset hands to benchopt.

    An exception in ``get_data`` would end the whole run; this way the data
    set is skipped with one line, and the others run.

    Parameters
    ----------
    build : callable, () -> problem

    Returns
    -------
    dict
        ``problem``, and ``reason`` where the problem is None.
    """
    try:
        return {"problem": build()}
    except (OSError, TypeError, ValueError) as error:
        why = str(error)
    except (MemoryError, RuntimeError) as error:
        # torch has no type of its own for a CPU's
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        why = f"does not fit into memory, choose smaller sizes ({error})"
    return {"problem": None, "reason": " ".join(why.split())}
