"""Every shell command of README.md and docs/, run in a fresh clone.

    python tests/helpers/commands.py [PAGE ...] [--venv FOLDER] [--list]

The clone is of the last commit, in an empty home folder, as
~/benchmark_shine.  A page's commands run one after the other, in one shell
that starts in the clone.  Of the blocks of code, fenced or indented, those
are shell whose fence says sh, bash or console, or without a word at their
fence where a line begins with a command that is known here: then all must.
A comment before a block steers it:

    <!-- not run: reason -->           none of its commands
    <!-- not run, 2 3: reason -->      its second and third
    <!-- file: NAME -->                is written to NAME, where the shell is

Exit status 1 where a command fails: one that cannot run says so, or is
broken.
"""
import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("sh", "bash", "console", "shell")
KNOWN = re.compile(
    r"(?:\$ )?(?:\w+=\S* )*(?:\S*/bin/\S+|(?:make|python3?|pip|benchopt|dask"
    r"|git|cd|mkdir|export|sudo|apt-get|sbatch|srun|sacct|scancel)\s)"
)
MARK = re.compile(r"<!-- (not run|file)((?:[ ,]+\d+)*): (.+?) -->$", re.DOTALL)
FENCE = re.compile(r"^ *(`{3,}|~{3,})\s*(\S*)")
ITEM = re.compile(r" {0,3}(?:[-*+]|\d+[.)]) +(?=\S)")
LIMIT = 3600  # seconds; what takes longer should be marked


@dataclass(frozen=True)
class Command:
    """One thing that a page asks for.

    Parameters
    ----------
    page : str
    line : int
        Of the page, from 1.
    text : str
        For bash; of a file, its content.
    reason : str
        Why it is not run; empty: it is.
    file : str
        The name of the file that the text goes to; empty: a command.
    """

    page: str
    line: int
    text: str
    reason: str = ""
    file: str = ""

    @property
    def title(self):
        """One line of it."""
        return self.file or re.sub(r"\s*\\\n\s*", " ", self.text)


def blocks(text):
    """The blocks of code of a page.

    Yields
    ------
    (language, mark, line, body)
        ``language`` is None for an indented block; ``mark`` is the comment
        before it, or empty; ``line`` that of its first line, from 1.
    """
    lines, n, before, item = ["", *text.splitlines()], 1, "", 0
    while n < len(lines):
        line, fence = lines[n], FENCE.match(lines[n])
        code = " " * (item + 4)  # an item's text is indented already
        if fence:
            end = n + 1
            while not lines[end].strip().startswith(fence[1]):
                end += 1
            yield fence[2], before, n + 1, lines[n + 1:end]
            n, before = end, ""
        elif line.startswith(code) and not lines[n - 1].strip():
            end = n
            while end < len(lines) and (
                lines[end].startswith(code) or not lines[end].strip()
            ):
                end += 1
            yield None, before, n, [line[len(code):] for line in lines[n:end]]
            n, before = end - 1, ""
        elif line.strip():
            bullet = ITEM.match(line)
            if bullet:
                item = len(bullet[0])
            elif not line.startswith(" ") and not lines[n - 1].strip():
                item = 0
            # a comment, or a paragraph, may have several lines
            goes_on = lines[n - 1].strip() and before
            before = f"{before}\n{line}" if goes_on else line
        n += 1


def joined(body):
    """Commands of a block: their place in it, and their lines as one text."""
    start, parts, until = 0, [], None
    for n, line in enumerate(body):
        if not parts:
            start = n
        parts.append(line)
        if until is None and "<<" in line:
            until = re.search(r"<<-?\s*['\"]?(\w+)", line)[1]
        if line.rstrip().endswith("\\") or until not in (None, line.strip()):
            continue
        until = None
        if line.strip() and not line.lstrip().startswith("#"):
            yield start, "\n".join(parts)
        parts = []


def read(page, text):
    """Every command and file of a page.

    Raises
    ------
    ValueError
        Where a mark is not understood, or a block of unknown language has
        lines that are no commands among such that are.
    """
    for language, before, line, body in blocks(text):
        mark = MARK.search(before)
        if before.startswith("<!-- not run") and not mark:
            raise ValueError(f"{page}:{line}: cannot read {before!r}")
        what, places, words = mark.groups() if mark else ("", "", "")
        words = " ".join(words.split())
        if what == "file":
            yield Command(page, line, "\n".join(body) + "\n", file=words)
            continue
        commands = list(joined(body))
        if not language:
            known = [bool(KNOWN.match(text)) for _, text in commands]
            if not any(known):
                continue
            if not all(known):
                raise ValueError(
                    f"{page}:{line}: commands and something else; give the "
                    "block a fence with a language"
                )
        elif language not in LANGUAGES:
            continue
        elif language == "console":  # the rest is what they print
            commands = [c for c in commands if c[1].startswith("$ ")]
        chosen = {int(n) for n in re.findall(r"\d+", places)}
        if chosen - set(range(1, len(commands) + 1)):
            raise ValueError(f"{page}:{line}: not so many commands: {before}")
        for n, (start, text) in enumerate(commands, start=1):
            skipped = what and (not chosen or n in chosen)
            yield Command(
                page, line + start, text.removeprefix("$ "),
                reason=words if skipped else "",
            )


