"""Labelled pictures as normalised float batches."""
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from .readers import open_picture

# Channel means and standard deviations of ImageNet, for pixels in 0 .. 255.
IMAGENET_MEAN = 123.675, 116.28, 103.53

IMAGENET_STD = 58.395, 57.12, 57.375


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
