"""Keep workers from running other code than the client's.

benchopt sends a worker the parameters and file names of a run, not its code.
A worker that has lived for some time (dask), or has begun after an edit
(SLURM, loky), would run the code that it has loaded itself, and the result
would be cached as that of the client's code.  So the code is compared when a
run arrives and is unpickled: nothing is cached then, and the error reaches the
client.
"""
import hashlib
import os
import socket
import sys
from pathlib import Path

import torch
from click import ClickException

from ..fingerprints import LOADED, fingerprint

# Under this name benchopt loads the files of a benchmark.
FILES = "benchopt_benchmarks."


def refuse_other_code(package, torch_version):
    """Refuse a run of another package or torch than this process has.

    ``package`` is the client's `benchmark_shine.fingerprints.LOADED`.
    """
    for name, ours, theirs in (
        ("benchmark_shine", LOADED, package),
        ("torch", torch.__version__, torch_version),
    ):
        if ours != theirs:
            refuse(f"{name}: this worker has {ours}, the run is of {theirs}")


def refuse_edited_files():
    """Refuse a run where files have changed since this process loaded them.

    A solver, data set or objective is compared with its content when it was
    first seen here.  The package is compared as a whole, since parts of it
    may not be loaded yet.
    """
    edited = [] if fingerprint() == LOADED else ["benchmark_shine"]
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith(FILES) and file and Path(file).exists():
            now = hashlib.sha256(Path(file).read_bytes()).digest()
            if vars(module).setdefault("_loaded_as", now) != now:
                edited.append(file)
    if edited:
        refuse(f"{', '.join(edited)}: edited since this worker loaded it")


def refuse(why, remedy="Restart the workers, of dask the scheduler too,"):
    """End a run in a worker by a ClickException, with place and remedy."""
    raise ClickException(
        f"{why} (process {os.getpid()} on {socket.gethostname()}). {remedy} "
        "and run again: what had finished is kept."
    )


def dask_backend(client=None, wait_for_workers_timeout=10):
    """Make joblib's backend for dask, which does not wait for failed tasks.

    The backend of joblib 1.6 is told of an exception inside a task.  For a
    task that fails outside of its function, because it cannot be unpickled or
    because dask gives it up after the death of several workers, that backend
    waits without end.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def submit(self, func, callback=None):
            future = super().submit(func, callback)
            future.add_done_callback(
                lambda done: done.exception() and callback(done.exception())
            )
            return future

        def retrieve_result_callback(self, out):
            if not isinstance(out, BaseException):
                return super().retrieve_result_callback(out)
            while out.__cause__:  # what scheduler or worker said first
                out = out.__cause__
            raise out

    return Backend(
        client=client, wait_for_workers_timeout=wait_for_workers_timeout
    )
