"""Hand out labelled pictures as normalised float batches."""
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ..fingerprints import content, of_files, stamp
from .readers import checked_bytes, open_picture

# Channel means and standard deviations of ImageNet, for pixels in 0 .. 255.
IMAGENET_MEAN = 123.675, 116.28, 103.53

IMAGENET_STD = 58.395, 57.12, 57.375


def crop(x, padding, generator):
    """Pad pictures (B, C, H, W) with zeros and crop each at random."""
    B, _, H, W = x.shape
    at = torch.randint(2 * padding + 1, (2, B, 1), generator=generator)
    rows, columns = at[0] + torch.arange(H), at[1] + torch.arange(W)
    x = pad(x, (padding,) * 4).permute(0, 2, 3, 1)
    batch = torch.arange(B)[:, None, None]
    x = x[batch, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return x.permute(0, 3, 1, 2)


def flip(x, generator):
    """Mirror a random half of the pictures (B, C, H, W) left to right."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


@dataclass(frozen=True)
class Pictures:
    """Keep labelled pictures in memory.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, C, H, W)
    labels : Tensor of int64, shape (n,)
    mean, std : Tensor, shape (C,)
        Pixels are centred by the mean and divided by the deviation.
    padding : int
        Zeros at each side before a random crop; 0: there are no crops.
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
        """Give the shape of one picture, (C, H, W)."""
        return tuple(self.pixels.shape[1:])

    def batch(self, indices, generator=None):
        """Give pictures by their numbers, augmented if with a generator.

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
    """Make training and test pictures, normalised by training channels.

    Parameters
    ----------
    train, test : (pixels, labels)
        Arrays of uint8, shape (n, C, H, W), and of class numbers (n,).
    size : int or None
        Height and width to which pictures are averaged down; None: as is.
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
    # exact counts: the same on every processor
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
    """Keep labelled pictures on the disk until a batch asks for them.

    Of a training picture a random part is resized and perhaps mirrored: the
    part has 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3.  A test
    picture is resized to size × 8 / 7 at its shorter side, and its centre is
    cut out.  (Published for ImageNet: size 224, 256 before the cut.)

    Parameters
    ----------
    size : int
        Height and width of a picture in a batch, 224 by default.
    threads : int
        Number of threads that decode; the result does not depend on it.
    stamps : tuple of (int, int), or None
        Size and time of each file when it was checked.  A file with others
        is refused.
    fingerprint : str
        Hash of the files' contents.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    n_classes: int
    size: int = 224
    threads: int = 4
    stamps: tuple | None = None
    fingerprint: str = ""

    @classmethod
    def checked(cls, paths, labels, n_classes, size, memory):
        """Read every file once, refuse a damaged one, take the fingerprint.

        The folder ``memory`` remembers which files have been checked.
        """
        contents = of_files(sorted(paths), checked_bytes, memory)
        labels = torch.as_tensor(labels)
        return cls(
            paths, labels, n_classes, size,
            stamps=tuple(stamp(path)[:2] for path in paths),
            fingerprint=content((contents, labels.numpy())),
        )

    def __len__(self):
        return len(self.paths)

    @property
    def shape(self):
        """Give the shape of one picture in a batch, (3, size, size)."""
        return 3, self.size, self.size

    def batch(self, indices, generator=None):
        """Give pictures by their numbers, as `Pictures.batch` does.

        A file that has changed since the check is a ValueError.
        """
        numbers = indices.tolist()
        random = [None] * len(numbers)
        if generator is not None:
            random = torch.rand(len(numbers), 32, generator=generator).tolist()
        with ThreadPoolExecutor(self.threads) as pool:
            pixels = torch.stack(list(pool.map(self._read, numbers, random)))
        x = _normalised(
            pixels, torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        )
        if generator is not None:
            x = flip(x, generator)
        return x, self.labels[indices]

    def _read(self, number, random):
        path = self.paths[number]
        picture = open_picture(path)
        if self.stamps and stamp(path)[:2] != self.stamps[number]:
            raise ValueError(
                f"{path}: this picture has changed since the run began; leave "
                "the folder alone and run again: what had finished is kept"
            )
        side = min(picture.size) * 7 / 8
        box = (centred(*picture.size, side, side) if random is None
               else random_part(*picture.size, random))
        picture = picture.resize(
            (self.size, self.size), Image.Resampling.BILINEAR, box=box
        )
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def centred(width, height, w, h):
    """Compute the box of w × h in the middle of a picture."""
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def random_part(width, height, random):
    """Choose the first box that fits, of four random numbers each.

    Where none fits: the centre, as far as the aspect ratio allows.
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
