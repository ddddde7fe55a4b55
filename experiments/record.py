"""Make the record: every result file of results/, measured by one package.

    python -m experiments.record                  all of it, in order of value
    python -m experiments.record theory race      some entries
    python -m experiments.record --plan           say what is left, no more

configs/record.yml lists the entries.  Two pieces of them run at a time, on a
thread each; entries whose times matter run alone.  A finished piece lies in
outputs/record/, so that the same command goes on after an interruption, and a
piece that fails does not stop the others.  When the last piece of an entry is
done, its files come to results/; at the end, pictures and tables are drawn.
"""
import argparse
import asyncio
import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from benchmark_shine.fingerprints import fingerprint

from .entries import ROOT, BadEntry, lacking, read_record
from .ledger import (
    Ledger, commit_of_package, digest, draw, of_files, write_page,
)

AT_A_TIME = 2
PATIENCE = 5  # seconds that an interrupted process has to end by itself
# What benchopt prints of a run that has no result, or only a part of one.
BROKEN = re.compile(
    r"\|--.*: (error|interrupted|not installed|done \(timeout\))$"
)
THREADS = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg",
}


# The plan

def folder_of_pieces(outputs):
    """Return the folder for the pieces of this package and torch."""
    return outputs / "record" / f"{fingerprint()}-torch{torch.__version__}"


def left(entry, ledger, base):
    """Return how many pieces of an entry are left, of how many; and hours."""
    pieces = entry.pieces()
    done = [piece for piece in pieces if piece.is_done(base)]
    if ledger.has(entry):
        return 0, len(pieces), 0.0
    n_left = len(pieces) - len(done)
    hours = ledger.hours(entry) / len(pieces)
    if done:
        hours = sum(piece.seconds(base) for piece in done) / 3600 / len(done)
    return n_left, len(pieces), n_left * hours


def wall_hours(entries, ledger, base):
    """Return the hours until all is done, with two pieces at a time."""
    return sum(
        left(entry, ledger, base)[2] / (1 if entry.alone else AT_A_TIME)
        for entry in entries
    )


def plan(entries, ledger, base):
    """Write what is done and what is left, and how long it takes."""
    wanted = [entry for entry in entries if not lacking(entry)]
    commit = commit_of_package()
    lines = [
        f"The record of package {fingerprint()}, "
        + (f"commit {commit}" if commit else "which is NOT COMMITTED")
        + f": about {wall_hours(wanted, ledger, base):.1f} h left",
        f"  {'entry':<22} {'done':>9} {'hours left':>11}",
    ]
    for entry in wanted:
        n_left, n, hours = left(entry, ledger, base)
        state = f"{hours:.2f}" if n_left else "-"
        lines.append(
            f"  {entry.name:<22} {f'{n - n_left} of {n}':>9} {state:>11}"
            + ("  alone" if entry.alone else "")
        )
    for entry in entries:
        if lacking(entry) and not ledger.has(entry):
            lines.append(
                f"  left out: make record ENTRY={entry.name}, "
                f"{ledger.hours(entry):.2g} h, needs "
                + " and ".join(lacking(entry))
            )
    return "\n".join(lines)


# Work

def say(line):
    """Print a line with the time of day."""
    print(time.strftime("%H:%M"), line, flush=True)


def words_of(piece, folder):
    """Return the command of a piece, which writes to a folder."""
    if piece.entry.command:
        words = shlex.split(piece.text.format(folder=shlex.quote(str(folder))))
        return [sys.executable, "-m", *words]
    return [
        sys.executable, "-m", "benchopt", "run", ".",
        "--config", str(folder / "config.yml"),
        "--output", str(folder / "result.parquet"),
    ]


async def call(words, log, lock):
    """Run a command of the suite; return its exit status.

    Cancelled, it ends the command with all its processes.
    """
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, env=os.environ | THREADS, stdout=log, stderr=log,
        stdin=subprocess.DEVNULL, start_new_session=True,
        pass_fds=[lock.fileno()],  # held until the last process has ended
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        for how in signal.SIGTERM, signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), PATIENCE)
        raise


