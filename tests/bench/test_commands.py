"""The commands of the pages: found, naming what exists, and run."""
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from benchopt.benchmark import Benchmark

from helpers import commands
from helpers.commands import Command, pages, read, run

ROOT = Path(__file__).resolve().parents[2]

PAGE = """\
# Title

    not = a + command

Some text, then

    make run     # it runs
    python -m tool \\
        --option

<!-- not run, 2: needs a
GPU -->
```sh
# a comment
FOO=1 one
two
cat > x <<EOF
line \\$HOME
EOF
```

<!-- file: my.py -->
```python
x = 1
```

```console
$ three
printed
```

```python
make no command
```

- an item

      benchopt run .

<!-- not run: hours -->

    .venv/bin/any
"""


def test_what_is_a_command():
    found = list(read("p.md", PAGE))
    assert found == [
        Command("p.md", 7, "make run     # it runs"),
        Command("p.md", 8, "python -m tool \\\n    --option"),
        Command("p.md", 15, "FOO=1 one"),
        Command("p.md", 16, "two", reason="needs a GPU"),
        Command("p.md", 17, "cat > x <<EOF\nline \\$HOME\nEOF"),
        Command("p.md", 24, "x = 1\n", file="my.py"),
        Command("p.md", 28, "three"),
        Command("p.md", 38, "benchopt run ."),
        Command("p.md", 42, ".venv/bin/any", reason="hours"),
    ]
    assert found[1].title == "python -m tool --option"


@pytest.mark.parametrize("text, message", [
    ("<!-- not run -->\n\n    make run\n", "cannot read"),
    ("<!-- not run, 2: x -->\n\n    make run\n", "not so many"),
    ("    make run\n    or else\n", "commands and something else"),
    ("    or else\n    make run\n", "commands and something else"),
])
def test_a_page_that_is_not_clear(text, message):
    with pytest.raises(ValueError, match=f"p.md:.*{message}"):
        list(read("p.md", text))


# What the pages name

def expand(word):
    """Every word that braces stand for."""
    parts = re.split(r"\{([^}]*,[^}]*)\}", word)
    choices = [part.split(",") if n % 2 else [part]
               for n, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def words_of(name):
    """Every command of a page, of its prose too, as words."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [c.text for c in read(name, text) if not c.file]
    prose = re.sub(r"(?ms)^```.*?^```$", "", text)
    found += [
        code for code in re.findall(r"`([^`\n]+)`", prose)
        if re.match(r"(\S*bin/)?(make|python|benchopt) [-\w.]", code)
    ]
    for code in found:
        for line in code.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # of a here document
                continue
            yield line, [w for word in words for w in expand(word)]


def here(path):
    """A path of the pages in this checkout; None: not of the suite."""
    path = path.removeprefix("~/benchmark_shine/")
    folder = path.split("/")[0]
    return ROOT / path if (ROOT / folder).is_dir() else None


@pytest.fixture(scope="module")
def names():
    suite = Benchmark(ROOT)
    return {
        "-s": {cls.name.lower() for cls in suite.get_solvers()},
        "-d": {cls.name.lower() for cls in suite.get_datasets()},
    }


@pytest.mark.parametrize("name", pages(ROOT))
def test_pages_name_what_exists(name, names):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([\w-]+):(?!=)", makefile))
    for line, words in words_of(name):
        program, *rest = words or [""]
        pairs = list(zip(rest, [*rest[1:], ""]))
        if program == "make":
            asked = [word for before, word in zip(["", *rest], rest)
                     if before != "-C" and re.fullmatch(r"[\w-]+", word)
                     and not word.startswith("-")]
            assert set(asked) <= targets, line
        for option, value in pairs:
            if option == "--config":
                assert here(value).is_file(), line
            elif option == "-m" and value.startswith("benchmark_shine"):
                assert (ROOT / f"{value.replace('.', '/')}.py").is_file(), line
            elif option in names and "benchopt run" in line:
                base = value.partition("[")[0].lower()
                assert base in names[option] or base.endswith(".py"), line
        for word in rest:
            path = here(word) if re.fullmatch(r"[\w~./-]+\.py", word) else None
            assert path is None or path.is_file(), line


# Running

SMALL = """\
```sh
mkdir there && cd there
export WORD=hello
tail -f /dev/null &
test "$PWD $WORD" = "$HOME/benchmark_shine/there hello"
```

<!-- file: made.txt -->
```
hello
```

```sh
grep hello made.txt
echo why; exit 3
```

<!-- not run: needs a GPU -->
```sh
exit 4
```
"""


def test_commands_are_run_and_reported(tmp_path, capfd):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("```sh\ntest -d .git\n```\n")
    (tmp_path / "docs" / "a.md").write_text(SMALL)
    git = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e"]
    for words in ["init", "-q"], ["add", "."], ["commit", "-qm", "x"]:
        subprocess.run([*git, *words], check=True)
    (tmp_path / "README.md").write_text("```sh\nfalse\n```\n")  # not committed
    failed = run([], root=tmp_path)
    assert [command.text for command in failed] == ["echo why; exit 3"]
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok      README.md", *["ok      docs/a.md"] * 4, "file    docs/a.md",
        "ok      docs/a.md", "FAILED  docs/a.md", "    why",
        "not run docs/a.md", "6 ok, 1 FAILED, 1 not run, 1 file",
    ]
    assert lines[-2].endswith("exit 4  [needs a GPU]")


def test_the_command_line_lists(capsys):
    assert commands.main(["--list", "README.md"]) == 0
    assert "run     README.md:" in capsys.readouterr().out


@pytest.mark.slow
def test_every_command_of_the_pages(capfd):
    assert run([], venv=Path(sys.prefix)) == []
