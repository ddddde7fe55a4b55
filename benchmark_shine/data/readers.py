"""File formats of pictures.

Readers raise a ValueError of one line that names the file.  Nothing is
unpickled, and nothing of an archive is written to the disk.
"""
import gzip
import lzma
import math
import struct
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pooch
from PIL import Image

from ..checks import check_integer, check_path

# Where downloads are kept.
CACHE = Path(pooch.os_cache("benchmark_shine"))

# What pictures may be.  Pillow knows more formats, by the content of a file
# and not its name, and runs Ghostscript for one of them.
FORMATS = "JPEG", "PNG"

SUFFIXES = {".jpg", ".jpeg", ".png"}

# What Pillow raises for damaged files, sooner or later.
UNREADABLE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError,
    IndexError, OverflowError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)


def _because(error):
    """An exception's message on one line."""
    return " ".join(str(error).split())


def open_picture(path):
    """A picture file as RGB.

    Raises
    ------
    ValueError
        Where it is missing, damaged or no picture.
    """
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise ValueError("there is no such file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                return picture.convert("RGB")
    except UNREADABLE as error:
        raise ValueError(
            f"{path}: not a readable picture ({_because(error)})"
        ) from None


def list_folder(root):
    """Picture files of ``root/<class>/*.jpg|jpeg|png``, in sorted order.

    Returns
    -------
    paths : tuple of Path
    labels : ndarray of int, shape (n,)
    classes : tuple of str

    Raises
    ------
    ValueError
        Where there is no such folder, no class or an empty class.
    """
    root = check_path("path", root)
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such folder")
    folders = sorted(
        p for p in root.iterdir() if p.is_dir() and p.name[0] != "."
    )
    if not folders:
        raise ValueError(f"{root}: no folders, expected one for each class")
    paths, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(
            p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES
        )
        if not found:
            raise ValueError(f"{folder}: no pictures (jpg, jpeg or png)")
        paths += found
        labels += [label] * len(found)
    return tuple(paths), np.array(labels), tuple(p.name for p in folders)


def some(items, labels, n):
    """A fixed random choice of n pictures, whatever the seed of the run.

    Parameters
    ----------
    items : ndarray or tuple, one entry per picture
    labels : ndarray, shape (n_all,)
    n : int or None
        None, or more than there are: all of them.

    Returns
    -------
    items, labels

    Raises
    ------
    ValueError
        Where n is no positive integer.
    """
    if n is None:
        return items, labels
    check_integer("n_train, n_test", n, least=1)
    chosen = np.random.default_rng(0).permutation(len(labels))[:n]
    if isinstance(items, tuple):
        return tuple(items[i] for i in chosen), labels[chosen]
    return items[chosen], labels[chosen]


def two_folders(root, train="train", test="test"):
    """`list_folder` of both parts, with the same classes.

    Returns
    -------
    (paths, labels) of each part
    n_classes : int

    Raises
    ------
    ValueError
        As `list_folder`, or where the parts have different classes.
    """
    root = check_path("path", root)
    *first, classes = list_folder(root / train)
    *second, others = list_folder(root / test)
    if classes != others:
        odd = sorted(set(classes) ^ set(others))
        raise ValueError(
            f"{root}: {train}/ and {test}/ differ in their classes "
            f"({', '.join(odd[:5])})"
        )
    return first, second, len(classes)


def read_pictures(paths):
    """Small colour pictures of one size, all into memory.

    Returns
    -------
    ndarray of uint8, shape (n, 3, H, W)

    Raises
    ------
    ValueError
        Where one cannot be read or has another size than the first.
    """
    pixels = None
    for i, path in enumerate(paths):
        picture = np.asarray(open_picture(path)).transpose(2, 0, 1)
        if pixels is None:
            pixels = np.empty((len(paths), *picture.shape), np.uint8)
        if picture.shape != pixels.shape[1:]:
            raise ValueError(
                f"{path}: {picture.shape[2]} × {picture.shape[1]} pixels, "
                f"others have {pixels.shape[3]} × {pixels.shape[2]}"
            )
        pixels[i] = picture
    return pixels


def read_idx(path):
    """An array of bytes in IDX format, the format of MNIST; gzip or plain.

    Two zero bytes, a type (8: unsigned byte), the number of dimensions, each
    of them as a big-endian 32-bit number, then the data.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    ValueError
        Where the file is missing, of another format, truncated or too long.
    """
    try:
        content = Path(path).read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{path}: cannot be read ({_because(error)})"
        ) from None
    head = 4 + 4 * content[3] if len(content) > 3 else 4
    if content[:3] != b"\0\0\x08" or len(content) < head:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    shape = tuple(np.frombuffer(content[4:head], ">u4").tolist())
    expected = head + math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{path}: {len(content)} bytes, expected {expected}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def read_idx_pictures(images, labels):
    """A pair of IDX files.

    Returns
    -------
    pixels : ndarray of uint8, shape (n, 1, H, W)
    labels : ndarray of uint8, shape (n,)

    Raises
    ------
    ValueError
        As `read_idx`, or where the two do not go together.
    """
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise ValueError(
            f"{labels}: shape {y.shape} does not go with pictures of shape "
            f"{x.shape}"
        )
    return x[:, None].copy(), y.copy()


def read_cifar10(path):
    """CIFAR-10 from its official archive, the binary version.

    Each member is a sequence of one label and 3 × 32 × 32 bytes.  Members
    are read by name, in memory.

    Returns
    -------
    train, test : (pixels, labels)
        uint8 of shape (n, 3, 32, 32), and (n,).

    Raises
    ------
    ValueError
        Where the archive or a member of it is missing or damaged.
    """
    folder, record = "cifar-10-batches-bin", 1 + 3 * 32 * 32
    names = [f"{folder}/data_batch_{i}.bin" for i in range(1, 6)]
    names.append(f"{folder}/test_batch.bin")
    parts = []
    try:
        with tarfile.open(path) as archive:
            for name in names:
                member = archive.getmember(name)
                # a link may be one to itself
                content = b"" if not member.isreg() else (
                    archive.extractfile(member).read()
                )
                if not content or len(content) % record:
                    raise ValueError(
                        f"{path}: {name} has {len(content)} bytes, not a "
                        f"multiple of {record}"
                    )
                rows = np.frombuffer(content, np.uint8).reshape(-1, record)
                if rows[:, 0].max() > 9:
                    raise ValueError(
                        f"{path}: {name} has a label {rows[:, 0].max()}, "
                        "there are ten classes"
                    )
                parts.append(rows)
    except (OSError, EOFError, KeyError, OverflowError, struct.error,
            zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise ValueError(
            f"{path}: not the CIFAR-10 archive ({_because(error)})"
        ) from None
    return tuple(
        (rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64))
        for rows in (
            np.concatenate(part) for part in (parts[:5], parts[5:])
        )
    )
