"""Timing calls side by side, and their memory."""
import statistics
import time
from pathlib import Path


def medians(calls, repeats, clock=time.process_time):
    """Median seconds of each call, in turns.

    Parameters
    ----------
    calls : dict, name -> callable without arguments
    repeats : int
    clock : callable

    Returns
    -------
    dict, name -> float
    """
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = clock()
            call()
            seconds[name].append(clock() - began)
    return {name: statistics.median(s) for name, s in seconds.items()}


def peak_kib():
    """Peak resident set of this process so far (Linux)."""
    # not getrusage: its peak is inherited from the parent process
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
