"""Denoising of final passes: Intel Open Image Denoise (Afra 2019-2025) on the CPU, it or OptiX's denoiser on a GPU.

Object colour and shadow ratio are denoised separately, each only where it is not trivial. Colour is divided by the
coverage first, guided by albedo and normal, and multiplied by the same coverage afterwards, so that outlines stay
what the camera samples made them. Where the ratio is exactly 1 it stays so.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir import device
from dipir.errors import MissingExtra, RenderError
from dipir.render.renderer import Passes
from dipir.scene.camera import Camera

_PAD = 16  # Pixels around what is denoised, so that the network sees a surrounding.
_MEMORY_MB = 2048  # The library works in tiles beyond that.
Filter = Callable[[Tensor, "Tensor | None", "Tensor | None", bool], Tensor]


def available() -> str | None:
    """What denoises on the run's device: "oidn", "optix", or None when nothing is there."""
    if _oidn() is not None:
        return "oidn"
    return "optix" if device.current().variant == device.CUDA else None


@torch.no_grad()
def denoise_passes(passes: Passes, camera: Camera) -> Passes:
    """The passes with object colour and shadow ratio denoised; alpha, edges, G-buffers and light without objects stay.
    MissingExtra when no denoiser is there (see :func:`available`), RenderError when it fails."""
    run = _filter()
    return replace(passes, object_rgb=_object(passes, camera, run),
                   ground_shadowed=passes.ground_lit * _ratio(passes, run))


def _object(passes: Passes, camera: Camera, run: Filter) -> Tensor:
    box = _box(passes.alpha > 0)
    if box is None:
        return passes.object_rgb
    alpha, rgb, albedo, normal = (image[box] for image in (
        passes.alpha, passes.object_rgb, passes.gbuffers.albedo, passes.gbuffers.normal))
    colour = torch.where(alpha > 0, rgb / alpha.clamp_min(1e-6), 0.0)
    rotation = torch.from_numpy(camera.to_world[:3, :3].T.copy()).to(alpha)
    normal = torch.einsum("ij,bjhw->bihw", rotation, normal)
    inside = (alpha > 0).float()
    smooth = run(*(_extended(image, inside) for image in (colour, albedo, normal)), True)
    out = passes.object_rgb.clone()
    out[box] = smooth.clamp_min(0) * alpha
    return out


def _ratio(passes: Passes, run: Filter) -> Tensor:
    ratio = passes.shadow_ratio
    changed = (ratio != 1).any(1, keepdim=True) if passes.sampled is None else passes.sampled
    box = _box(changed)
    if box is None:
        return ratio
    out, inner, changed = ratio.clone(), ratio[box], changed[box]
    # What is taken, not what is left: noise around 1 would be clipped on one side, and the shadow come out too bright.
    taken = run((1 - inner).clamp(0, 1), None, None, False).clamp(0, 1)
    out[box] = torch.where(changed, 1 - taken, inner)
    return out


def _box(mask: Tensor) -> tuple | None:
    """Index of the rectangle around what is true in (1, 1, H, W), with a border; None when nothing is."""
    spans = []
    for other, size in ((3, mask.shape[2]), (2, mask.shape[3])):
        where = mask.any(other).flatten().nonzero()[:, 0]
        if not len(where):
            return None
        spans.append(slice(max(0, int(where[0]) - _PAD), min(size, int(where[-1]) + 1 + _PAD)))
    return (..., *spans)


def _extended(image: Tensor, inside: Tensor) -> Tensor:
    """(1, C, H, W) continued beyond ``inside`` (1, 1, H, W) by the mean of known neighbours, a pixel a round: an edge
    there would be taken for one of the picture."""
    total, weight = image * inside, inside
    for _ in range(_PAD // 2):
        around, known = (torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=True) for x in (total, weight))
        fresh = (weight == 0) & (known > 0)
        total = torch.where(fresh, around / known.clamp_min(1e-9), total)
        weight = torch.where(fresh, torch.ones_like(weight), weight)
    return total


