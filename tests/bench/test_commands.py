"""The commands of the pages: found, naming what exists, and run."""
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from benchopt.benchmark import Benchmark

from helpers.commands import Command, main, pages, read, run

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
```

<!-- file: my.py -->
```python
x = 1
```

```python
make no command
```

- an item

      # why
      benchopt run .

<!-- not run: hours -->

    .venv/bin/any
"""


def test_what_is_a_command():
    found = read("p.md", PAGE)
    assert found == [
        Command("p.md", 7, "make run     # it runs"),
        Command("p.md", 8, "python -m tool \\\n    --option"),
        Command("p.md", 15, "FOO=1 one"),
        Command("p.md", 16, "two", reason="needs a GPU"),
        Command("p.md", 21, "cat > my.py <<'END'\nx = 1\nEND\n"),
        Command("p.md", 31, "benchopt run ."),
        Command("p.md", 35, ".venv/bin/any", reason="hours"),
    ]
    assert str(found[1]) == "p.md:8: python -m tool --option"


@pytest.mark.parametrize("text, message", [
    ("<!-- not run -->\n\n    make run\n", "a mark is not understood"),
    ("<!-- not run: hours -->\n\nText.\n", "has no block"),
    ("\n<!-- not run, 2: x -->\n\n    make run\n", "4: not so many"),
])
def test_a_page_that_is_not_clear(text, message):
    with pytest.raises(ValueError, match=f"p.md:.*{message}"):
        read("p.md", text)


# What the pages name

def expand(word):
    """List every word that braces stand for."""
    parts = re.split(r"\{([^}]*,[^}]*)\}", word)
    choices = [part.split(",") if n % 2 else [part]
               for n, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def lines_of(name):
    """List the commands of a page as words, those of its prose too."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [c.text.replace("\\\n", " ") for c in read(name, text)
             if "<<" not in c.text]
    prose = re.sub(r"(?ms)^```.*?^```$", "", text)
    found += re.findall(r"`((?:\S*bin/)?(?:make|python|benchopt) [^`…]+)`",
                        prose)
    for line in found:
        words = shlex.split(line, comments=True)
        yield line, [w for word in words for w in expand(word)]


def here(path):
    """Find a path of the pages in this checkout; None: not of the suite."""
    path = ROOT / path.removeprefix("~/benchmark_shine/")
    top = path.relative_to(ROOT).parts[:1] if path.is_relative_to(ROOT) else ()
    ours = top and top[0] not in ("outputs", ".venv") and (ROOT / top[0])
    return path if ours and ours.is_dir() else None


@pytest.fixture(scope="module")
def names():
    suite = Benchmark(ROOT)
    return {
        "-s": {cls.name.lower() for cls in suite.get_solvers()},
        "-d": {cls.name.lower() for cls in suite.get_datasets()},
    }


@pytest.mark.parametrize("name", [*pages(ROOT), "results/README.md"])
def test_pages_name_what_exists(name, names):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(
        r"\S+", " ".join(re.findall(r"(?m)^([a-z -]+):(?!=)", makefile))
    ))
    for line, (program, *rest) in lines_of(name):
        if program == "make":
            asked = [word for before, word in zip(["", *rest], rest)
                     if before != "-C" and re.fullmatch(r"[a-z][\w-]*", word)]
            assert set(asked) <= targets, line
        for option, value in zip(rest, [*rest[1:], ""]):
            base = value.partition("[")[0].lower()
            if option == "-m" and value.startswith(
                    ("benchmark_shine", "benchmarks", "experiments")):
                module = ROOT / value.replace(".", "/")
                assert module.with_suffix(".py").is_file() or (
                    module / "__main__.py").is_file(), line
            elif option in names and "benchopt run" in line:
                assert base in names[option] or base.endswith(".py"), line
        for word in rest:
            file = re.fullmatch(r"[\w~./-]+\.(py|yml|parquet|csv)", word)
            path = here(word) if file else None
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
echo why; false
```

<!-- not run: needs a GPU -->
```sh
exit 4
```
"""


def test_commands_are_run_and_reported(tmp_path, capfd):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("```sh\ntest -d .git\nexit 5\nls\n```")
    (tmp_path / "docs" / "a.md").write_text(SMALL)
    git = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e"]
    for words in ["init", "-q"], ["add", "."], ["commit", "-qm", "x"]:
        subprocess.run([*git, *words], check=True)
    (tmp_path / "README.md").write_text("```sh\nfalse\n```\n")  # not committed
    failed = run([], root=tmp_path)
    assert [command.text for command in failed] == [
        "exit 5", "ls", "echo why; false",
    ]
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok README.md", "FAILED README.md", "FAILED README.md",
        "    the shell ended before", *["ok docs/a.md"] * 6,
        "FAILED docs/a.md", "    why", "not run docs/a.md", "3 failed",
    ]
    assert lines[-2].endswith("exit 4 [needs a GPU]")


def test_the_command_line_lists(capsys):
    assert main(["--list", "docs/reproduce.md"]) == 0
    assert "run docs/reproduce.md:" in capsys.readouterr().out


@pytest.mark.slow
def test_every_command_of_the_pages(capfd):
    assert run([], venv=Path(sys.prefix)) == []