async def measure(piece, base, lock):
    """Measure a piece; say whether it is done.

    What an unfinished one has left is there for the next call.
    """
    folder = piece.unfinished_in(base)
    folder.mkdir(parents=True, exist_ok=True)
    if piece.entry.runs:
        (folder / "config.yml").write_text(piece.text, encoding="utf-8")
    before, began = piece.seconds(base), time.monotonic()
    say(f"{piece.entry.name}: {piece.name} begins")
    try:
        with open(folder / "log", "w", encoding="utf-8") as log:
            status = await call(words_of(piece, folder), log, lock)
    finally:
        seconds = before + time.monotonic() - began
        (folder / "seconds").write_text(f"{seconds:.1f}\n")
    trouble = complaints(piece, folder, status)
    for line in trouble:
        say(f"{piece.entry.name}: {piece.name}: {line}")
    if status or not made(piece, folder):
        say(f"{piece.entry.name}: {piece.name} FAILED; see {folder / 'log'}")
        return False
    folder.replace(piece.finished_in(base))
    return True


def made(piece, folder):
    """Say whether all files of a piece have been made."""
    files = piece.entry.files if piece.entry.command else ["result.parquet"]
    return all((folder / name).is_file() for name in files)


def complaints(piece, folder, status):
    """List what the log says of runs that broke, or how the piece ended."""
    text = (folder / "log").read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"\x1b\[[\d;]*m", "", text)  # colours
    lines = [" ".join(line.split()) for line in text.splitlines()]
    if status:
        return lines[-3:]
    return [line for line in lines if piece.entry.runs and BROKEN.match(line)]


class Work:
    """The pieces that are left, in order.

    Parameters
    ----------
    entries : sequence of Entry
    ledger : Ledger
    base : Path
        The folder of the pieces.
    measure : callable, Piece -> awaitable of bool
    finish : callable, Entry -> None
        Told of each entry whose pieces are all done.
    """

    def __init__(self, entries, ledger, base, measure, finish):
        self.entries, self.ledger, self.base = entries, ledger, base
        self.measure, self.finish = measure, finish
        self.failed = []

    async def run(self, prepare):
        """Do all of it; ``prepare`` is told of an entry before its pieces."""
        free = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            for entry in self.entries:
                if self.ledger.has(entry):
                    continue
                pieces = [piece for piece in entry.pieces()
                          if not piece.is_done(self.base)]
                if not pieces:
                    self._finish(entry)
                elif entry.runs:
                    async with free:
                        await prepare(entry)
                for piece in pieces:
                    width = AT_A_TIME if entry.alone else 1
                    for _ in range(width):
                        await free.acquire()
                    group.create_task(self._one(piece, free, width))

    async def _one(self, piece, free, width):
        try:
            if not await self.measure(piece):
                self.failed.append(piece.entry.name)
        except OSError as error:
            self._broken(piece.entry, error)
        finally:
            for _ in range(width):
                free.release()
        pieces = piece.entry.pieces()
        done = sum(other.is_done(self.base) for other in pieces)
        hours = wall_hours(self.entries, self.ledger, self.base)
        say(f"{piece.entry.name}: {done} of {len(pieces)} done; about "
            f"{hours:.1f} h left in all")
        if done == len(pieces):
            self._finish(piece.entry)

    def _finish(self, entry):
        try:
            self.finish(entry)
        except (OSError, ValueError) as error:
            self._broken(entry, error)

    def _broken(self, entry, error):
        say(f"{entry.name} FAILED: {error}")
        self.failed.append(entry.name)


async def prepare(entry, base, lock):
    """Get the data of an entry; without them its pieces will say so."""
    folder = base / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    for n, runs in enumerate(entry.runs):
        config = folder / f"data_{n}.yml"
        config.write_text(runs.text(), encoding="utf-8")
        with open(folder / "data.log", "a", encoding="utf-8") as log:
            status = await call(
                [sys.executable, "-m", "benchopt", "prepare", ".",
                 "--config", str(config)], log, lock,
            )
        if status:
            say(f"{entry.name}: some data are not here; see {log.name}")


