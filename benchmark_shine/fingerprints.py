"""Fingerprints: what made a result, as short hashes of contents."""
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
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

# Seconds.  A file changed so shortly ago may change once more under the same
# time stamp: it is hashed again the next time.
SETTLED = 2.0


def content(sources):
    """Hash what data hold, whatever they are called and wherever they lie.

    Parameters
    ----------
    sources : nested tuples or lists of what is hashed
        Arrays, SciPy CSR and CSC matrices, text, bytes, numbers and None, by
        value; a `Path` by the content of its file, or by the names and
        contents of all files in its folder that are not hidden; an object
        with an attribute ``fingerprint`` by that.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256.

    Raises
    ------
    OSError
        Where a path cannot be read.
    TypeError
        For an array of Python objects.
    """
    digest = hashlib.sha256()
    _feed(digest, sources)
    return digest.hexdigest()[:12]


def _feed(digest, source):
    if isinstance(source, (list, tuple)):
        digest.update(b"(%d" % len(source))
        for part in source:
            _feed(digest, part)
    elif isinstance(source, Path):
        _feed(digest, [
            (os.fsencode(path.relative_to(source)), _hash_of(path))
            for path in (visible(source) if source.is_dir() else [source])
        ])
    elif hasattr(source, "fingerprint"):
        digest.update(source.fingerprint.encode())
    elif hasattr(source, "indptr"):
        _feed(digest, (
            source.format, source.shape, source.indptr, source.indices,
            source.data,
        ))
    elif hasattr(source, "__array_interface__"):
        _feed_array(digest, source)
    else:
        said = f"{type(source).__name__} {source!r}".encode()
        digest.update(b"%d %b" % (len(said), said))


def _hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _feed_array(digest, array):
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no content to hash")
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    try:
        digest.update(memoryview(array).cast("B"))
    except (TypeError, ValueError, BufferError):
        digest.update(array.tobytes())  # not contiguous, or text: by a copy


def visible(folder):
    """List the files below a folder in order of their names, none hidden."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not any(
            part.startswith(".") for part in path.relative_to(folder).parts
        )
    )


def stamp(path):
    """Tell a file from what it was before: size, times in ns, inode.

    The time of the last change of the inode is one that no program can set.
    """
    found = os.stat(path)
    return (
        found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    )


def of_files(paths, read, memory, threads=8):
    """Hash the names and contents of files, each of which is read once.

    A folder whose files have not changed since, by their `stamp`, is not read
    again: its hash is kept in a file of ``memory``.

    Parameters
    ----------
    paths : sequence of Path
        In the order that the hash is to depend on, by folder.
    read : callable, Path -> bytes
        The content of a file, checked: what it raises is handed on, and the
        file's folder is not remembered.
    memory : Path
        A folder for what is remembered.  One that cannot be written is
        left alone, and nothing is remembered.
    threads : int
        That read.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256.

    Raises
    ------
    OSError
        Where a file cannot be read or has been changed meanwhile.
    """
    with ThreadPoolExecutor(threads) as pool:
        return content([
            (os.fsencode(folder.name),
             _remembered(folder, list(group), read, memory, pool))
            for folder, group in groupby(paths, lambda path: path.parent)
        ])


def _remembered(folder, paths, read, memory, pool):
    """Hash some files of one folder, or remember their hash."""
    stamps = [(os.fsencode(path.name), stamp(path)) for path in paths]
    key = content((os.fsencode(folder.resolve()), stamps, read.__name__))
    try:
        return (memory / key).read_text()
    except OSError:
        began = time.time()
    hashes = list(pool.map(
        lambda path: hashlib.sha256(read(path)).hexdigest(), paths
    ))
    for path, (_, before) in zip(paths, stamps):
        if stamp(path) != before:
            raise OSError(f"{path}: changed while it was read; run again")
    found = content([
        (name, size, part)
        for (name, (size, *_)), part in zip(stamps, hashes)
    ])
    newest = max(max(times[1:3]) for _, times in stamps)
    if newest < (began - SETTLED) * 1e9:
        _keep(memory, key, found)
    return found


def _keep(memory, key, text):
    """Write a small file in one step; a folder without permission is fine."""
    try:
        memory.mkdir(parents=True, exist_ok=True)
        part = memory / f"{key}.{os.getpid()}"
        part.write_text(text)
        part.replace(memory / key)
    except OSError:
        pass
