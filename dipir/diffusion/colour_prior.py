"""The small colour prior that ships in ``assets/priors``: told a grey drawing and a palette, it draws coloured ones.

    palette = parse_palette("a red apple and a blue cup")
    prior, condition = ColourPrior.load(), colour_condition(drawing_disp, palette)
    x0 = prior(x, sigma, condition)                # x : (B, 3, H, W) noisy, [-1, 1] space, any B
    plain = prior(x, sigma, colour_condition(drawing_disp))     # no palette: the negative of classifier-free guidance
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.weights import PRIORS, read_network, write_weights
from dipir.errors import PriorError
from dipir.image.palette import SLOTS, VECTOR, Palette
from dipir.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig

DEFAULT_PATH = PRIORS / "colour.safetensors"
ARCHITECTURE = "dipir.colour_unet.1"
SIZE = 64
"""Height and width that it was trained at."""
COLOUR_NET = ConditionalUNetConfig(planes=3 + 3 * SLOTS, vector=VECTOR, channels=(32, 48, 80), blocks=1, embedding=128,
                                   sigma_data=0.4)


@final
class ColourPrior(AbstractDenoiser):
    """Denoiser of coloured drawings, any size that is a multiple of :attr:`multiple`; ``hash`` names the weights in a
    result. Make one by :meth:`load`."""

    sigma_min, sigma_max = 0.02, 40.0

    def __init__(self, net: ConditionalUNet, hash: str = "untrained") -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** len(self.net.config.channels)

    @staticmethod
    def load(path: str | Path | None = None) -> ColourPrior:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, "dipir prior train colour",
                                 lambda settings: ConditionalUNet(ConditionalUNetConfig(**settings)))
        return ColourPrior(net, meta["hash"])

    @staticmethod
    def untrained() -> ColourPrior:
        """A prior of the default architecture whose estimate of pure noise is the drawing (its last layer is zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return ColourPrior(ConditionalUNet(COLOUR_NET))

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, json.dumps(asdict(self.net.config)), notes)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """PriorError when the condition has no drawing and palette, or when size or batch do not fit."""
        planes, vector = condition.planes, condition.vector
        if planes is None or vector is None:
            raise PriorError("the colour prior needs Condition.planes and Condition.vector; make them with "
                             "colour_condition().")
        if planes.shape[-2:] != x.shape[-2:] or any(n % self.multiple for n in x.shape[-2:]):
            raise PriorError(f"the colour prior was given a picture of {tuple(x.shape[-2:])} and a drawing of "
                             f"{tuple(planes.shape[-2:])} pixels; both must have the same size, a multiple of "
                             f"{self.multiple}. Resize the drawing.")
        drawing, vector = planes.expand(len(x), -1, -1, -1), vector.expand(len(x), -1)
        return self.net(x, sigma, tinted_planes(drawing, vector), vector)

    def encode(self, image_disp: Tensor) -> Tensor:
        return image_disp * 2 - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)


def tinted_planes(drawing: Tensor, vector: Tensor) -> Tensor:
    """What the network reads: the drawing (B, 3, H, W) in [-1, 1], and multiplied by each colour of the palette
    (B, 12), zeros for those that are not there: (B, 12, H, W). So the network need not learn what a colour looks like,
    only where each belongs and how light falls on it."""
    told = vector.unflatten(1, (SLOTS, 4))[..., None, None]
    tinted = (drawing[:, None] + 1) * (told[:, :, :3] + 1) / 2 - 1
    return torch.cat([drawing, (tinted * told[:, :, 3:]).flatten(1, 2)], 1)


def colour_condition(drawing_disp: Tensor, palette: Palette | None = None) -> Condition:
    """What :class:`ColourPrior` is told. drawing_disp : (1, 3, H, W) or (1, 1, H, W) display [0, 1], of which the mean
    of the channels counts;  palette : colours by decreasing area, None = any colours."""
    grey = drawing_disp.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    vector = torch.zeros(1, VECTOR) if palette is None else palette.vector
    return Condition(planes=grey * 2 - 1, vector=vector.to(grey))