@contextmanager
def only_one(base):
    """Hold the lock of a folder of pieces.

    Raises
    ------
    BlockingIOError
        Where another call, or a process that it has left, holds it.
    """
    base.mkdir(parents=True, exist_ok=True)
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock


async def work(entries, ledger, base, finish):
    """Do what is left of some entries; return the names of what failed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in signal.SIGTERM, signal.SIGHUP:
        loop.add_signal_handler(number, task.cancel)
    with only_one(base) as lock:
        todo = Work(
            entries, ledger, base, lambda one: measure(one, base, lock),
            finish,
        )
        await todo.run(lambda entry: prepare(entry, base, lock))
    return todo.failed


def draw_all(record, ledger, again=False):
    """Draw what is not of the present files; return what fails.

    ``again``: also what is, as by another state of the figures' code.
    """
    failed = []
    for drawing in record.drawn:
        now, before = digest(drawing), ledger.drawn.get(drawing.figures)
        if now is None or (now == before and not again):
            continue
        say(drawing.command)
        try:
            draw(drawing)
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stdout", None) or str(error)
            say(f"FAILED: {' '.join(said.split())[-300:]}")
            failed.append(drawing.command)
        else:
            ledger.drawn[drawing.figures] = now
            ledger.write()
    return failed


def closing(record, ledger):
    """List what the files of the results are, beside the record's package."""
    lines = []
    for name, (found, _) in of_files(record, ledger).items():
        if found == ledger.package and name in record.older:
            lines.append(f"configs/record.yml: {name} is not older any more")
        elif found not in (ledger.package, record.older.get(name)):
            lines.append(f"{name} is of package {found}, and neither of "
                         f"{ledger.package} nor listed as older")
    return lines


def main(words=None):
    """Command line; exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="ENTRY",
                        help="all, where none is given")
    parser.add_argument("--plan", action="store_true",
                        help="print the plan, and do nothing")
    parser.add_argument("--draw", action="store_true",
                        help="measure nothing: draw everything again")
    parser.add_argument("--page", action="store_true",
                        help="write results/README.md, and do nothing else")
    parser.add_argument("--take", type=Path, metavar="DIR",
                        help="take entries that another machine has written "
                             "with --results")
    parser.add_argument("--results", type=Path, metavar="DIR",
                        default=ROOT / "results",
                        help="for the files, in place of results/: nothing "
                             "is drawn")
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs",
                        metavar="DIR", help="for the pieces; default: outputs")
    options = parser.parse_args(words)
    try:
        return run(read_record(), options)
    except BlockingIOError:
        sys.exit("error: another call works on the record, or a process that "
                 f"it has left; they hold {options.outputs}/record/*/lock")
    except (BadEntry, OSError) as error:
        sys.exit(f"error: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nStopped; the same command goes on.", file=sys.stderr)
        return 130


def run(record, options):
    """Do what the options ask for; return the exit status."""
    entries = chosen(record, options.names)
    ledger = Ledger.read(options.results)
    base = folder_of_pieces(options.outputs.absolute())
    failed = []
    if options.take:
        print("taken:", *ledger.take(entries, options.take))
    elif not (options.page or options.draw):
        print(plan(entries, ledger, base), flush=True)
        if options.plan:
            return 0
        failed += asyncio.run(work(
            [entry for entry in entries if not lacking(entry)], ledger, base,
            lambda entry: ledger.collect(entry, base),
        ))
    if options.results.resolve() == ROOT / "results":
        if not options.page:
            failed += draw_all(record, ledger, again=options.draw)
        write_page(record, ledger)
        for line in closing(record, ledger):
            print(line)
    for name in dict.fromkeys(failed):
        print("FAILED:", name)
    return 1 if failed else 0


def chosen(record, names):
    """Return the entries of some names, or all, in order of value."""
    unknown = set(names) - {entry.name for entry in record.entries}
    if unknown:
        raise BadEntry(
            f"no entry {', '.join(sorted(unknown))}; there are "
            + ", ".join(entry.name for entry in record.entries)
        )
    return [entry for entry in record.entries
            if not names or entry.name in names]


if __name__ == "__main__":
    sys.exit(main())
