"""layout(): a picture from a caption and boxes or masks, or a region of a given picture made anew; guided image
synthesis by layers (LRDiff, Qi et al., arXiv 2311.18435)."""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, Mask
from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import ConfigError, ImageError
from dipir.event import warnings_in
from dipir.image.formats.spaces import PlateKind
from dipir.layout.config import LayoutConfig
from dipir.layout.edit import edit
from dipir.layout.regions import Region
from dipir.layout.words import TextPrior, Wording, wording_of
from dipir.layout.work import Canvas, Generation, OnEvent, PictureTask, canvas_of, generate
from dipir.priors.layout import LayoutPrior
from dipir.settings.presets import versions
from dipir.settings.yaml import to_dict

_PACKAGES = ("dipir", "torch", "diffusers", "numpy")
_SMALLER = ("Lower --set width and height, ask for fewer regions or pictures at once, close what else uses the GPU, or "
            "compute on the CPU: --device cpu.")


@dataclass(frozen=True, eq=False)
class LayoutRequest:
    """What shall be pictured. ImageError for a picture with NaN or smaller than 16 pixels, ConfigError for an edit
    without a region."""

    caption: str = ""  # of the whole; "" = made from those of the regions
    regions: tuple[Region, ...] = ()  # what stands where; none = plain sampling
    background: str | None = None  # caption of the background's layer; None = made from the caption
    image: Image | None = None  # (1, 3, H, W) display [0, 1], the picture to edit
    source: str = ""  # what that picture shows; "" = unknown
    name: str = "layout"  # for the result
    seed: int | None = None  # of the noise; None = that of the settings
    notes: tuple[str, ...] = ()  # remarks about the picture's file (`dipir.event.Remark`)
    kind: PlateKind = PlateKind()  # depth and colour space of that file, in which the result is written

    def __post_init__(self) -> None:
        if not self.regions and not self.caption.strip() and self.image is None:
            raise ConfigError("nothing was asked for: give --caption, or regions with --box or --mask.")
        if self.image is None:
            return
        if not self.regions:
            raise ConfigError("there is a picture to edit, but no region; accepted is at least one --box or --mask. "
                              "Say what shall be where.")
        height, width = self.image.shape[2:]
        if min(height, width) < 16 or not bool(torch.isfinite(self.image).all()):
            raise ImageError(f"{self.name}: the picture has {width}x{height} pixels or NaN among them; accepted are "
                             "finite pictures of at least 16 pixels a side.")


@dataclass(frozen=True, eq=False)
class Layout:
    """What a run made; all of it on the CPU."""

    request: LayoutRequest
    caption: str  # of the whole, as it was used
    image: Image  # (1, 3, H, W) display [0, 1]
    layers: tuple[tuple[str, Image], ...]  # (name, (1, 3, h, w) display), each layer's own estimate at t0
    attention: tuple[tuple[str, Mask], ...]  # (words, (1, 1, h, w)), what they attended to at the first step
    config: dict  # resolved, plain values
    provenance: dict = field(default_factory=dict)  # seed, versions, hashes, times


def find_prior(config: LayoutConfig) -> TextPrior:
    """The prior that the settings name. PriorError when its weights cannot be used."""
    if config.grammar:
        return LayoutPrior.load(None if config.prior == "embedded" else config.prior)
    return load_pretrained(config.prior, device.current().torch, config=config.prior_config)


def check(request: LayoutRequest, config: LayoutConfig) -> Wording:
    """All that can be known to be wrong without the prior; what will be said. ConfigError."""
    return wording_of(request.caption, request.regions, request.background, config, config.grammar)


def layout(request: LayoutRequest, config: LayoutConfig | None = None, *, prior: TextPrior | None = None,
           on_event: OnEvent | None = None) -> Layout:
    """Make the picture. prior : None = what ``config`` names; the picture is made on its device
    Raises the DipirError of whatever cannot be used, before long work starts."""
    return layouts([request], config, prior=prior, on_event=on_event)[0]


