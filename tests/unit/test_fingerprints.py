"""What a fingerprint of data sees, and what it remembers."""
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from benchmark_shine import fingerprints
from benchmark_shine.fingerprints import content, of_files

A = np.arange(12.0).reshape(3, 4)
S = scipy.sparse.csr_matrix(A % 3)


@pytest.mark.parametrize("same, other", [
    (A, np.asfortranarray(A)), (A, A[::1]), (A[:, ::2], A[:, ::2].copy()),
    (S, S.copy()), ([1, "a"], (1, "a")), (A[:0], np.zeros((0, 4))),
])
def test_equal_content_is_one_fingerprint(same, other):
    assert content(same) == content(other)
    assert len(content(same)) == 12


CHANGED = A.copy()
CHANGED[2, 3] += 1e-12


@pytest.mark.parametrize("one, other", [
    (A, CHANGED), (A, A.astype(np.float32)), (A, A.reshape(4, 3)), (A, A.T),
    (S, S * 2), (S, S.T), (S, S.tocsc()), ((A, S), (S, A)), (1, "1"),
    (1, 1.0), (None, ()), (("ab", "c"), ("a", "bc")), (((1,), 2), (1, (2,))),
    (np.array(["a"]), np.array(["b"])), ((), ((),)), (b"a", "a"),
])
def test_different_content_is_two(one, other):
    assert content(one) != content(other)


def test_an_array_of_objects_has_no_content():
    with pytest.raises(TypeError, match="Python objects"):
        content(np.array([{}]))


def test_a_path_is_its_content_wherever_it_lies(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in one, two:
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "x.png").write_bytes(b"pixels")
    assert content(one) == content(two)
    assert content(one / "cat" / "x.png") != content(one)
    (one / "cat" / "._x.png").write_bytes(b"hidden")
    (one / ".git").mkdir()
    (one / ".git" / "x").write_bytes(b"hidden")
    assert content(one) == content(two)
    (two / "cat").rename(two / "dog")
    assert content(one) != content(two)
    before = content(one)
    (one / "cat" / "x.png").write_bytes(b"Pixels")
    assert content(one) != before


class Reader:
    """Reads files and lists which."""

    __name__ = "reader"

    def __init__(self):
        self.names = []

    def __call__(self, path):
        self.names.append(path.name)
        return path.read_bytes()


@pytest.fixture
def tree(tmp_path):
    paths = [tmp_path / "data" / name for name in ("a/1", "a/2", "b/3")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def settled(monkeypatch):
    """Take new files for old ones."""
    monkeypatch.setattr(fingerprints, "SETTLED", -3600)


def test_unchanged_files_are_not_read_again(tree, tmp_path, settled):
    first, again = Reader(), Reader()
    found = of_files(tree, first, tmp_path / "memory")
    assert sorted(first.names) == ["1", "2", "3"]
    assert of_files(tree, again, tmp_path / "memory") == found
    assert again.names == []


def rewrite(path):
    """Change the content, but not size, name or time of modification."""
    times = os.stat(path)
    path.write_bytes(b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path


def replace(path):
    path.with_name("new").write_bytes(b"x")
    path.with_name("new").replace(path)
    return path


def rename(path):
    return path.rename(path.with_name("4"))


@pytest.mark.parametrize("change", [rewrite, replace, rename])
def test_a_change_is_seen_and_only_its_folder_read(
    change, tree, tmp_path, settled
):
    found = of_files(tree, Reader(), tmp_path / "memory")
    tree[2], reader = change(tree[2]), Reader()
    assert of_files(tree, reader, tmp_path / "memory") != found
    assert reader.names == [tree[2].name]


def test_files_of_this_moment_are_not_remembered(tree, tmp_path):
    of_files(tree, Reader(), tmp_path / "memory")
    reader = Reader()
    of_files(tree, reader, tmp_path / "memory")
    assert len(reader.names) == 3


def test_a_refused_file_is_not_remembered(tree, tmp_path, settled):
    def refuse(path):
        raise ValueError(f"{path}: damaged")

    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            of_files(tree, refuse, tmp_path / "memory")


def test_a_change_during_the_reading_is_an_error(tree, tmp_path):
    def read(path):
        path.write_bytes(path.read_bytes() + b"more")
        return b""

    with pytest.raises(OSError, match="changed while it was read"):
        of_files(tree, read, tmp_path / "memory")


def test_a_memory_that_cannot_be_written_is_left_alone(tree, settled):
    found = of_files(tree, Path.read_bytes, tree[0] / "memory")
    assert found == of_files(tree, Path.read_bytes, tree[0] / "memory")
