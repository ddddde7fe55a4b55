"""What a step of a bi-level problem is scored by."""
from .measures import inner_residual


def metrics(problem, step):
    """Score one step of a `BilevelProblem`.

    Returns
    -------
    dict of float
        ``theta``, its first entry; ``inner_residual``, ‖g‖₂ at z; and the
        problem's own ``scores`` of z.
    """
    return {
        **problem.scores(step.z),
        "theta": float(step.theta[0].detach().reshape(-1)[0]),
        "inner_residual": inner_residual(step),
    }
