"""Read pictures: files, folders, IDX, the archive of CIFAR-10.

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
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pooch
from PIL import Image, ImageOps

from ..checks import check_integer, check_path

# Where downloads are kept.
CACHE = Path(pooch.os_cache("benchmark_shine"))

# What pictures may be.  Pillow knows more formats, by the content of a file
# and not its name, and runs Ghostscript for one of them.
FORMATS = "JPEG", "PNG"

SUFFIXES = {".jpg", ".jpeg", ".png"}

# What Pillow raises for damaged files, sooner or later.
UNREADABLE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError,
    ArithmeticError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def _because(error):
    return " ".join(str(error).split())


def open_picture(path):
    """Open a picture file as RGB, upright.

    16-bit grey is scaled to 0 .. 255 by its full range (a file does not say
    that only 12 of 16 bits are in use), transparent pictures lie on white,
    and a camera's orientation (EXIF) is applied.

    Raises
    ------
    ValueError
        Where the file is missing, damaged or no JPEG or PNG.
    """
    with _opened(path, _content(path)) as picture:
        return _rgb(ImageOps.exif_transpose(picture))


def checked_bytes(path):
    """Read a picture file and make sure that all of it can be decoded.

    A JPEG is decoded at an eighth of its size, which reads every bit of it
    in a fraction of the time.
    """
    content = _content(path)
    with _opened(path, content) as picture:
        picture.draft("RGB", tuple(max(n // 8, 1) for n in picture.size))
        ImageOps.exif_transpose(picture)
    return content


def _content(path):
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise ValueError("there is no such file")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


@contextmanager
def _opened(path, content):
    """Hand out a lazily opened picture; any fault becomes one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=FORMATS) as picture:
                yield picture
    except UNREADABLE as error:
        raise _unreadable(path, error) from None


def _unreadable(path, error):
    return ValueError(
        f"{path}: not a readable picture ({_because(error)}); replace it or "
        "take it out of the folder"
    )


def _rgb(picture):
    if picture.mode.startswith("I"):  # 16 bits of grey in a PNG
        grey = np.asarray(picture).astype(np.float64) / 257
        picture = Image.fromarray(grey.round().astype(np.uint8))
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def list_folder(root):
    """List the pictures of ``root/<class>/*.jpg|jpeg|png``, in sorted order.

    Names that begin with a dot are hidden and passed over, of folders and
    files alike: systems and file servers write such beside real ones.

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
    folders = [path for path in _shown(root) if path.is_dir()]
    if not folders:
        raise ValueError(f"{root}: no folders, expected one for each class")
    paths, labels = [], []
    for label, folder in enumerate(folders):
        found = [
            path for path in _shown(folder) if path.suffix.lower() in SUFFIXES
        ]
        if not found:
            raise ValueError(f"{folder}: no pictures (jpg, jpeg or png)")
        paths += found
        labels += [label] * len(found)
    return tuple(paths), np.array(labels), tuple(p.name for p in folders)


def _shown(folder):
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def some(items, labels, n):
    """Choose n pictures at random, the same ones for every seed of a run.

    Items are an array or a tuple.  All are chosen where n is None, or more
    than there are.
    """
    if n is None:
        return items, labels
    check_integer("n_train, n_test", n, least=1)
    chosen = np.random.default_rng(0).permutation(len(labels))[:n]
    if isinstance(items, tuple):
        return tuple(items[i] for i in chosen), labels[chosen]
    return items[chosen], labels[chosen]


def two_folders(root, train="train", test="test"):
    """List both parts of a picture folder, which have the same classes.

    Returns
    -------
    train, test : (paths, labels)
    n_classes : int
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


def read_pictures(paths, size=None):
    """Read small colour pictures into memory: uint8, (n, 3, H, W).

    The largest square in the middle of each is resized to ``size``; None:
    pictures have one size, which is kept.
    """
    pixels = None
    for i, path in enumerate(paths):
        picture = open_picture(path)
        if size is not None:
            picture = ImageOps.fit(
                picture, (size, size), Image.Resampling.BILINEAR
            )
        picture = np.asarray(picture).transpose(2, 0, 1)
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
    """Read an array of bytes in IDX format, that of MNIST; gzip or plain.

    The file has two zero bytes, a type (8: unsigned byte), the number of
    dimensions, each dimension as a big-endian 32-bit number, then the data.
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
    """Read a pair of IDX files.

    Returns
    -------
    pixels : ndarray of uint8, shape (n, 1, H, W)
    labels : ndarray of uint8, shape (n,)
    """
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise ValueError(
            f"{labels}: shape {y.shape} does not go with pictures of shape "
            f"{x.shape}"
        )
    return x[:, None].copy(), y.copy()


def read_cifar10(path):
    """Read CIFAR-10 from its official archive, the binary version.

    Each member is a sequence of one label and 3 × 32 × 32 bytes.  Members
    are read by name, in memory.

    Returns
    -------
    train, test : (pixels, labels)
        uint8 of shape (n, 3, 32, 32), and int64 of shape (n,).
    """
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    try:
        with tarfile.open(path) as archive:
            parts = [_cifar_rows(archive, name, path) for name in names]
    except (OSError, EOFError, KeyError, OverflowError, struct.error,
            zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise ValueError(
            f"{path}: not the CIFAR-10 archive ({_because(error)})"
        ) from None
    return tuple(
        (rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64))
        for rows in (np.concatenate(parts[:5]), parts[5])
    )


def _cifar_rows(archive, name, path):
    record = 1 + 3 * 32 * 32
    member = archive.getmember(f"cifar-10-batches-bin/{name}.bin")
    # a link may be one to itself
    content = archive.extractfile(member).read() if member.isreg() else b""
    if not content or len(content) % record:
        raise ValueError(
            f"{path}: {name} has {len(content)} bytes, not a multiple of "
            f"{record}"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    if rows[:, 0].max() > 9:
        raise ValueError(f"{path}: {name} has a label {rows[:, 0].max()} > 9")
    return rows
