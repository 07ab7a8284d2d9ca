"""layout(): a picture from a caption and boxes or masks, or a region of a given picture made anew; guided image
synthesis by layers (LRDiff, Qi et al., arXiv 2311.18435)."""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, Mask
from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import ConfigError, ImageError
from dipir.layout import edit as layout_edit
from dipir.layout.config import LayoutConfig
from dipir.layout.regions import Region
from dipir.layout.words import TextPrior, Wording, wording_of
from dipir.layout.work import Asked, Canvas, Made, OnEvent, canvas_of, generate
from dipir.priors.layout import LayoutPrior
from dipir.settings.presets import versions
from dipir.settings.yaml import to_dict

_PACKAGES = ("dipir", "torch", "diffusers", "numpy")
_SMALLER = ("Lower --set width and height, ask for fewer regions or pictures at once, close what else uses the GPU, or "
            "compute on the CPU: --device cpu.")


@dataclass(frozen=True, eq=False)
class LayoutRequest:
    """What shall be pictured.

    caption : of the whole, "" = made from the regions';  regions : what stands where, none = plain sampling
    background : caption of the background's layer, None = made from the caption
    image : (1, 3, H, W) display [0, 1], the picture to edit, or None;  source : what that picture shows, "" = unknown
    name : for the result;  seed : of the noise, None = the settings'
    ImageError for a picture with NaN or smaller than 16 pixels, ConfigError for an edit without a region.
    """

    caption: str = ""
    regions: tuple[Region, ...] = ()
    background: str | None = None
    image: Image | None = None
    source: str = ""
    name: str = "layout"
    seed: int | None = None

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
    """What a run made; all of it on the CPU.

    request : as given;  caption : of the whole, as it was used
    image : (1, 3, H, W) display [0, 1];  layers : (name, (1, 3, h, w) display), each layer's own estimate at t0
    attention : (words, (1, 1, h, w)), what the regions' words attended to at the first step
    config : resolved, plain values;  provenance : seed, versions, hashes, times
    """

    request: LayoutRequest
    caption: str
    image: Image
    layers: tuple[tuple[str, Image], ...]
    attention: tuple[tuple[str, Mask], ...]
    config: dict
    provenance: dict = field(default_factory=dict)


def find_prior(config: LayoutConfig) -> TextPrior:
    """The prior that the settings name. PriorError when its weights cannot be used."""
    if config.grammar:
        return LayoutPrior.load(None if config.prior == "embedded" else config.prior)
    return load_pretrained(config.prior, device.current().torch)


def check(request: LayoutRequest, config: LayoutConfig) -> Wording:
    """All that can be known to be wrong without the prior; what will be said. ConfigError."""
    return wording_of(request.caption, request.regions, request.background, config, config.grammar)


def layout(request: LayoutRequest, config: LayoutConfig | None = None, *, prior: TextPrior | None = None,
           on_event: OnEvent | None = None, out: Path | None = None) -> Layout:
    """Make the picture. prior : None = what ``config`` names; the picture is made on its device
    out : folder to save the result in, None = not saved
    Raises the DipirError of whatever cannot be used, before long work starts."""
    (made,) = layouts([request], config, prior=prior, on_event=on_event)
    if out is not None:
        from dipir.layout.result import save

        save(made, out)
    return made


@device.guarded(_SMALLER)
def layouts(requests: Sequence[LayoutRequest], config: LayoutConfig | None = None, *, prior: TextPrior | None = None,
            on_event: OnEvent | None = None) -> list[Layout]:
    """As :func:`layout`, several at once: new pictures share the calls of the prior (the layers of all of them are one
    batch), edited ones are made one after the other. DeviceMemoryError when they are too much for a GPU."""
    config = config or LayoutConfig()
    began = time.monotonic()
    grammar = config.grammar if prior is None else prior.language == "captions"
    said = [wording_of(r.caption, r.regions, r.background, config, grammar) for r in requests]
    prior = prior or find_prior(config)
    canvas = canvas_of(prior, config)
    for request in requests:
        _check_masks(request, canvas)
    seeds = [config.seed if r.seed is None else r.seed for r in requests]
    new = [k for k, r in enumerate(requests) if r.image is None]
    results: dict[int, tuple[Image, Made, int]] = {}
    if new:
        asked = [Asked(said[k], requests[k].regions, _cells(requests[k], canvas), seeds[k]) for k in new]
        made = generate(prior, canvas, config, asked, on_event=on_event)
        pictures = _decoded(prior, made.x)
        results |= {k: (pictures[p:p + 1], made, p) for p, k in enumerate(new)}
    for k in sorted(set(range(len(requests))) - set(new)):
        r = requests[k]
        image, made, _ = layout_edit.edit(prior, canvas, config, r.image, r.regions, (said[k], r.source), seeds[k],
                                          on_event)
        results[k] = (image, made, 0)
    facts = {"prior": prior.fingerprint, "versions": versions(_PACKAGES),
             "device": device.current().record(), "made_together": len(requests),
             "seconds": round(time.monotonic() - began, 2)}
    return [_result(prior, r, said[k], config, results[k], {"seed": seeds[k], **facts})
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
def _decoded(prior: TextPrior, x: Tensor) -> Image:
    """On the CPU; one by one, as large autoencoders need much memory."""
    return torch.cat([prior.decode(row[None]).float().cpu() for row in x])


def _result(prior: TextPrior, request: LayoutRequest, said: Wording, config: LayoutConfig,
            made: tuple[Image, Made, int], provenance: dict) -> Layout:
    image, work, picture = made
    rows = [(k, row) for k, row in enumerate(work.rows) if row.picture == picture]
    layers, attention, deltas = [], [], {}
    for k, row in rows:
        name = f"{row.number:02d}_{'background' if row.region is None else row.region.slug}"
        if work.estimates is not None:
            layers.append((name, _decoded(prior, work.estimates[k:k + 1])))
        if k in work.maps:
            attention.append((row.region.words, work.maps[k][None, None].float().cpu()))
        if k in work.deltas:
            deltas[name] = [round(v, 5) for v in work.deltas[k].tolist()]
    provenance |= {"name": request.name, "caption": said.caption, "background": said.background,
                   "regions": [{"caption": r.caption, "box": [round(v, 4) for v in r.bounds()],
                                "kind": "box" if r.mask is None else "mask"} for r in request.regions],
                   "edited": request.image is not None, "layered_steps": config.layered_steps if layers else 0,
                   "deltas": deltas}
    return Layout(request, said.caption, image, tuple(layers), tuple(attention), to_dict(config), provenance)
