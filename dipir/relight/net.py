"""Engine ``net`` of relight(): one pass through a network trained on rendered objects (IllumiNet)."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.priors.weights import PRIORS, read_network, write_weights
from dipir.relight.layers import enlarge, shrink, working_size

DEFAULT_PATH = PRIORS / "illuminet.safetensors"
ARCHITECTURE = "dipir.illuminet.2"
NET = IllumiNetConfig(planes=PLANES, light=4, channels=(16, 24, 32, 40), embedding=48, stem=2)
_EDGE = 1e-3


def load_net(path: str | Path | None = None) -> tuple[IllumiNet, str]:
    """(network on the run's device, checksum of its weights) from a .safetensors file, by default the one that ships.
    PriorError when it cannot be used."""
    net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, "dipir prior train illuminet",
                             lambda settings: IllumiNet(IllumiNetConfig(**settings)))
    return net.eval().requires_grad_(False), meta["hash"]


def save_net(net: IllumiNet, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
    """Write the weights as float16; returns their checksum."""
    return write_weights(path, net.state_dict(), ARCHITECTURE, json.dumps(asdict(net.config)), notes)


def net_planes(planes: Tensor) -> Tensor:
    """(B, 11, H, W) input of the network from ``Geometry.planes``: the first guess in [0, 1]."""
    return torch.cat([planes[:, :3] / 2 + 0.5, planes[:, 3:]], 1)


@torch.no_grad()
def relight_with(net: IllumiNet, geometry: Geometry, image: Image, light: Tensor, longest: int) -> Image:
    """(1, 3, H, W) display [0, 1] under ``light`` (1, 4). The network sees the picture at ``longest`` pixels, or as it
    is when that is smaller; its change, a shift of the logit, is brought to full size along the picture's edges."""
    size, light = working_size(*image.shape[2:], longest, 32), light.to(image.device)
    small = shrink(image, tuple(min(pair) for pair in zip(size, image.shape[2:], strict=True))).clamp(0, 1)
    shift = _logit(net(net_planes(geometry.planes(small, light)), light)) - _logit(small)
    relit = torch.sigmoid(_logit(image) + enlarge(shift, small, image))
    # Where nothing changes the picture stays as it was, beyond the logit's edges too.
    return (relit + (image - torch.sigmoid(_logit(image)))).clamp(0, 1)


def _logit(image: Tensor) -> Tensor:
    return torch.logit(image.clamp(_EDGE, 1 - _EDGE))
