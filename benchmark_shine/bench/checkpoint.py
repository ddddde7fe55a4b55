"""How an interrupted run goes on: what it leaves, and where benchopt stood."""
import hashlib
import io
import os
import time
from pathlib import Path

import torch
from benchopt.benchmark import CACHE_DIR
from benchopt.config import get_setting

from ..engine import Totals

# Seconds from one write to the next, and from the start to the first: a run
# that is shorter never pays.
SECONDS = 30.0


class Checkpoint:
    """One run's file: a SHA-256, and the archive of torch.save it is of.

    torch.load by itself does not notice a flipped bit.  It reads with
    ``weights_only``: no code in the file is run.

    Parameters
    ----------
    path : Path or None
        None: nothing is kept.
    identity : str
        Hash of all that decides how the run goes: a file of another one is
        of no use.
    """

    def __init__(self, path, identity):
        self._path, self._identity = path, identity
        self._since = time.monotonic()

    @property
    def due(self):
        """Return whether it is time to write."""
        waited = time.monotonic() - self._since
        return self._path is not None and waited >= SECONDS

    def write(self, content):
        """Replace the file, whole or not at all.

        ``content`` are tensors, numbers and strings in dicts and lists.
        """
        archive = io.BytesIO()
        torch.save([self._identity, content], archive)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("wb") as file:
                file.write(hashlib.sha256(archive.getbuffer()).digest())
                file.write(archive.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            self._partial.replace(self._path)
        except OSError as error:
            print(f"{error}: this run, interrupted, will start over")
            self._path = None
        self._since = time.monotonic()

    @property
    def _partial(self):
        return self._path.with_suffix(".partial")

    def read(self):
        """Return the file's content; None, and a line, if it is of no use."""
        if self._path is None or not self._path.exists():
            return None
        try:
            data = self._path.read_bytes()
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                return self._start_over("is damaged")
            identity, content = torch.load(
                io.BytesIO(data[32:]), weights_only=True
            )
        except Exception as error:  # of any type: the file is anybody's
            return self._start_over(f"cannot be read ({type(error).__name__})")
        if identity != self._identity:
            return self._start_over("is of other code, data or settings")
        return content

    def _start_over(self, why):
        print(f"{self._path} {why}: the run starts over", flush=True)

    def remove(self):
        """Delete the file of a run that has ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)


def location(solver, meta):
    """Return where a run keeps its checkpoint, and the run's identity.

    The place depends on names alone: a run after an edit takes that of the
    run before.  The identity covers what benchopt's cache key covers: the
    parameters, the files and the fingerprints of code and data.

    Parameters
    ----------
    solver : BaseSolver
        With its objective and data set.
    meta : dict
        benchopt's names and parameters of the run; empty in trial runs,
        which keep nothing.
    """
    if not meta:
        return None, ""
    place = meta["dataset_name"], meta["objective_name"], meta["solver_name"]
    parts = solver, solver._objective, solver._objective._dataset
    code = [(part._file_hash, part._get_state()) for part in parts]
    name = f"{_hash([*place, meta['idx_rep']])}.pt"
    cache = get_setting("cache")
    folder = Path(solver._benchmark_dir) / CACHE_DIR if cache is None else (
        Path(cache) / "benchmark_shine"
    )
    return folder / "checkpoints" / name, _hash([meta, code])


def _hash(known):
    return hashlib.sha256(repr(known).encode()).hexdigest()


def keep(checkpoint, callback, outer, point):
    """Write where a run stands, if it has just been evaluated and it is time.

    Nothing of this is on benchopt's clock, which its callback stops, and
    starts where this returns.  ``outer`` is the outer optimiser, which
    ``store``s its state; from a point without a state no run goes on.
    """
    if point.state is None or not checkpoint.due:
        return
    if callback.curve[-1]["stop_val"] != point.totals.n_outer:
        return  # not evaluated
    known = callback.meta | callback.info
    checkpoint.write({
        "curve": [
            {name: x for name, x in row.items() if name not in known}
            for row in callback.curve
        ],
        "totals": vars(point.totals),
        "state": outer.store(point.state),
    })
    callback.start()


def resume(checkpoint, callback, outer, get_next):
    """Put benchopt back where an interrupted run was written last.

    Its points are not evaluated again, and its time counts.

    benchopt's callback is changed in place, and ``outer``, the outer
    optimiser, ``restore``s its state.

    Returns
    -------
    (Totals, state) or None
        From where the engine goes on; None: from the start.
    """
    found = checkpoint.read()
    if found is None:
        return None
    totals, points = Totals(**found["totals"]), found["curve"]
    k = totals.n_outer
    callback.curve = [
        callback.meta | point | callback.info for point in points
    ]
    callback.time_iter = points[-1]["time"]
    callback.it, callback._last_it_log = k + 1, k
    callback.next_stopval = get_next(k)
    callback.stopping_criterion.n_eval = len(points)
    return totals, outer.restore(found["state"])
