"""The page on training loops prints what it says it prints."""
import io
import re
from contextlib import redirect_stdout

BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.M | re.S)


def test_the_page_prints_what_it_says(root_dir):
    page = (root_dir / "docs" / "attach.md").read_text(encoding="utf-8")
    names, printed, n_texts = {"__name__": "page"}, io.StringIO(), 0
    for kind, text in BLOCK.findall(page):
        if kind == "text":
            assert printed.getvalue() == text
            printed, n_texts = io.StringIO(), n_texts + 1
            continue
        with redirect_stdout(printed):
            exec(compile(text, "attach.md", "exec"), names)
    assert n_texts == 2 and not printed.getvalue()
