"""Editing a picture: the window that the prior sees, its inversion, and how the changed region is put back.

Outside of the feathered region the result is the given picture bit for bit, whatever the prior: only pixels with a
weight above 0 are written. Inside the prior's space the outside of the region is, at every composition, the state that
the inverted picture itself has at that noise level.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dipir.arrays import Image, Mask
from dipir.diffusion.sampler import SamplerStep, ddim_inversion
from dipir.fit.loop import Event
from dipir.layout.attention_guidance import grow
from dipir.layout.config import LayoutConfig, LayoutGuidance
from dipir.layout.layers import GivenPath
from dipir.layout.regions import Region, reduce_mask
from dipir.layout.words import TextPrior, Wording, encode_texts
from dipir.layout.work import Canvas, Generation, OnEvent, PictureTask, find_weights, generate, start_noise


@dataclass(frozen=True)
class EditWindow:
    """The part of a picture that the prior sees: rows ``top`` to ``bottom``, columns ``left`` to ``right``, pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: Tensor) -> Tensor:
        """(..., H, W) -> the part, a view."""
        return image[..., self.top:self.bottom, self.left:self.right]


def window_of(cover: Mask, context: float, canvas: Canvas) -> EditWindow:
    """The square around the region ((1, 1, H, W), 1 = changed) that is ``context`` times its size, at least as large as
    the prior's pictures and moved into the picture; 0 = the whole picture. It is no square where the region is longer
    than the picture's shorter side."""
    height, width = cover.shape[2:]
    if context == 0:
        return EditWindow(0, 0, width, height)
    (y0, y1), (x0, x1) = (_span((cover[0, 0] > 0).any(axis)) for axis in (1, 0))
    least = max(y1 - y0, x1 - x0)
    side = min(max(round(context * least), canvas.height, canvas.width), max(least, min(height, width)))
    left, right = _placed((x0 + x1) / 2, side, width)
    top, bottom = _placed((y0 + y1) / 2, side, height)
    return EditWindow(left, top, right, bottom)


def _span(occupied: Tensor) -> tuple[int, int]:
    where = occupied.nonzero()[:, 0]
    return int(where[0]), int(where[-1]) + 1


def _placed(middle: float, side: int, size: int) -> tuple[int, int]:
    side = min(side, size)
    low = min(max(round(middle - side / 2), 0), size - side)
    return low, low + side


def invert(prior: TextPrior, image: Image, canvas: Canvas, source: str, iterations: int,
           on_event: OnEvent | None = None) -> Tensor:
    """(n + 1, 1, C, h, w) states of the picture at every level of the ladder, noisiest first, the picture's own code
    last, by DDIM inversion with the caption ``source`` and no guidance."""
    condition = encode_texts(prior, [source])
    with torch.no_grad():
        states = [prior.encode(image.to(canvas.device))]

    def after(step: SamplerStep) -> None:
        states.append(step.x.clone())
        if on_event is not None:
            on_event(Event("inversion", step.index, step.steps, None, {"sigma": step.sigma}))

    ddim_inversion(prior, states[0], canvas.sigmas, condition, after, iterations=iterations)
    return torch.stack(states[::-1])


def edit(prior: TextPrior, canvas: Canvas, config: LayoutConfig, image: Image, regions: Sequence[Region], *,
         wording: Wording, source: str, seed: int, on_event: OnEvent | None = None) -> tuple[Image, Generation]:
    """The edited picture (1, 3, H, W) on the CPU, and what the prior made.

    image : (1, 3, H, W) display;  source : what it shows as it is
    """
    # ---- the part that the prior sees ----
    config = replace(config, guidance=weaken(config.guidance, config.edit.strength))
    image = image.to(canvas.device)
    covers = torch.cat([region.cover(*image.shape[2:], image.device) for region in regions])
    cover = covers.amax(0, keepdim=True)
    window = window_of(cover, config.edit.context, canvas)
    task = PictureTask(wording, tuple(regions), reduce_mask(window.of(covers), *canvas.shape[1:]), seed)
    # ---- its path to noise, which is kept outside of the regions ----
    background = find_weights(task, config)[:1]
    small = _resized(window.of(image), canvas.height, canvas.width).clamp(0, 1)
    states = invert(prior, small, canvas, source, config.edit.iterations, on_event)
    kept, start = GivenPath(background.to(states), states), states[0]
    if config.edit.noise == "fresh":
        fresh = start_noise(canvas, seed).to(start) * canvas.sigmas[0]
        start = torch.where(kept.weight == 1, start, kept.weight * start + (1 - kept.weight) * fresh)
    # ---- the regions anew ----
    generation = generate(prior, canvas, config, [task], kept=kept, start=start, on_event=on_event)
    with torch.no_grad():
        new = prior.decode(generation.x).float()
    return put_back(image, new, cover, window, config.edit.feather).cpu(), generation


def weaken(guidance: LayoutGuidance, factor: float) -> LayoutGuidance:
    """Its strengths times ``factor``."""
    return replace(guidance, strength=factor * guidance.strength,
                   outside=None if guidance.outside is None else factor * guidance.outside)


def put_back(image: Image, new: Image, cover: Mask, window: EditWindow, feather: int) -> Image:
    """``image`` with the window's new content inside ``cover``, fading out beyond its edge. Pixels of the image further
    than 2 ``feather`` pixels of the new content away from the cover are not touched."""
    old = window.of(image)
    scale = max(old.shape[2] / new.shape[2], old.shape[3] / new.shape[3])
    weight = grow(window.of(cover), round(feather * scale)) if feather else window.of(cover)
    new = _resized(new, *old.shape[2:]).clamp(0, 1)
    result = image.clone()
    window.of(result).copy_(torch.where(weight > 0, old + weight * (new - old), old))
    return result


def _resized(image: Image, height: int, width: int) -> Image:
    if tuple(image.shape[2:]) == (height, width):
        return image
    return interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)
