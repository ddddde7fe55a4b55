"""Time calls side by side, and show each as a ratio of another."""
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def medians(calls, repeats, clock=time.process_time):
    """Measure the median seconds of each call, in turns, by name."""
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = clock()
            call()
            seconds[name].append(clock() - began)
    return {name: statistics.median(s) for name, s in seconds.items()}


def head(title):
    """Print the head of a table of ratios."""
    print(f"\n{title:<44} {'measured':>10} {'of':>10} {'ratio':>6}")


def row(label, measured, of, what, unit="ms"):
    """Print a line of the table: a value in seconds, its ratio of another."""
    factor = 1e3 if unit == "ms" else 1
    print(f"{label:<44} {factor * measured:>7.4g} {unit:<2} "
          f"{factor * of:>7.4g} {unit:<2} {measured / of:>5.2f}  {what}",
          flush=True)


def peak_kib():
    """Read the peak resident set of this process so far (Linux)."""
    # not getrusage: its peak is inherited from the parent process
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def growth_of(call):
    """Measure by how many MiB a call raises the peak resident set."""
    before = peak_kib()
    call()
    return (peak_kib() - before) / 1024


def in_fresh_process(module, call):
    """Print what a module's function returns in a process of its own.

    glibc hands all larger blocks back at once there; otherwise the figure
    would be that of its heap's holes (5 to 50 %).
    """
    code = f"from {module} import *; print({call})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, text=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return float(done.stdout)
