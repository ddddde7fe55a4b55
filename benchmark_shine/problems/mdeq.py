"""The multiscale deep equilibrium network of the paper.

Bai, Koltun and Kolter, *Multiscale deep equilibrium models*, NeurIPS 2020,
section 3, in the variants that Ramzi et al. trained for their figures 3 and
E.2 (ICLR 2022).  The hidden state has n branches, z = (z_1 .. z_n), branch i
of shape (B, C_i, H / 2ⁱ⁻¹, W / 2ⁱ⁻¹), flattened and joined to (B, d).
"""
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from .classifier import EquilibriumClassifier
from .functional import norms, rescaled
from .recipe import Recipe


@dataclass(frozen=True)
class Configuration:
    """One multiscale network and how it is trained, in numbers.

    Parameters
    ----------
    channels : tuple of int
        C_i of each branch, finest resolution first.
    head_channels : tuple of int
        Width of each branch's bottleneck in the head; it leaves with four
        times as many.
    final_width : int
        Channels before the average pooling.
    recipe : Recipe
    strided : int
        Stem convolutions with stride 2, at most two: z_1 has the pictures'
        resolution over 2 ** strided.
    dropout : float
        Of channels inside f, one draw per solve (variational).
    expansion : int
        Inner over outer channels of a residual block.
    groups, fused_groups : int
        Of the normalisations in f, and of the one after fusion.
    padding : int
        Of random crops in training, 0 for none.
    flips : bool
        Random mirroring in training.
    """

    channels: tuple[int, ...]
    head_channels: tuple[int, ...]
    final_width: int
    recipe: Recipe
    strided: int = 0
    dropout: float = 0.0
    expansion: int = 5
    groups: int = 8
    fused_groups: int = 4
    padding: int = 0
    flips: bool = False

    def __post_init__(self):
        if len(self.channels) != len(self.head_channels):
            raise ValueError(
                f"head_channels: needs one entry for each of "
                f"{len(self.channels)} branches, got {self.head_channels}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout: must be in [0, 1), got {self.dropout}"
            )


# CIFAR-10, 158,986 trainable parameters; f has 111,456 of them, and 336 gains
# of its weight normalisation.
TINY = Configuration(
    channels=(24, 24), head_channels=(8, 16), final_width=200, dropout=0.25,
    recipe=Recipe(
        batch_size=64, epochs=50, forward_steps=22, backward_steps=24,
        unrolled_steps=3_000, unrolled_layers=10,
    ),
)

# CIFAR-10, figure 3: 11,098,398 trainable parameters; f, here and below, has
# 8,712,832, and 3,360 gains.  The published batch of 128 is four of 32 on as
# many devices, each normalised by itself.
LARGE = Configuration(
    channels=(32, 64, 128, 256), head_channels=(14, 28, 56, 112),
    final_width=1680, dropout=0.3, padding=4, flips=True,
    recipe=Recipe(
        batch_size=128, epochs=220, forward_steps=18, backward_steps=20,
        unrolled_steps=20_000, unrolled_layers=10,
    ),
)

# ImageNet, figure 3: 16,808,936 trainable parameters.
SMALL = Configuration(
    channels=(32, 64, 128, 256), head_channels=(24, 48, 96, 192),
    final_width=2048, strided=2,
    recipe=Recipe(
        batch_size=128, epochs=100, rate=0.05, optimizer=partial(
            torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-5,
        ),
        forward_steps=26, backward_steps=27, unrolled_steps=500_000,
        unrolled_layers=5,
    ),
)

CONFIGURATIONS = {"tiny": TINY, "large": LARGE, "small": SMALL}


def _conv(n_in, n_out, size=3, stride=1, bias=False):
    return nn.Conv2d(
        n_in, n_out, size, stride, padding=size // 2, bias=bias
    )


def _batch_norm(channels, affine=True):
    # momentum 1: a pass leaves its own batch's statistics in the buffers
    return nn.BatchNorm2d(channels, momentum=1.0, affine=affine)


class _Stem(nn.Sequential):
    """Pictures (B, C, H, W) to the injection (B, C_1, H_1, W_1)."""

    def __init__(self, n_in, config):
        width = config.channels[0]
        first, second = (2 if config.strided > i else 1 for i in range(2))
        layers = [
            _conv(n_in, width, stride=first), _batch_norm(width), nn.ReLU(),
            _conv(width, width, stride=second), _batch_norm(width), nn.ReLU(),
        ]
        if len(config.channels) > 2 or config.strided:
            layers += [_conv(width, width, 1), _batch_norm(width), nn.ReLU()]
        super().__init__(*layers)


