"""Run every shell command of README.md and docs/ in a fresh clone.

    python tests/helpers/commands.py [PAGE ...] [--venv FOLDER] [--list]

The clone is of the last commit, in an empty home folder, as
~/benchmark_shine.  A page's commands run one after the other, in one shell
that starts in the clone.  A block of code is shell where its fence says sh
or bash, or where it is indented and begins with a program of `PROGRAMS`.
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
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = r"(?:\S*/bin/\S+|(?:make|python3?|pip|benchopt|git|cd|mkdir)\s)"
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>not run|file)(?P<places>[\d ,]*): (?P<words>[^>]+?)"
    r" -->\n\n?)?"
    r"(?:^ *```(?P<language>\w*)\n(?P<fenced>(?s:.*?))^ *```$"
    rf"|(?<=\n\n)(?P<indented>(?: {{4,}}#.*\n)* {{4,}}{PROGRAMS}.*\n"
    r"(?: {4,}.*\n|\n)*))",
    re.MULTILINE,
)
LINES = re.compile(r"(?:^.*\\\n)*^.*\n?", re.MULTILINE)
LIMIT = 3600  # seconds of a page; what takes longer should be marked


@dataclass(frozen=True)
class Command:
    """One thing that a page asks for in a line, and why it is not run."""

    page: str
    line: int
    text: str
    reason: str = ""

    def __str__(self):
        title = re.sub(r"\s*\\\n\s*", " ", self.text).partition("\n")[0]
        return f"{self.page}:{self.line}: {title}"


def commands_of_block(page, line, block):
    """List the commands of one match of `BLOCK`."""
    body = dedent(block["fenced"] or block["indented"] or "")
    words = " ".join((block["words"] or "").split())
    if block["mark"] == "file":
        text = f"cat > {words} <<'END'\n{body}END\n"
        return [Command(page, line, text)]
    if block["indented"] is None and block["language"] not in ("sh", "bash"):
        return []
    chosen = {int(n) for n in re.findall(r"\d+", block["places"] or "")}
    found = [
        (line + body[:match.start()].count("\n"), match[0].rstrip("\n"))
        for match in LINES.finditer(body)
        if match[0].strip() and not match[0].startswith("#")
    ]
    if chosen - set(range(1, len(found) + 1)):
        raise ValueError(f"{page}:{line}: not so many commands as {chosen}")
    return [
        Command(page, at, text, words if not chosen or n in chosen else "")
        for n, (at, text) in enumerate(found, start=1)
    ]


def read(page, text):
    """List the commands of a page, in order."""
    found, n_marks = [], 0
    for block in BLOCK.finditer(text):
        part = "indented" if block["fenced"] is None else "fenced"
        line = text[:block.start(part)].count("\n") + 1
        found += commands_of_block(page, line, block)
        n_marks += block["mark"] is not None
    if n_marks != len(re.findall(r"(?m)^ *<!-- (?:not run|file)", text)):
        raise ValueError(f"{page}: a mark is not understood, or has no block")
    return found


def pages(root):
    """List README.md and every page of docs/."""
    return ["README.md", *sorted(
        path.relative_to(root).as_posix() for path in root.glob("docs/*.md")
    )]


def commands_of(root, names):
    """List the commands of some pages, in order."""
    return [
        command for name in names
        for command in read(name, (root / name).read_text(encoding="utf-8"))
    ]


def borrow(clone, venv):
    """Make a .venv in the clone that finds its packages in another one.

    `make` then installs the package itself, and finds the rest installed.
    """
    subprocess.run([sys.executable, "-m", "venv", clone / ".venv"], check=True)
    theirs, = venv.glob("lib/python3*/site-packages")
    ours, = (clone / ".venv").glob("lib/python3*/site-packages")
    (ours / "borrowed.pth").write_text(f"{theirs}\n")
    script = clone / ".venv" / "bin" / "benchopt"
    script.write_text('#!/bin/sh\nexec "${0%/*}/python" -m benchopt "$@"\n')
    script.chmod(0o755)


def environment(home, clone):
    """Make the environment variables of a user who has just cloned."""
    data = Path.home() / "scikit_learn_data"
    settings = {"SCIKIT_LEARN_DATA": str(data)} | os.environ | {
        "HOME": str(home),
        "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
        # of a virtual environment's, or .venv's own once it is there
        "PYTHON": sys._base_executable,
    }
    for name in "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL":
        settings.pop(name, None)
    return settings


def script_of(commands, log):
    """Write the bash script that runs commands and reports on each."""
    return "\n".join(
        f"began=$SECONDS; eval {shlex.quote(command.text)} > {log}.{n} 2>&1 "
        f"< /dev/null\necho $? $((SECONDS - began))"
        for n, command in enumerate(commands)
    )


def run_page(home, clone, commands):
    """Run the commands of one page in one shell; list those that fail."""
    log = home / "log"
    shell = subprocess.Popen(
        ["timeout", str(LIMIT), "bash", "-c", script_of(commands, log)],
        env=environment(home, clone), cwd=clone, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )
    failed = []
    for n, command in enumerate(commands):
        # nothing where the shell has ended
        status, _, seconds = shell.stdout.readline().partition(" ")
        note = f"{seconds.strip() or '?'} s"
        print("FAILED" if status != "0" else "ok", command, f"[{note}]",
              flush=True)
        if status != "0":
            failed.append(command)
            output = Path(f"{log}.{n}")
            said = (output.read_text("utf-8", "replace") if output.exists()
                    else "the shell ended before")
            for line in said.replace("\r", "\n").splitlines()[-30:]:
                print("    " + line)
    with suppress(ProcessLookupError):  # what was left in the background
        os.killpg(shell.pid, signal.SIGKILL)
    shell.stdout.close()
    shell.wait()
    return failed


def run(names, venv=None, root=ROOT):
    """Run the commands of some pages, or of all; list those that failed.

    ``venv`` is an environment to borrow packages from; None: `make` installs
    them.
    """
    failed = []
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        home = Path(folder)
        clone = home / "benchmark_shine"
        subprocess.run(["git", "clone", "--quiet", root, clone], check=True)
        if venv:
            borrow(clone, venv)
        for name in names or pages(clone):
            commands = commands_of(clone, [name])
            failed += run_page(
                home, clone, [c for c in commands if not c.reason]
            )
            for command in commands:
                if command.reason:
                    print("not run", command, f"[{command.reason}]")
    print(f"{len(failed)} failed")
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
    if options.list:
        for command in commands_of(ROOT, options.pages or pages(ROOT)):
            print("not run" if command.reason else "run", command)
        return 0
    return 1 if run(options.pages, options.venv) else 0


if __name__ == "__main__":
    sys.exit(main())