@device.guarded(_SMALLER)
def layouts(requests: Sequence[LayoutRequest], config: LayoutConfig | None = None, *, prior: TextPrior | None = None,
            on_event: OnEvent | None = None) -> list[Layout]:
    """As `layout`, several at once: new pictures share the calls of the prior (the layers of all of them are one
    batch), edited ones are made one after the other. DeviceMemoryError when they are too much for a GPU."""
    config = config or LayoutConfig()
    began = time.monotonic()
    grammar = config.grammar if prior is None else prior.language == "captions"
    words = [wording_of(r.caption, r.regions, r.background, config, grammar) for r in requests]
    prior = prior or find_prior(config)
    canvas = canvas_of(prior, config)
    for request in requests:
        _check_masks(request, canvas)
    seeds = [config.seed if r.seed is None else r.seed for r in requests]
    # ---- new pictures, all at once ----
    new = [k for k, r in enumerate(requests) if r.image is None]
    results: dict[int, tuple[Image, Generation, int]] = {}
    if new:
        tasks = [PictureTask(words[k], requests[k].regions, _cells(requests[k], canvas), seeds[k]) for k in new]
        generation = generate(prior, canvas, config, tasks, on_event=on_event)
        pictures = _decode(prior, generation.x)
        results |= {k: (pictures[p:p + 1], generation, p) for p, k in enumerate(new)}
    # ---- edits, one after the other ----
    for k, r in enumerate(requests):
        if r.image is not None:
            results[k] = (*edit(prior, canvas, config, r.image, r.regions, wording=words[k], source=r.source,
                                seed=seeds[k], on_event=on_event), 0)
    facts = {"prior": prior.fingerprint, "versions": versions(_PACKAGES),
             "device": device.current().record(), "made_together": len(requests),
             "seconds": round(time.monotonic() - began, 2)}
    return [_result(prior, r, words[k], config, results[k], {"seed": seeds[k], **facts})
            for k, r in enumerate(requests)]


def _cells(request: LayoutRequest, canvas: Canvas) -> Tensor:
    covers = [region.cover(*canvas.shape[1:], canvas.device) for region in request.regions]
    return torch.cat(covers) if covers else torch.zeros(0, 1, *canvas.shape[1:], device=canvas.device)


def _check_masks(request: LayoutRequest, canvas: Canvas) -> None:
    """ImageError for a mask that is not of the edited picture's size, or not of the new picture's shape."""
    for region in request.regions:
        if region.mask is None:
            continue
        height, width = region.mask.shape[2:]
        where = f"region '{region.caption[:60]}': the mask has {width}x{height} pixels"
        if request.image is not None:
            h, w = request.image.shape[2:]
            if (h, w) != (height, width):
                raise ImageError(f"{where}, the picture {w}x{h}; accepted is a mask of the same size. Scale it to "
                                 "that size.")
        elif abs(width * canvas.height - height * canvas.width) > max(canvas.height, canvas.width):
            raise ImageError(f"{where}, the picture will have {canvas.width}x{canvas.height}; accepted is a mask of "
                             "that shape, larger or smaller. Scale or crop it.")


@torch.no_grad()
def _decode(prior: TextPrior, x: Tensor) -> Image:
    """On the CPU; one by one, as large autoencoders need much memory."""
    return torch.cat([prior.decode(row[None]).float().cpu() for row in x])


def _result(prior: TextPrior, request: LayoutRequest, words: Wording, config: LayoutConfig,
            made: tuple[Image, Generation, int], provenance: dict) -> Layout:
    image, work, picture = made
    layers, attention, deltas = [], [], {}
    for k, row in enumerate(work.rows):
        if row.picture != picture:
            continue
        name = f"{row.number:02d}_{'background' if row.region is None else row.region.slug}"
        if work.estimates is not None:
            layers.append((name, _decode(prior, work.estimates[k:k + 1])))
        if k in work.maps:
            attention.append((row.region.words, work.maps[k][None, None].float().cpu()))
        if k in work.deltas:
            deltas[name] = [round(v, 5) for v in work.deltas[k].tolist()]
    provenance |= {"notes": list(map(str, request.notes)), "warnings": warnings_in(request.notes), "name": request.name,
                   "caption": words.caption, "background": words.background,
                   "regions": [{"caption": r.caption, "box": [round(v, 4) for v in r.bounds()],
                                "kind": "box" if r.mask is None else "mask"} for r in request.regions],
                   "edited": request.image is not None, "layered_steps": config.layered_steps if layers else 0,
                   "deltas": deltas}
    return Layout(request, words.caption, image, tuple(layers), tuple(attention), to_dict(config), provenance)