class _Block(nn.Module):
    """norm(relu(norm(drop(conv(relu(norm(conv(z))))) + injection) + z)))."""

    def __init__(self, width, config):
        super().__init__()
        inner, groups = config.expansion * width, config.groups
        self.conv1 = _conv(width, inner)
        self.norm1 = nn.GroupNorm(groups, inner)
        self.conv2 = _conv(inner, width)
        self.norm2 = nn.GroupNorm(groups, width)
        self.norm3 = nn.GroupNorm(groups, width)

    def forward(self, z, injection, mask):
        b = self.conv2(torch.relu(self.norm1(self.conv1(z))))
        if mask is not None:
            b = b * mask[:, :, None, None]
        if injection is not None:
            b = b + injection
        return self.norm3(torch.relu(self.norm2(b) + z))


def _transition(i, j, config):
    """From branch j to the channels and resolution of branch i."""
    channels, groups = config.channels, config.groups
    if i == j:
        return nn.Identity()
    if j > i:
        return nn.Sequential(
            _conv(channels[j], channels[i], 1),
            nn.GroupNorm(groups, channels[i]),
            nn.Upsample(scale_factor=2 ** (j - i)),
        )
    layers = []
    for _ in range(i - j - 1):
        layers += [
            _conv(channels[j], channels[j], stride=2),
            nn.GroupNorm(groups, channels[j]), nn.ReLU(),
        ]
    return nn.Sequential(
        *layers, _conv(channels[j], channels[i], stride=2),
        nn.GroupNorm(groups, channels[i]),
    )


class _Fused(nn.Module):
    """norm(conv(relu(y))), what the sum over branches goes through."""

    def __init__(self, width, config):
        super().__init__()
        self.conv = _conv(width, width, 1)
        self.norm = nn.GroupNorm(config.fused_groups, width)

    def forward(self, y):
        return self.norm(self.conv(torch.relu(y)))


class _Cell(nn.Module):
    """f: a block on each branch, then every branch to every other.

    Parameters
    ----------
    shapes : list of (C_i, H_i, W_i)
    config : Configuration
    """

    def __init__(self, shapes, config):
        super().__init__()
        self._split = _Split(shapes)
        self._channels = config.channels
        branches = range(len(shapes))
        self.blocks = nn.ModuleList(
            _Block(width, config) for width in config.channels
        )
        self.fuse = nn.ModuleList(
            nn.ModuleList(_transition(i, j, config) for j in branches)
            for i in branches
        )
        # one branch has nothing to fuse: f is its block
        self.fused = nn.ModuleList(
            _Fused(width, config) if len(shapes) > 1 else nn.Identity()
            for width in config.channels
        )

    def forward(self, z, injection, mask):
        branches = self._split(z)
        # only the finest branch sees the picture
        injections = [injection] + [None] * (len(branches) - 1)
        masks = (
            [None] * len(branches) if mask is None
            else mask.split(self._channels, dim=1)
        )
        out = [
            block(*inputs)
            for block, *inputs in zip(
                self.blocks, branches, injections, masks
            )
        ]
        fused = [
            after(sum(way(o) for way, o in zip(ways, out)))
            for after, ways in zip(self.fused, self.fuse)
        ]
        return torch.cat([y.flatten(1) for y in fused], dim=1)


class _Split:
    """z of shape (B, d) as a list of (B, C_i, H_i, W_i)."""

    def __init__(self, shapes):
        self._shapes = shapes
        self._sizes = [math.prod(shape) for shape in shapes]

    def __call__(self, z):
        return [
            part.unflatten(1, shape)
            for part, shape in zip(z.split(self._sizes, dim=1), self._shapes)
        ]


class _Bottleneck(nn.Module):
    """A residual bottleneck from n_in to 4 × width channels."""

    def __init__(self, n_in, width):
        super().__init__()
        self.body = nn.Sequential(
            _conv(n_in, width, 1), _batch_norm(width, False), nn.ReLU(),
            _conv(width, width), _batch_norm(width, False), nn.ReLU(),
            _conv(width, 4 * width, 1), _batch_norm(4 * width, False),
        )
        self.skip = nn.Sequential(
            _conv(n_in, 4 * width, 1), _batch_norm(4 * width)
        )

    def forward(self, z):
        return torch.relu(self.body(z) + self.skip(z))


