"""What a step of a bi-level problem is scored by."""
from .measures import inner_residual


def metrics(problem, step):
    """Score one step of a `BilevelProblem`.

    Beside the problem's own scores of z: the first entry of theta, and ‖g‖₂.
    """
    return {
        **problem.scores(step.z),
        "theta": float(step.theta[0].detach().reshape(-1)[0]),
        "inner_residual": inner_residual(step),
    }
