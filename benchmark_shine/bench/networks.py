"""Make a problem of pictures and the name of a network."""
from dataclasses import replace
from inspect import signature

import torch
from benchopt.parallel_backends import is_distributed_frontal

from ..checks import check_choice, check_seed
from ..data.pictures import pictures
from ..problems import MDEQ, Recipe, SmallDEQ
from ..problems.mdeq import CONFIGURATIONS
from .dataset import ProblemDataset

# Of the dense network, see `SmallDEQ`.  Fifty steps reach the tolerance.
DENSE = Recipe(
    batch_size=64, epochs=10, rate=1e-2, forward_steps=50, backward_steps=50
)


def check_network(network):
    """Return the configuration of a network's name; None: the dense one."""
    return check_choice("network", network, {"dense": None} | CONFIGURATIONS)


def check_device(device):
    """Insist on a device that torch can compute on."""
    try:
        torch.zeros(1, device=str(device)).tolist()
    except (AssertionError, ImportError, RuntimeError) as error:
        raise ValueError(
            f"device: torch sees no {device!r} here "
            f"({str(error).splitlines()[0]})"
        ) from None


def available(device):
    """Return a device that torch can compute on, as `check_device` insists.

    It is the CPU on a machine that only sends runs to a cluster's nodes.
    """
    if is_distributed_frontal() and str(device).startswith("cuda"):
        return "cpu"
    check_device(device)
    return device


def augmentation(network):
    """Give ``padding`` and ``flips`` of the network's recipe, a dict."""
    config = check_network(network)
    if config is None:
        return {}
    return {"padding": config.padding, "flips": config.flips}


def build(network, train, test, seed=0, device="cpu", width=64,
          contraction=0.95, batch_size=None, epochs=None,
          unrolled_steps=None, jacobian_weight=None):
    """Make an equilibrium classifier by the name of its network.

    Parameters
    ----------
    network : {"dense", "tiny", "large", "small"}
    train, test : Pictures or PictureFiles
    seed : int
    device : str
        On a machine that only sends runs to a cluster it need not be there.
    width, contraction : int, float
        Of the dense network, see `SmallDEQ`.
    batch_size, epochs, unrolled_steps, jacobian_weight : number or None
        Of the training; None: what the network's recipe says.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such device.
    """
    config = check_network(network)
    check_seed(seed)
    device = available(device)
    asked = {
        "batch_size": batch_size, "epochs": epochs,
        "unrolled_steps": unrolled_steps, "jacobian_weight": jacobian_weight,
    }
    changes = {
        name: value for name, value in asked.items() if value is not None
    }
    if config is None:
        return SmallDEQ(
            train, test, replace(DENSE, **changes), width, contraction,
            seed=seed, device=device,
        )
    return MDEQ(
        train, test, config, replace(config.recipe, **changes), seed=seed,
        device=device,
    )


class PictureDataset(ProblemDataset):
    """Make an equilibrium network's problem of labelled pictures.

    A subclass implements ``sources``, which returns a training and a test
    part as `benchmark_shine.data.pictures.pictures` takes them.  Those of
    its parameters that the function `build` has are handed on.
    """

    def build(self, train, test):
        size = self._parameters.get("size")
        return self.with_network(*pictures(
            train, test, size, **augmentation(self.network)
        ))

    def with_network(self, train, test):
        """Make the problem of two parts, `Pictures` or `PictureFiles`."""
        known = signature(build).parameters
        settings = {
            name: value for name, value in self._parameters.items()
            if name in known
        }
        return build(train=train, test=test, **settings)