class _Head(nn.Module):
    """z to class scores, from the finest branch down to the coarsest."""

    def __init__(self, shapes, n_classes, config):
        super().__init__()
        self._split = _Split(shapes)
        widths = [4 * width for width in config.head_channels]
        self.grow = nn.ModuleList(
            _Bottleneck(*pair)
            for pair in zip(config.channels, config.head_channels)
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                _conv(n_in, n_out, stride=2, bias=True), _batch_norm(n_out),
                nn.ReLU(),
            )
            for n_in, n_out in zip(widths, widths[1:])
        )
        self.final = nn.Sequential(
            _conv(widths[-1], config.final_width, 1, bias=True),
            _batch_norm(config.final_width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(config.final_width, n_classes),
        )

    def forward(self, z):
        y, *others = (
            grow(branch) for grow, branch in zip(self.grow, self._split(z))
        )
        for other, down in zip(others, self.down):
            y = other + down(y)
        return self.final(y)


class _Network(nn.Module):
    def __init__(self, n_in, shapes, n_classes, config):
        super().__init__()
        self.stem = _Stem(n_in, config)
        self.cell = _Cell(shapes, config)
        self.head = _Head(shapes, n_classes, config)


def branch_shapes(shape, config):
    """(C_i, H_i, W_i) of each branch, for pictures of a shape (C, H, W).

    Raises
    ------
    ValueError
        Where a side cannot be halved often enough.
    """
    _, H, W = shape
    deepest = 2 ** (config.strided + len(config.channels) - 1)
    if H % deepest or W % deepest:
        raise ValueError(
            f"pictures of {H} × {W}: sides must be multiples of {deepest} "
            f"for {len(config.channels)} branches"
        )
    return [
        (width, H // 2 ** (config.strided + i), W // 2 ** (config.strided + i))
        for i, width in enumerate(config.channels)
    ]


# Convolutions of f that are weight-normalised: those of blocks and `_Fused`.
_NORMALISED = "conv1.weight", "conv2.weight", "conv.weight"


class MDEQ(EquilibriumClassifier):
    """A multiscale deep equilibrium network on pictures.

    Weight normalisation (gain v / ‖v‖ for each output channel of the block
    and fusion convolutions; Salimans and Kingma 2016) is worked out once per
    equation.  Its gains are in theta, named "….gain".

    Nothing bounds df/dz: after short training its spectral radius is about
    1.5, and the forward solve does not reach its tolerance.

    Parameters
    ----------
    train, test, seed, dtype, device
        See `EquilibriumClassifier`.
    config : Configuration
        Its recipe holds unless another is given.
    recipe : Recipe or None

    Raises
    ------
    ValueError
        Where the pictures' size does not suit the branches, or the batches
        are too small to be normalised.
    """

    def __init__(self, train, test, config=TINY, recipe=None, **settings):
        self.config = config
        self.shapes = branch_shapes(train.shape, config)
        d = sum(math.prod(shape) for shape in self.shapes)
        super().__init__(d, train, test, recipe or config.recipe, **settings)

    def _follow(self, recipe):
        super()._follow(recipe)
        _, H, W = self.shapes[-1]
        if recipe.batch_size * H * W < 2:
            raise ValueError(
                "batch_size: 1 is too few to normalise the coarsest branch, "
                "which has one pixel"
            )

    def network(self):
        return _Network(
            self.train.shape[0], self.shapes, self.train.n_classes,
            self.config,
        )

    def initial(self, network, generator):
        """Published: normal of deviation 0.01 for plain convolutions.

        Weight-normalised ones keep torch's default, uniform with variance
        1 / (3 fan-in), because the authors' initialisation does not reach
        them; so do the linear layer and biases.
        """
        theta, gains = {}, {}
        for name, module in network.named_modules():
            plain = isinstance(module, nn.Conv2d)
            for kind, p in module.named_parameters(recurse=False):
                full = f"{name}.{kind}"
                normalised = self._normalised(full)
                if not isinstance(module, (nn.Conv2d, nn.Linear)):
                    value = torch.full(p.shape, float(kind == "weight"))
                elif plain and kind == "weight" and not normalised:
                    value = torch.empty(p.shape)
                    value.normal_(0, 0.01, generator=generator)
                else:
                    bound = math.prod(module.weight.shape[1:]) ** -0.5
                    value = torch.empty(p.shape)
                    value.uniform_(-bound, bound, generator=generator)
                theta[full] = value
                if normalised:
                    gains[f"{full}.gain"] = norms(value)
        return theta | gains

    def _normalised(self, name):
        return name.startswith(("cell.blocks.", "cell.fused.")) and (
            name.endswith(_NORMALISED)
        )

    def effective(self, weights):
        return {
            name: rescaled(v, weights.get(f"{name}.gain"))
            for name, v in weights.items() if not name.endswith(".gain")
        }

    def mask(self, like, generator):
        p = self.config.dropout
        if not p:
            return None
        shape = len(like), sum(self.config.channels)
        kept = torch.rand(shape, generator=generator) >= p
        return kept.to(like) / (1 - p)