def pages(root):
    """README.md and every page of docs/, whoever wrote it."""
    return ["README.md", *sorted(
        path.relative_to(root).as_posix() for path in root.glob("docs/*.md")
    )]


def commands_of(root, names):
    """All commands of some pages, in order."""
    return [
        command for name in names
        for command in read(name, (root / name).read_text(encoding="utf-8"))
    ]


# Running

def borrow(clone, venv):
    """A .venv in the clone that finds its packages in another one.

    `make` then installs the package itself, and finds the rest installed.
    """
    subprocess.run([sys.executable, "-m", "venv", clone / ".venv"], check=True)
    theirs, = venv.glob("lib/python3*/site-packages")
    ours, = (clone / ".venv").glob("lib/python3*/site-packages")
    (ours / "borrowed.pth").write_text(f"{theirs}\n")
    script = clone / ".venv" / "bin" / "benchopt"
    script.write_text('#!/bin/sh\nexec "${0%/*}/python" -m benchopt "$@"\n')
    script.chmod(0o755)


class Shell:
    """bash; folder and exported variables last from command to command.

    Parameters
    ----------
    home, clone : Path
    """

    def __init__(self, home, clone):
        self.place, self.home = clone, home
        self.groups = []
        data = os.environ.get(
            "SCIKIT_LEARN_DATA", str(Path.home() / "scikit_learn_data")
        )
        self.environment = os.environ | {
            "HOME": str(home), "SCIKIT_LEARN_DATA": data,
            "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
            # of a virtual environment's, or .venv's own once it is there
            "PYTHON": sys._base_executable,
        }
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL"):
            self.environment.pop(name, None)

    def run(self, text):
        """Exit status, what was printed, and seconds."""
        log, place, exports = (
            self.home / f".commands-{name}" for name in ("log", "at", "env")
        )
        exports.touch()
        script = (
            f". {exports}; cd {shlex.quote(str(self.place))}\n{text}\n"
            f"status=$?; pwd > {place}; export -p > {exports}; exit $status"
        )
        began = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-c", script], env=self.environment, stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                status = process.wait(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                self.end()
                status = process.wait()
        seconds = time.perf_counter() - began
        if status == 0:
            self.place = Path(place.read_text().strip())
        return status, log.read_text(errors="replace"), seconds

    def end(self):
        """End what commands have left running in the background."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.groups.clear()


def run_one(shell, command):
    """What became of a command, a word on it, and what it printed."""
    if command.file:
        (shell.place / command.file).write_text(command.text)
        return "file", "written", ""
    if command.reason:
        return "not run", command.reason, ""
    status, output, seconds = shell.run(command.text)
    if status:
        return "FAILED", f"status {status}, {seconds:.0f} s", output
    return "ok", f"{seconds:.0f} s", output


def run(names, venv=None, root=ROOT):
    """Run the commands of some pages, printing a line for each.

    Parameters
    ----------
    names : list of str
        Pages; empty: all.
    venv : Path or None
        An environment to borrow packages from; None: `make` installs them.
    root : Path
        The repository whose last commit is cloned.

    Returns
    -------
    list of Command
        Those that failed.
    """
    failed, counts = [], dict.fromkeys(("ok", "FAILED", "not run", "file"), 0)
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        home = Path(folder)
        clone = home / "benchmark_shine"
        subprocess.run(["git", "clone", "--quiet", root, clone], check=True)
        if venv:
            borrow(clone, venv)
        for name in names or pages(clone):
            shell = Shell(home, clone)
            for command in commands_of(clone, [name]):
                state, note, output = run_one(shell, command)
                counts[state] += 1
                print(
                    f"{state:8}{command.page}:{command.line}: "
                    f"{command.title}  [{note}]", flush=True,
                )
                if state == "FAILED":
                    failed.append(command)
                    for line in output.rstrip("\n").split("\n")[-30:]:
                        print("    " + line.rpartition("\r")[2])
            shell.end()
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return failed


def main(words=None):
    """Command line; exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument(
        "--venv", type=Path, metavar="FOLDER",
        help="borrow the packages of this environment, in place of "
             "installing them",
    )
    parser.add_argument(
        "--list", action="store_true", help="run nothing, print what is there"
    )
    options = parser.parse_args(words)
    if shutil.which("git") is None:
        parser.error("git is not installed: a fresh clone needs it")
    if options.list:
        for c in commands_of(ROOT, options.pages or pages(ROOT)):
            state = "file" if c.file else "not run" if c.reason else "run"
            print(f"{state:8}{c.page}:{c.line}: {c.title}")
        return 0
    return 1 if run(options.pages, options.venv) else 0


if __name__ == "__main__":
    sys.exit(main())