# ---------------------------------------------------------------------------------------------------- the libraries
def _filter() -> Filter:
    kind = available()
    if kind is None:
        raise MissingExtra("no denoiser: install Open Image Denoise with `pip install pyoidn`, or use --no-denoise.")
    return _run_oidn if kind == "oidn" else _run_optix


@functools.lru_cache(maxsize=1)
def _oidn():
    """The package, or None where it or its library cannot be loaded."""
    try:
        import pyoidn

        return pyoidn if pyoidn.Device.is_cpu_available() else None
    except (ImportError, OSError, RuntimeError):
        return None


@dataclass(frozen=True)
class _Engine:
    """A device of Open Image Denoise, kept for the process."""

    device: object
    where: torch.device


@functools.lru_cache(maxsize=2)
def _engine(where: torch.device) -> _Engine:
    from dipir.render.backend import available_threads

    oidn = _oidn()
    if where.type == "cuda" and oidn.Device.is_cuda_available(0):
        made = oidn.Device.from_torch(where)
    else:
        where = torch.device("cpu")
        made = oidn.Device()
        made.set_int("numThreads", available_threads())
        # Pinned threads would crowd the same cores when several runs share a machine.
        made.set_bool("setAffinity", False)
    made.commit()
    _check(made)
    return _Engine(made, where)


def _check(made) -> None:
    problem = made.get_error()
    if problem:
        raise RenderError(f"Open Image Denoise failed: {problem}. Use --no-denoise, or install pyoidn again.")


def _run_oidn(colour: Tensor, albedo: Tensor | None, normal: Tensor | None, hdr: bool) -> Tensor:
    """(1, 3, H, W) each -> (1, 3, H, W). colour : linear, in [0, 1] unless ``hdr``"""
    oidn, engine = _oidn(), _engine(colour.device)
    planes = {"color": colour}
    if albedo is not None and normal is not None:
        planes |= {"albedo": albedo.clamp(0, 1), "normal": normal}
    images = {name: image[0].permute(1, 2, 0).float().to(engine.where).contiguous() for name, image in planes.items()}
    images["output"] = torch.empty_like(images["color"])
    with oidn.Filter(engine.device, oidn.OIDN_FILTER_TYPE_RT) as work:
        for name, image in images.items():
            work.set_image(name, image, oidn.OIDN_FORMAT_FLOAT3)
        work.set_bool("hdr", hdr)
        # G-buffers are averages over many samples, without light: as good as free of noise.
        guided = "albedo" in images
        work.set_bool("cleanAux", guided)
        # One quality up takes twice as long and changes the error of the demo by 4 % (object) and 5 % (shadow).
        work.set_quality(oidn.OIDN_QUALITY_BALANCED if guided else oidn.OIDN_QUALITY_FAST)
        work.set_int("maxMemoryMB", _MEMORY_MB)
        work.commit()
        work.execute()
        _check(engine.device)
    return images["output"].permute(2, 0, 1)[None].to(colour.device)


def _run_optix(colour: Tensor, albedo: Tensor | None, normal: Tensor | None, hdr: bool) -> Tensor:
    """As `_run_oidn`, by Mitsuba's OptiX denoiser (HDR model, which takes both)."""
    from dipir.render.backend import mitsuba
    from dipir.render.bridge import to_drjit, to_torch

    mi = mitsuba()
    guided = albedo is not None and normal is not None
    denoiser = mi.OptixDenoiser((colour.shape[3], colour.shape[2]), albedo=guided, normals=guided, temporal=False)
    guides = {"albedo": albedo.clamp(0, 1), "normals": normal} if guided else {}
    plain, *rest = (to_drjit(image[0].permute(1, 2, 0)) for image in (colour, *guides.values()))
    return to_torch(denoiser(plain, **dict(zip(guides, rest, strict=True)))).permute(2, 0, 1)[None]
