"""How an interrupted run goes on: what it leaves, and where benchopt stood."""
import hashlib
import io
import os
import time

import torch

from ..engine import Progress

# Seconds from one write to the next, and from the start to the first: a run
# that is shorter never pays.
SECONDS = 30.0

TOTALS = "n_outer", "n_g", "n_vjp", "forward_time", "backward_time"


class Checkpoint:
    """One run's file.

    It holds a SHA-256 and what that was taken of, an archive of torch.save.
    (By itself torch.load notices a file that is cut off, but not a bit that
    has flipped.)  It is read with ``weights_only``: no code in it is run.

    Parameters
    ----------
    path : Path or None
        None: nothing is kept.
    identity : str
        Of all that decides how the run goes: a file of another one is of no
        use.
    """

    def __init__(self, path, identity):
        self._path, self._identity = path, identity
        self._since = time.monotonic()

    @property
    def due(self):
        """Whether it is time to write."""
        waited = time.monotonic() - self._since
        return self._path is not None and waited >= SECONDS

    def write(self, content):
        """Put content in place of the file's, whole or not at all.

        Parameters
        ----------
        content : tensors, numbers and strings, in dicts, lists and tuples
        """
        archive = io.BytesIO()
        torch.save([self._identity, content], archive)
        archive = archive.getbuffer()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("wb") as file:
                file.write(hashlib.sha256(archive).digest())
                file.write(archive)
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
        """The file's content; None where there is none of use.

        A file of no use is told in one line.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            data = memoryview(self._path.read_bytes())
        except OSError as error:
            return self._start_over(str(error))
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return self._start_over(f"{self._path} is damaged")
        try:
            identity, content = torch.load(
                io.BytesIO(data[32:]), weights_only=True
            )
        except Exception:  # of any type: what it was given is nobody's file
            return self._start_over(f"{self._path} is no checkpoint")
        if identity != self._identity:
            return self._start_over(
                f"{self._path} is of other code, data or settings"
            )
        return content

    def _start_over(self, why):
        print(f"{why}: the run starts over", flush=True)

    def remove(self):
        """Nothing is left to go on with."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)


def keep(checkpoint, callback, outer, step):
    """Write where a run stands, if it has just been evaluated and it is time.

    Nothing of this is on benchopt's clock, which its callback stops, and
    starts where this returns.

    Parameters
    ----------
    checkpoint : Checkpoint
    callback
        benchopt's, after the step.
    outer
        An outer optimiser that can ``store`` its state.
    step : Step
        Without a state, no run goes on from it.
    """
    if step.state is None or not checkpoint.due:
        return
    if callback.curve[-1]["stop_val"] != step.n_outer:
        return  # not evaluated
    known = callback.meta | callback.info
    checkpoint.write({
        "curve": [
            {name: x for name, x in point.items() if name not in known}
            for point in callback.curve
        ],
        "totals": {name: getattr(step, name) for name in TOTALS},
        "state": outer.store(step.state),
    })
    callback.start()


def resume(checkpoint, callback, outer, get_next):
    """Put benchopt back where an interrupted run was written last.

    Its points are not evaluated again, and its time counts.

    Parameters
    ----------
    checkpoint, outer
        As for `keep`.
    callback
        benchopt's, before the run; changed in place.
    get_next : callable, int -> int
        The evaluation after one, in outer steps.

    Returns
    -------
    Progress or None
        From where the engine goes on; None: from the start.
    """
    found = checkpoint.read()
    if found is None:
        return None
    totals, points = found["totals"], found["curve"]
    k = totals["n_outer"]
    callback.curve = [
        callback.meta | point | callback.info for point in points
    ]
    callback.time_iter = points[-1]["time"]
    callback.it, callback._last_it_log = k + 1, k
    callback.next_stopval = get_next(k)
    callback.stopping_criterion.n_eval = len(points)
    return Progress(**totals, state=outer.restore(found["state"]))
