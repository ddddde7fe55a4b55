"""Labelled pictures: file formats in, normalised float batches out.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from .checks import check_integer, check_path

# Channel means and standard deviations of ImageNet, for pixels in 0 .. 255.
IMAGENET_MEAN = 123.675, 116.28, 103.53
IMAGENET_STD = 58.395, 57.12, 57.375

# Where downloads are kept.
CACHE = Path(pooch.os_cache("benchmark_shine"))

# What pictures may be.  Pillow knows more formats, by the content of a file
# and not its name, and runs Ghostscript for one of them.
FORMATS = "JPEG", "PNG"
SUFFIXES = {".jpg", ".jpeg", ".png"}


# ---------------------------------------------------------------- batches

def crop(x, padding, generator):
    """Random crops of the pictures padded with zeros, one place for each.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
    padding : int
        Pixels added at each side.
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (B, C, H, W)
    """
    B, _, H, W = x.shape
    at = torch.randint(2 * padding + 1, (2, B, 1), generator=generator)
    rows, columns = at[0] + torch.arange(H), at[1] + torch.arange(W)
    x = pad(x, (padding,) * 4).permute(0, 2, 3, 1)
    batch = torch.arange(B)[:, None, None]
    x = x[batch, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return x.permute(0, 3, 1, 2)


def flip(x, generator):
    """Mirror each picture of (B, C, H, W) left to right, or not."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, C, H, W)
    labels : Tensor of int64, shape (n,)
        Class numbers from 0.
    n_classes : int
    mean, std : Tensor, shape (C,)
        What pixels are centred and divided by.
    padding : int
        Of the random crops; 0: no crops.
    flips : bool
        Whether pictures are mirrored at random.
    """

    pixels: Tensor
    labels: Tensor
    n_classes: int
    mean: Tensor
    std: Tensor
    padding: int = 0
    flips: bool = False

    def __len__(self):
        return len(self.labels)

    @property
    def shape(self):
        """Of one picture, (C, H, W)."""
        return tuple(self.pixels.shape[1:])

    def batch(self, indices, generator=None):
        """Pictures by their numbers, augmented where there is a generator.

        Returns
        -------
        x : Tensor of float32, shape (B, C, H, W)
        y : Tensor of int64, shape (B,)
        """
        x = _normalised(self.pixels[indices], self.mean, self.std)
        if generator is not None and self.padding:
            x = crop(x, self.padding, generator)
        if generator is not None and self.flips:
            x = flip(x, generator)
        return x, self.labels[indices]


def _normalised(pixels, mean, std):
    return (pixels - mean[:, None, None]) / std[:, None, None]


def pictures(train, test, size=None, padding=0, flips=False):
    """Training and test pictures, normalised by the training channels.

    Parameters
    ----------
    train, test : (pixels, labels)
        Arrays of uint8, shape (n, C, H, W), and of class numbers (n,).
    size : int or None
        Height and width to average the pictures down to.
    padding, flips
        Augmentation of the training part, see `Pictures`.

    Returns
    -------
    train, test : Pictures

    Raises
    ------
    ValueError
        Where pictures and labels do not go together, or the size does not
        divide the pictures'.
    """
    parts = {"training": train, "test": test}
    shapes = set()
    for name, (pixels, labels) in parts.items():
        if len(pixels) != len(labels) or not len(labels):
            raise ValueError(
                f"labels: {len(labels)} for {len(pixels)} {name} pictures"
            )
        shapes.add(pixels.shape[1:])
    if len(shapes) > 1:
        raise ValueError(f"pictures of different shapes: {shapes}")
    n_classes = int(max(np.max(labels) for _, labels in parts.values())) + 1
    (x, y), (x_test, y_test) = (
        (_smaller(torch.as_tensor(pixels), size),
         torch.as_tensor(labels).long())
        for pixels, labels in parts.values()
    )
    std, mean = _channels(x)
    return (
        Pictures(x, y, n_classes, mean, std, padding, flips),
        Pictures(x_test, y_test, n_classes, mean, std),
    )


def _channels(x):
    """Standard deviation and mean by channel, in exact integer sums."""
    counts = torch.stack([
        torch.bincount(x[:, c].reshape(-1).int(), minlength=256)
        for c in range(x.shape[1])
    ]).double()
    values = torch.arange(256, dtype=torch.float64)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = share @ values
    variance = (share @ values.square() - mean.square()).clamp(min=0)
    # a channel of one colour stays as it is
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return std.float(), mean.float()


def _smaller(pixels, size):
    if size is None or size == pixels.shape[-1]:
        return pixels
    H, W = pixels.shape[2:]
    if not (isinstance(size, int) and 1 <= size <= H and H == W
            and H % size == 0):
        raise ValueError(
            f"size: must divide the pictures' {H} × {W}, got {size!r}"
        )
    return torch.cat([
        avg_pool2d(part.float(), H // size).round().to(torch.uint8)
        for part in pixels.split(4096)
    ])


@dataclass(frozen=True)
class PictureFiles:
    """Labelled pictures that stay on the disk until a batch asks for them.

    Training pictures: a random part of 8-100 % of the area and 3/4-4/3 of
    the aspect ratio, resized, mirrored or not.  Test pictures: the shorter
    side resized to size × 8 / 7, the centre of it.  (ImageNet, as published:
    size 224, 256 before the cut.)

    Parameters
    ----------
    paths : tuple of Path
    labels : Tensor of int64, shape (n,)
    n_classes : int
    size : int
        Height and width of a picture in a batch.
    threads : int
        That decode pictures; the result does not depend on it.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    n_classes: int
    size: int = 224
    threads: int = 4

    def __len__(self):
        return len(self.paths)

    @property
    def shape(self):
        """Of one picture in a batch, (3, size, size)."""
        return 3, self.size, self.size

    def batch(self, indices, generator=None):
        """As `Pictures.batch`."""
        paths = [self.paths[i] for i in indices.tolist()]
        random = [None] * len(paths)
        if generator is not None:
            random = torch.rand(len(paths), 32, generator=generator).tolist()
        with ThreadPoolExecutor(self.threads) as pool:
            pixels = torch.stack(list(pool.map(self._read, paths, random)))
        x = _normalised(
            pixels, torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        )
        if generator is not None:
            x = flip(x, generator)
        return x, self.labels[indices]

    def _read(self, path, random):
        picture = open_picture(path)
        width, height = picture.size
        if random is None:
            side = min(width, height) * 7 / 8
            box = centred(width, height, side, side)
        else:
            box = random_part(width, height, random)
        picture = picture.resize(
            (self.size, self.size), Image.Resampling.BILINEAR, box=box
        )
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def centred(width, height, w, h):
    """The box of w × h in the middle of a picture."""
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def random_part(width, height, random):
    """A random box for training on ImageNet-like pictures.

    Parameters
    ----------
    width, height : int
    random : list of float in [0, 1), four for each of up to eight tries

    Returns
    -------
    (left, upper, right, lower)
        The centre, as far as the aspect ratio allows, where no try fits.
    """
    for i in range(0, len(random), 4):
        area, ratio, across, down = random[i:i + 4]
        area = width * height * (0.08 + 0.92 * area)
        ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = across * (width - w), down * (height - h)
            return left, top, left + w, top + h
    return centred(
        width, height, min(width, height * 4 / 3), min(height, width * 4 / 3)
    )


# ---------------------------------------------------------------- readers

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
