"""LPIPS with weights that the user brings; the package `lpips` is not a dependency, and nothing is downloaded."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from dipir.arrays import Image
from dipir.errors import ConfigError

BACKBONE, HEADS = "alexnet-owt-7be5be79.pth", "alex.pth"


def perceptual(folder: Path) -> Callable[[Image, Image], float]:
    """LPIPS 0.1 on AlexNet (Zhang et al. 2018) between two display images, (1, 3, H, W) in [0, 1].

    folder : holds torchvision's AlexNet weights as :data:`BACKBONE`, and :data:`HEADS` of the lpips package unless that
        is installed with its own
    ConfigError when the package or a file is missing or does not fit.
    """
    try:
        import lpips
    except ImportError as problem:
        raise ConfigError(f"--lpips: the package lpips cannot be imported ({problem}); `pip install lpips`, or leave "
                          "the option out.") from problem
    backbone, heads = folder / BACKBONE, folder / HEADS
    if not backbone.is_file():
        raise ConfigError(f"--lpips {folder}: {BACKBONE} is not there; accepted is a folder that holds torchvision's "
                          f"AlexNet weights under that name (and {HEADS}, if the lpips package came without it).")
    own = {"model_path": str(heads)} if heads.is_file() else {}
    try:
        net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False, **own).eval()
        state = torch.load(backbone, map_location="cpu", weights_only=True)
        with torch.no_grad():
            # "slice3.6.weight" there is torchvision's "features.6.weight".
            for name, parameter in net.net.named_parameters():
                parameter.copy_(state[f"features.{name.partition('.')[2]}"])
    except (OSError, KeyError, RuntimeError, ValueError) as problem:
        raise ConfigError(f"--lpips {folder}: the weights cannot be used ({problem}); give the unchanged files of "
                          "torchvision and lpips.") from problem

    @torch.no_grad()
    def distance(a: Image, b: Image) -> float:
        return float(net(a.float() * 2 - 1, b.float() * 2 - 1))

    return distance
