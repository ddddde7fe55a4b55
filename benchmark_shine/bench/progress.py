"""Tell where a run stands: a live line on a terminal, a line in the log."""
import sys
from multiprocessing import parent_process
from threading import current_thread, main_thread

from tqdm import tqdm

INDENT = " " * 8  # below benchopt's tree of solvers
LIVE = INDENT + (
    "step {n_fmt}/{total_fmt}{postfix}, {elapsed} so far, {remaining} left: "
    "{desc}"
)


class _Line(tqdm):
    """A live line below benchopt's own, which finds the cursor as it was."""

    monitor_interval = 0  # no thread beside the solver

    def display(self, msg=None, pos=None):
        shown = super().display(msg, pos)
        self.fp.write("\r")
        self.fp.flush()
        return shown


def _watched(terminal):
    """Return whether a live line is seen: workers share one terminal."""
    return (
        terminal is not None and terminal.show_progress
        and sys.stderr.isatty() and parent_process() is None
        and current_thread() is main_thread()
    )


class Report:
    """Tell how a run goes, and how it has ended.

    None of this is on benchopt's clock, which stands still from an evaluation
    of the callback to the callback's ``start``.  Trial runs, which have no
    names, are not reported.

    Parameters
    ----------
    callback
        benchopt's, before the run.
    n_outer : int
        Outer steps of the whole run.
    done : int
        Outer steps that an earlier, interrupted run has made.  They do not
        count for the estimate of the time that is left.
    """

    def __init__(self, callback, n_outer, done=0):
        self._callback, self._seen = callback, None
        self._n_outer, self._done = n_outer, done
        self._names = callback.meta and (
            "{solver_name} on {dataset_name}".format_map(callback.meta)
        )
        terminal = callback.stopping_criterion.terminal
        self._line = _Line(
            desc=self._names, total=n_outer, initial=done, position=1,
            leave=False, disable=not (self._names and _watched(terminal)),
            dynamic_ncols=True, smoothing=0, miniters=1, bar_format=LIVE,
        )

    def show(self, step, totals):
        """Tell of the reported step, when the callback has seen it."""
        self._seen = step, totals
        if not self._line.disable:
            self._line.set_postfix_str(f"loss {step.value:.6g}", False)
            self._line.update(totals.n_outer - self._line.n)
            self._callback.start()

    def close(self):
        """Take the live line away."""
        self._line.close()

    def finish(self):
        """Write the line of a run that has ended."""
        self.close()
        if not self._names:
            return
        (step, totals), callback = self._seen, self._callback
        notes = [f"{self._done} of them before"] if self._done else []
        if step.diverged:
            notes.append("diverged")
        elif totals.n_outer < self._n_outer:
            notes.append(f"stopped by benchopt: {callback.status}")
        said = f" ({', '.join(notes)})" if notes else ""
        print(
            f"{INDENT}{self._names}: {totals.n_outer} of {self._n_outer} "
            f"outer steps{said}, loss {step.value:.6g}, "
            f"{callback.time_iter:.3g} s, {totals.n_g + totals.n_vjp} "
            "evaluations", flush=True,
        )
        callback.start()
