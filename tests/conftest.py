"""Every test runs this checkout, on one thread, from one seed."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

import clusters  # noqa: E402


@pytest.fixture(autouse=True)
def reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def root_dir():
    """The checkout: what benchopt is pointed at."""
    return ROOT


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """What SLURM's commands need in their environment, of a real one."""
    pytest.importorskip("submitit")
    missing = clusters.slurm_is_missing()
    if missing:
        pytest.skip(f"a SLURM of one node needs {missing}")
    with clusters.slurm(tmp_path_factory.mktemp("slurm")) as settings:
        yield settings
