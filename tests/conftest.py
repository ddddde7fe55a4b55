"""Every test runs this checkout, from one seed.

Tests run on one thread, or on as many as OMP_NUM_THREADS says.
"""
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clusters

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def reproducible():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def cache_of_exact_values(tmp_path_factory):
    """Keep exact values of F in a folder of their own, not the user's."""
    folder = str(tmp_path_factory.mktemp("values"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHMARK_SHINE_CACHE", folder)
        yield


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
