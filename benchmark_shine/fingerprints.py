"""Fingerprints: what made a result, as short hashes of contents."""
import hashlib
from pathlib import Path


def fingerprint():
    """Short hash of every source file of this package.

    Part of each result row and of benchopt's cache key, which by itself does
    not see the code that solvers import: two rows are comparable when their
    fingerprints agree.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256 over paths and contents.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# What this process runs, whatever becomes of the files.
LOADED = fingerprint()
