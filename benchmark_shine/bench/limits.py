"""End a step that hangs by an exception."""
import signal
import sys
import threading

# Seconds that every step may take, whatever benchopt's timeout is.
LEAST = 60.0


def timely(steps, timeout):
    """Yield the items of a generator, each within a limit of time.

    benchopt compares its timeout with the clock when it evaluates a run, and
    a run that hangs is never evaluated.  So a single step that takes as long
    as the timeout of the whole run counts as hanging.  The exception is
    raised where Python is at that moment: a call into compiled code has to
    return first.

    There is no limit where ``timeout``, benchopt's in seconds, is None,
    outside of the main thread, as in dask's workers, or on Windows.

    Raises
    ------
    TimeoutError
        From within the step.
    """
    main = threading.current_thread() is threading.main_thread()
    if timeout is None or not main or sys.platform == "win32":
        yield from steps
        return
    seconds = max(timeout, LEAST)

    def hangs(*_):
        raise TimeoutError(
            f"one step has taken {seconds:g} s: it hangs, or --timeout "
            f"{timeout:g} is too short for it"
        )

    done = object()
    while True:
        before = signal.signal(signal.SIGALRM, hangs)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            step = next(steps, done)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        if step is done:
            return
        yield step
