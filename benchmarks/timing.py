"""Timing calls side by side."""
import statistics
import time


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
