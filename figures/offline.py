"""Make pages of benchopt self-contained: they are blank without a network.

    python figures/offline.py PAGE.html [PAGE.html ...]

Puts the scripts and the style sheet that benchopt 1.10's page of results
loads from the web into the page, and takes its web font out.  They come from
the npm registry at the first use, in the versions that benchopt asks for and
checked by their SHA-256, and from pooch's cache ever after.  Pages that are
self-contained already stay as they are.
"""
import argparse
import re
import tarfile
from pathlib import Path

import pooch

from common import ResultError, one_line_errors

REGISTRY = "https://registry.npmjs.org"
# Address in the page -> archive in the registry, its SHA-256, file in it.
GRIDJS = (
    "gridjs/-/gridjs-6.2.0.tgz",
    "866be122453ff88b246b1d4411bf22a6c5b3f37356cbc94ad30210fa727fbeef",
)
SOURCES = {
    "https://cdn.plot.ly/plotly-2.12.1.min.js": (
        "plotly.js-dist-min/-/plotly.js-dist-min-2.12.1.tgz",
        "9e533b7127a8e820a2cc755abe6500616bb1915e84090c6775e78a624f3374e9",
        "package/plotly.min.js",
    ),
    "https://cdn.jsdelivr.net/npm/gridjs@6.2.0/dist/gridjs.umd.js":
        (*GRIDJS, "package/dist/gridjs.umd.js"),
    "https://cdn.jsdelivr.net/npm/gridjs@6.2.0/dist/theme/mermaid.min.css":
        (*GRIDJS, "package/dist/theme/mermaid.min.css"),
    "https://cdnjs.cloudflare.com/ajax/libs/animejs/2.0.2/anime.min.js": (
        "animejs/-/animejs-2.0.2.tgz",
        "e1e9d9410cc87242363ddd62c270c39370d808f0ab1c9a9b14d75707c41180ea",
        "package/anime.min.js",
    ),
}
FONTS = re.compile(r"https://fonts\.(googleapis|gstatic)\.com")
# Whole elements that load something: group 1 is the address.
SCRIPT = re.compile(r'<script\b[^>]*\bsrc="(https?:[^"]*)"[^>]*>\s*</script>')
LINK = re.compile(r'<link\b[^>]*\bhref="(https?:[^"]*)"[^>]*>')


def fetch(archive, digest, member):
    """Text of a file in an archive of the registry.

    Raises
    ------
    ResultError
        Where it cannot be had, or is not what it was.
    """
    try:
        path = pooch.retrieve(
            f"{REGISTRY}/{archive}", f"sha256:{digest}", progressbar=False,
        )
    except (OSError, ValueError) as error:  # of the network, of the digest
        raise ResultError(
            f"{REGISTRY}/{archive}: cannot be had ({error}); connect once to "
            "the npm registry"
        )
    with tarfile.open(path) as files:
        return files.extractfile(member).read().decode("utf-8")


def inline(page, read=fetch):
    """A page of benchopt with all that it loads in it.

    Parameters
    ----------
    page : str
    read : callable, (archive, digest, member) -> str

    Raises
    ------
    ResultError
        Where it loads what is not known here: another version of benchopt.
    """
    def text_of(found, closing):
        if found[1] not in SOURCES:
            raise ResultError(
                f"loads {found[1]}, which is not known here: made by another "
                "benchopt than 1.10"
            )
        text = read(*SOURCES[found[1]])
        if closing in text.lower():
            raise ResultError(f"{found[1]} has {closing} in it")
        return text

    def script(found):
        return f"<script>{text_of(found, '</script')}</script>"

    def link(found):
        if FONTS.match(found[1]):
            return ""
        return f"<style>{text_of(found, '</style')}</style>"

    return SCRIPT.sub(script, LINK.sub(link, page))


def main(words=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    for path in parser.parse_args(words).pages:
        with one_line_errors():
            try:
                page = inline(path.read_text(encoding="utf-8"))
            except (ResultError, UnicodeDecodeError) as error:
                raise ResultError(f"{path}: {error}")
            path.write_text(page, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
