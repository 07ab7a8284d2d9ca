"""What a picture shows of surfaces and of the light on them, and how it might look in another light: what relighting
priors are told beside the picture. Two networks with a rendering equation between them (``priors/relit``)."""
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image
from dipir.priors.relit.depth_shadows import in_camera
from dipir.priors.relit.relighting import FILL, GuessNet, Plan, levelled, lit, load_guess, planned
from dipir.priors.relit.surfaces import SIZE, Surfaces, see
from dipir.priors.relit.whole_light import WholeLight

PLANES = 11
"""Channels of :meth:`Geometry.planes`."""
_UNIT = 16


@dataclass(frozen=True)
class Guess:
    """A first guess at pictures in other light, at the networks' size."""

    image: Image  # (K B, 3, h, w) display, the pictures as the networks saw them
    gain: Tensor  # (K B, 1, h, w) stops of linear light, the mean light of each picture stays
    seen: Surfaces  # K B of them
    towards: Tensor  # (K B, 3) the lights in the camera's frame


class Geometry:
    """``hash`` names the weights. Make one by :meth:`load`."""

    def __init__(self, nets: GuessNet, hash: str = "untrained") -> None:
        self.nets = nets.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load() -> Geometry:
        """The weights that ship. PriorError when they cannot be used."""
        return Geometry(*load_guess())

    @staticmethod
    def untrained() -> Geometry:
        """Sees no surface and even light, and changes nothing (the last layers are zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Geometry(GuessNet())

    @torch.no_grad()
    def guess(self, image: Image, light: Tensor, fill: float | Tensor | WholeLight = FILL,
              longest: int = SIZE) -> Guess:
        """How pictures (B, 3, H, W), display [0, 1], might look under ``light`` (K B, 4), ``LightDirection.numbers``, K
        lights for each picture, those of one picture in a row. fill : see :func:`planned`, or a whole light, whose key
        ``light`` is
        longest : side in pixels at which the networks work

        The networks look at the pictures and at their mirror images; what they make of both is averaged, so that light
        from the left is as good as light from the right."""
        small = _scaled(image, longest)
        rows = torch.arange(len(image), device=image.device).repeat_interleave(len(light) // len(image))
        first, second = (see(self.nets.surfaces, x)[rows] for x in (small, small.flip(-1)))
        small, back = small[rows], second.mirrored()
        seen = Surfaces(*((a + b) / 2 for a, b in zip(vars(first).values(), vars(back).values(), strict=True)))
        seen = replace(seen, up=functional.normalize(seen.up, dim=1))
        gain = self._gain(small, first, light, _plan(first, light, fill))
        gain = gain + self._gain(small.flip(-1), second, light * light.new_tensor([-1.0, 1, 1, 1]),
                                 _mirrored(_plan(back, light, fill))).flip(-1)
        gain = gain / 2 * self.nets.contrast
        return Guess(small, levelled(small, gain, seen.solid), seen, in_camera(light, seen.up))

    def _gain(self, image: Image, seen: Surfaces, light: Tensor, plan: Plan) -> Tensor:
        """(B, 1, H, W) stops by ``plan``, corrected; not levelled."""
        height, width = image.shape[2:]
        side = max(height, width)
        side += -side % _UNIT

        def square(x: Tensor) -> Tensor:
            return functional.pad(x, (0, side - width, 0, side - height), mode="replicate") if x.ndim == 4 else x

        wide_seen, wide_plan = (type(x)(*map(square, vars(x).values())) for x in (seen, plan))
        return plan.gain + self.nets.relighting(square(image), wide_seen, wide_plan, light)[..., :height, :width]

    @torch.no_grad()
    def planes(self, image: Image, light: Tensor, fill: float | Tensor | WholeLight = FILL) -> Tensor:
        """What a relighting network is told of pictures (B, 3, H, W), display [0, 1], and lights as in :meth:`guess`
        -> (K B, 11, H, W): the first guess of the picture in that light and the picture, both in [-1, 1]; normals,
        shorter where the network is unsure; shading; the cosine between normals and light."""
        return told(self.guess(image, light, fill), image.repeat_interleave(len(light) // len(image), 0))


def _plan(seen: Surfaces, light: Tensor, fill: float | Tensor | WholeLight) -> Plan:
    if isinstance(fill, WholeLight):
        return planned(seen, light, fill.fill(seen), fill.key)
    return planned(seen, light, fill)


def _mirrored(plan: Plan) -> Plan:
    return Plan(*(value.flip(-1) for value in vars(plan).values()))


def told(guess: Guess, image: Image) -> Tensor:
    """(B, 11, H, W) of :meth:`Geometry.planes` for a guess at pictures (B, 3, H, W)."""
    seen = guess.seen
    cosine = (seen.normal * guess.towards[:, :, None, None]).sum(1, keepdim=True)
    planes = torch.cat([guess.gain, seen.normal, seen.shading, cosine], 1)
    if planes.shape[2:] != image.shape[2:]:
        planes = functional.interpolate(planes, image.shape[2:], mode="bilinear", antialias=True, align_corners=False)
    return torch.cat([lit(image, planes[:, :1]).clamp(0, 1) * 2 - 1, image * 2 - 1, planes[:, 1:]], 1)


def _scaled(image: Image, longest: int) -> Image:
    """The picture with its longer side at ``longest`` pixels."""
    height, width = image.shape[2:]
    scale = longest / max(height, width)
    if scale == 1:
        return image
    size = tuple(max(_UNIT, round(side * scale)) for side in (height, width))
    return functional.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
