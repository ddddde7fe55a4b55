"""Execute a script with cells and write it, with its output, as Markdown.

    python examples/page.py examples/own_training_loop.py docs/attach.md

Cells begin with ``# %%``; those of ``# %% [markdown]`` are comments.
"""
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path


def cells(text):
    """The cells of a script: pairs of whether it is Markdown, and its text."""
    _, *parts = ("\n" + text).split("\n# %%")
    for part in parts:
        head, _, body = part.partition("\n")
        yield head.strip() == "[markdown]", body.strip("\n")


def page(script):
    """A script's cells and what they print, in Markdown.

    Parameters
    ----------
    script : Path

    Returns
    -------
    str
    """
    text = script.read_text(encoding="utf-8")
    names, parts = {"__name__": "__main__"}, []
    for is_markdown, body in cells(text):
        if is_markdown:
            lines = (line.removeprefix("#")[1:] for line in body.splitlines())
            parts.append("\n".join(lines))
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(body, str(script), "exec"), names)
        parts.append(f"```python\n{body}\n```")
        if printed.getvalue():
            parts.append(f"It prints\n\n```text\n{printed.getvalue()}```")
    return "\n\n".join(parts) + "\n"


def main(words=None):
    """Command line."""
    script, output = map(Path, sys.argv[1:] if words is None else words)
    made = f"Made by `python examples/page.py {script} {output}`."
    output.write_text(f"{page(script)}\n{made}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
