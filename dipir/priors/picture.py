"""The small priors that turn one picture into another, told a picture and a few numbers: here relighting (the picture
and the wanted light), in ``colour_prior`` colours for a drawing. Pixel space; weights in ``assets/priors``."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.errors import PriorError
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.relit.relighting import FILL
from dipir.priors.relit.whole_light import WholeLight
from dipir.priors.weights import PRIORS, read_network, write_weights


@dataclass(frozen=True)
class PriorKind:
    """What one of them is told and how its weights are named. ``net`` : the architecture of new weights."""

    name: str
    architecture: str
    net: ConditionalUNetConfig

    @property
    def path(self) -> Path:
        """The weights that ship."""
        return PRIORS / f"{self.name}.safetensors"

    @property
    def command(self) -> str:
        """What makes such weights."""
        return f"dipir prior train {self.name}"


RELIGHT = PriorKind("relight", "dipir.relight_unet.2", ConditionalUNetConfig(
    planes=PLANES, vector=4, channels=(16, 24, 32), blocks=1, embedding=64, sigma_data=0.15))
"""Planes: ``Geometry.planes``, whose first guess is relit already; vector: ``LightDirection.numbers``."""


@final
class PicturePrior(AbstractDenoiser):
    """Denoiser of pictures, any size whose sides are multiples of :attr:`multiple`; ``hash`` names the weights in a
    result. Make one by :meth:`load`."""

    sigma_min, sigma_max = 0.02, 40.0

    def __init__(self, kind: PriorKind, net: ConditionalUNet, hash: str = "untrained") -> None:
        self.kind, self.hash = kind, hash
        self.net = self.adaptable = net.eval().requires_grad_(False)

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** len(self.net.config.channels)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @staticmethod
    def load(kind: PriorKind, path: str | Path | None = None) -> PicturePrior:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or kind.path), kind.architecture, kind.command,
                                 lambda settings: ConditionalUNet(ConditionalUNetConfig(**settings)))
        return PicturePrior(kind, net, meta["hash"])

    @staticmethod
    def untrained(kind: PriorKind) -> PicturePrior:
        """A prior of the default architecture whose estimate of pure noise is the picture (its last layer is zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return PicturePrior(kind, ConditionalUNet(kind.net))

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        config = json.dumps(asdict(self.net.config))
        return write_weights(path, self.net.state_dict(), self.kind.architecture, config, notes)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """PriorError when the condition has no picture and numbers, or when sizes do not fit."""
        planes, vector = condition.planes, condition.vector
        if planes is None or vector is None:
            raise PriorError(f"the {self.kind.name} prior needs Condition.planes and Condition.vector; make them with "
                             "the functions of this module.")
        if planes.shape[-2:] != x.shape[-2:] or any(n % self.multiple for n in x.shape[-2:]):
            raise PriorError(f"the {self.kind.name} prior was given {tuple(x.shape[-2:])} pixels and a condition of "
                             f"{tuple(planes.shape[-2:])}; both must have one size, a multiple of {self.multiple}. "
                             "Resize the picture.")
        return self.net(x, sigma, planes.expand(len(x), -1, -1, -1), vector.expand(len(x), -1))

    def encode(self, image_disp: Tensor) -> Tensor:
        return image_disp * 2 - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)


def relight_condition(image_disp: Image, geometry: Geometry, light: Tensor,
                      fill: float | WholeLight = FILL) -> Condition:
    """What the relighting prior is told: the picture (1, 3, H, W), what ``geometry`` sees in it, the light (1, 4) and
    the fill of :meth:`Geometry.guess`; all on the picture's device."""
    light = light.to(image_disp.device)
    return Condition(planes=geometry.planes(image_disp, light, fill), vector=light)
