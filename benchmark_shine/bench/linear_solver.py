"""The exact methods' linear solver, by the names of its settings."""
import torch

from ..adjoint import (
    ConjugateGradient, NystromPCG, Recycled, cold, stop_by_hypergradient,
    stop_by_residual, z_as_q0,
)
from ..checks import check_choice
from ..operators import transposed

# First guess of a first linear solve, before there is a last q.
FIRST_Q = {"zero": torch.zeros_like, "z": z_as_q0}
STOPS = {
    "residual": stop_by_residual, "hypergradient": stop_by_hypergradient,
}
ESTIMATES = {"none": cold, "shine": transposed}
PRECONDITIONERS = {**ESTIMATES, "recycled": Recycled, "nystrom": NystromPCG}


def linear_solver(
    preconditioner="none", stop="residual", first_q="zero", max_iter=None,
    memory=60, rank=None, refresh=None,
):
    """Make conjugate gradients for Jᵀ q = rhs in bi-level problems.

    Parameters
    ----------
    preconditioner : {"none", "shine", "recycled", "nystrom"}
    stop : {"residual", "hypergradient"}
    first_q : {"zero", "z"}
        First guess of the first solve.
    max_iter : int or None
        Most iterations; None: as many as the tolerance asks for.
    memory : int
        Pairs that are recycled.
    rank, refresh : int or None
        Of `NystromPCG`, which needs both; None with all others.

    Returns
    -------
    callable, AdjointSystem -> Tensor (d,)

    Raises
    ------
    ValueError
        Where a setting is out of its range, or does not fit the
        preconditioner.
    """
    check_choice("preconditioner", preconditioner, PRECONDITIONERS)
    stop = check_choice("stop", stop, STOPS)
    default_q0 = check_choice("first_q", first_q, FIRST_Q)
    for name, value in ("rank", rank), ("refresh", refresh):
        if value is not None and preconditioner != "nystrom":
            raise ValueError(f"{name}: needs preconditioner=nystrom")
    if preconditioner in ESTIMATES:
        limit = [] if max_iter is None else [max_iter]
        return ConjugateGradient(
            *limit, default_q0=default_q0,
            estimate=ESTIMATES[preconditioner], stop=stop,
        )
    if max_iter is not None or first_q != "zero":
        raise ValueError(
            f"preconditioner: {preconditioner} needs first_q=zero and no "
            "limit of backward_steps"
        )
    if preconditioner == "recycled":
        return Recycled(memory, stop)
    return NystromPCG(rank, refresh, stop=stop)
