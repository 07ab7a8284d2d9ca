"""Engine ``net`` of relight(): the first guess at the picture's size, and IllumiNet's colours on it."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.priors.geometry import PLANES, Geometry, Guess, told
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.priors.relit.relighting import FILL, lit
from dipir.priors.weights import PRIORS, read_network, write_weights
from dipir.relight.change import full_gain
from dipir.relight.layers import enlarge

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
def relight_with(net: IllumiNet, geometry: Geometry, image: Image, light: Tensor, longest: int, *,
                 fill: float = FILL, strength: float = 1.0) -> Image:
    """(1, 3, H, W) display [0, 1] under ``light`` (1, 4). The networks see the picture at ``longest`` pixels; what they
    change, stops of light and then a shift of the logit of each colour, is brought to full size along its edges. fill,
    strength : see :meth:`Geometry.guess`, :func:`full_gain`"""
    light = light.to(image.device)
    guess = geometry.guess(image, light, fill, longest)
    relit = lit(image, full_gain(guess, image, strength)).clamp(0, 1)
    return shifted(relit, net_shift(net, guess, light) * strength, guess.image, image)


@torch.no_grad()
def net_shift(net: IllumiNet, guess: Guess, light: Tensor) -> Tensor:
    """(1, 3, h, w) what the network adds to the logit of each colour of the first guess, at its size."""
    planes = net_planes(told(guess, guess.image))
    return _logit(net(planes, light)) - _logit(planes[:, :3])


def shifted(relit: Image, shift: Tensor, small: Image, image: Image) -> Image:
    """``relit`` (1, 3, H, W) with ``shift`` brought to full size along the edges of ``image``, which is ``small`` at
    its size."""
    if float(shift.abs().max()) == 0:
        return relit
    changed = torch.sigmoid(_logit(relit) + enlarge(shift, small, image))
    # Where nothing changes the picture stays as it was, beyond the logit's edges too.
    return (changed + (relit - torch.sigmoid(_logit(relit)))).clamp(0, 1)


def _logit(image: Tensor) -> Tensor:
    return torch.logit(image.clamp(_EDGE, 1 - _EDGE))
