"""What a solver's first run does before its clock starts."""
import subprocess
import sys

import pytest
import torch

from experiments.tasks import _classes, network_of

SCRIPT = """
import sys
from benchopt.benchmark import Benchmark
suite = Benchmark({root!r})
problem, = (
    data.get_instance(**{settings}).get_data()["problem"]
    for data in suite.get_datasets() if data.name == {dataset!r}
)
solver, = (s for s in suite.get_solvers() if s.name == {solver!r})
solver = solver.get_instance()
solver.set_objective(problem, 2, 1)
solver.warm_up()
before = set(sys.modules)
for _ in solver._method.run(problem):
    pass
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("dataset, settings, solver", [
    ("simulated", {"n_samples": 40, "n_features": 8}, "HOAG"),
    ("simulated", {"n_samples": 40, "n_features": 8}, "SHINE"),
    ("digits", {"width": 8}, "HOAG"),
])
def test_nothing_is_imported_on_the_clock(dataset, settings, solver,
                                          root_dir):
    script = SCRIPT.format(
        root=str(root_dir), settings=settings, dataset=dataset, solver=solver
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        cwd=root_dir,
    )
    assert done.returncode == 0, done.stderr
    # a small file that an optimiser's first step asks for
    assert set(done.stdout.split()) <= {"torch.profiler._cupti_monitor"}


def test_float32_is_float32_on_a_gpu_too(monkeypatch):
    """A run, and an experiment, forbid cuDNN's convolutions in TF32."""
    network = network_of("digits", width=8)
    solver = _classes("solvers")["SHINE"].get_instance()
    for begin in (lambda: solver.set_objective(network, 1, 1),
                  lambda: network_of("digits", width=8)):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        begin()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
