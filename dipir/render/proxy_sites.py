"""Where the shadow on the proxy is sampled, and the passes made of it.

Only what can change is traced. Objects' bounding spheres tell where a shadow is possible at all. A large picture is
first sampled in cells of several pixels; on the plane, whose shadow is smooth but for edges, cells without an edge keep
what the coarse pass found, interpolated, and only the others are traced pixel by pixel. The rest has a ratio of 1.
"""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap, Image, Mask, split_seed
from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, columns, flags, to_index
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.proxy_pass import Sites, trace
from dipir.render.rays import camera_ray, opaque, pixel_position, proxy_hit
from dipir.scene.camera import Camera

NEGLIGIBLE = 0.001  # A quarter of an 8-bit step at mid grey.
VISIBLE = 0.004  # Half an 8-bit step at white: a mesh catcher is traced where the coarse pass found more.
EDGE = 0.012  # Second difference of the ratio between cells that calls for pixels.
_CELLS = 256  # Cells of the coarse pass along the longer side; smaller pictures have none.
_CELL_SPP = 4  # Samples of a cell, in samples of a pixel.
_COARSE = (32, 64)


@dataclass(frozen=True)
class Catcher:
    """The catcher as the camera sees it."""

    cover: Tensor  # (pixels,) share of the pixel that it covers
    normal: Tensor | None  # (pixels, 3) at the pixel centres (0 beside it) of a mesh, None for the plane, which has one

    @staticmethod
    def of(built: BuiltScene, camera: Camera, cover: Tensor) -> Catcher:
        """Trace one ray a pixel of a mesh; ``cover`` (1, 1, H, W) as in the G-buffers."""
        if built.proxy is None:
            return Catcher(cover.flatten(), None)
        valid, _, normal = _centres(built, camera, torch.arange(camera.width * camera.height, device=cover.device))
        return Catcher(cover.flatten(), normal * valid[:, None])


@dataclass(frozen=True)
class ShadowPass:
    """Direct light on the white diffuse catcher."""

    lit: Image  # (1, 3, H, W) without the objects
    shadowed: Image  # (1, 3, H, W) with them
    sampled: Mask  # (1, 1, H, W) bool, pixels with samples of their own: the others have no noise


def shadow_pass(built: BuiltScene, camera: Camera, ground: Catcher, radiance: EnvMap, *, seed: int,
                spp: int) -> ShadowPass:
    """Differentiable in the map (H, W, 3). RenderError on NaN or infinity."""
    check_finite("light", radiance.detach())
    flat = ground.normal is None
    lit = unshadowed(ground, radiance)
    # ---- where a shadow is possible ----
    side = max(1, round(max(camera.width, camera.height) / _CELLS)) if built.spheres else 0
    near = possible(built, camera, radiance.detach(), max(1, side))
    ratio = torch.ones_like(lit)
    pixels = near.flatten().nonzero()[:, 0]
    # ---- cells of several pixels ----
    if side > 1 and near.any():
        cells = _cell_ratios(built, camera, near, side, radiance, seed=split_seed(seed, "cells"), spp=spp)
        refined = edges(1 - cells.detach()) if flat else _visible(1 - cells.detach())
        pixels = _pixels_of(refined & near, side, camera)
        if flat:
            ratio = 1 - _spread(1 - cells, side, camera)
    # ---- single pixels ----
    if len(pixels):
        traced = trace(built, camera, Sites(pixels), radiance, seed=seed, spp=spp)
        ratio = ratio.index_put((pixels,), traced.ratio)
        if not flat:
            lit = lit.index_put((pixels,), traced.lit)
    ratio = torch.where(ground.cover[:, None] > 0, ratio, 1.0)
    sampled = torch.zeros_like(ground.cover, dtype=torch.bool)
    sampled[pixels] = True
    images = (flat.T.reshape(1, 3, camera.height, camera.width) for flat in (lit, lit * ratio))
    return ShadowPass(*images, sampled.reshape(1, 1, camera.height, camera.width))


# ------------------------------------------------------------------------------------------------- without objects
def plane_light(radiance: EnvMap) -> Tensor:
    """(3,): integral of L cos / pi over the sky of a surface that looks up."""
    weights = latlong.plane_weights(*radiance.shape[:2], device=radiance.device)
    return torch.einsum("hw,hwc->c", weights, radiance)


def unshadowed(ground: Catcher, radiance: EnvMap) -> Tensor:
    """(pixels, 3): integral of L cos / pi over the sky of each pixel, without occlusion, times its cover."""
    if ground.normal is None:
        return plane_light(radiance) * ground.cover[:, None]
    _, weight = _texels(radiance.device)
    texels = _middles(radiance.detach())
    arriving = _coarse(radiance).reshape(-1, 3) * weight[:, None] / torch.pi
    index = (ground.normal != 0).any(1).nonzero()[:, 0]
    rows = torch.cat([(n @ texels.T).clamp_min(0) @ arriving for n in ground.normal[index].split(16384)])
    return radiance.new_zeros(len(ground.cover), 3).index_put((index,), rows * ground.cover[index, None])


# ------------------------------------------------------------------------------------------------- coarse to fine
@torch.no_grad()
def possible(built: BuiltScene, camera: Camera, radiance: EnvMap, side: int) -> Tensor:
    """(rows, columns) bool: cells of ``side`` pixels that an object's bounding sphere could darken by more than
    NEGLIGIBLE: the light within its cone, as a share of all the light there. Judged on every few pixels, with the
    neighbours kept as well."""
    height, width = camera.height, camera.width
    step = max(1, max(height, width) // 96)
    where = radiance.device
    rows, cols = torch.meshgrid(torch.arange(step // 2, height, step, device=where),
                                torch.arange(step // 2, width, step, device=where), indexing="ij")
    valid, point, normal = _centres(built, camera, (rows * width + cols).flatten())
    texels, weight = _texels(where)
    light = _coarse(radiance).mean(-1).reshape(-1) * weight
    arriving = (normal @ texels.T).clamp_min(0) * light
    share = sum(((arriving * _in_cone(point, sphere, texels)).sum(1) for sphere in built.spheres),
                arriving.new_zeros(len(arriving))) / arriving.sum(1).clamp_min(1e-12)
    near = ((share > NEGLIGIBLE) & (valid > 0)).float().reshape(1, 1, *rows.shape)
    grown = torch.nn.functional.max_pool2d(near, 3, 1, 1)[0, 0] > 0
    rows, cols = ((torch.arange(0, size, side, device=where) // step).clamp_max(most - 1)
                  for size, most in zip((height, width), grown.shape, strict=True))
    return grown[rows][:, cols]


@torch.no_grad()
def shaded_pixels(built: BuiltScene, camera: Camera) -> Tensor:
    """(n,) flat indices, ascending, of the pixels of the plane that the objects' bounding spheres, and so the objects,
    can darken by more than NEGLIGIBLE under an even sky, and their neighbours. A sphere of radius r at distance d takes
    (r / d)^2 times a cosine, here the largest within its cone."""
    height, width = camera.height, camera.width
    valid, point, _ = _centres(built, camera, torch.arange(height * width, device=device.current().torch))
    taken = valid.new_zeros(height * width)
    for centre, radius in built.spheres:
        distance = (valid.new_tensor(centre) - point).norm(dim=1)
        beyond = (distance - radius).clamp_min(1e-6)
        cosine = ((float(centre[1]) + radius) / beyond).clamp(0, 1)
        taken += torch.where(distance < 1.05 * radius, 1.0, (radius / distance).square() * cosine)
    near = (taken > NEGLIGIBLE) & (valid > 0)
    return _grown(near.reshape(height, width)).flatten().nonzero()[:, 0]


def _centres(built: BuiltScene, camera: Camera, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(valid (n,), point (n, 3), normal (n, 3)): where the centres of pixels meet the proxy."""
    mi = mitsuba()
    ray = camera_ray(camera, *pixel_position(camera, to_index(index), *opaque(0.5, 0.5)))
    valid, point, normal = proxy_hit(built, camera, ray)
    # Broadcast first: the plane's normal is one literal.
    normal = mi.Normal3f(normal) + dr.zeros(mi.Normal3f, len(index))
    dr.eval(valid, point, normal)
    return flags(valid), columns(mi.Vector3f(point), 3), columns(mi.Vector3f(normal), 3)


def _cell_ratios(built: BuiltScene, camera: Camera, near: Tensor, side: int, radiance: EnvMap, *, seed: int,
                 spp: int) -> Tensor:
    """(rows, columns, 3) ratio of the cells that are ``near``, 1 elsewhere."""
    row, column = near.nonzero(as_tuple=True)
    corner = row * (side * camera.width) + column * side
    traced = trace(built, camera, Sites(corner, side), radiance, seed=seed, spp=max(64, _CELL_SPP * spp))
    return radiance.new_ones(*near.shape, 3).index_put((row, column), traced.ratio)


def edges(darkness: Tensor) -> Tensor:
    """(rows, columns) bool: cells where the darkness (rows, columns, 3) bends by more than EDGE along a row, a column
    or a diagonal, and their neighbours."""
    d = torch.nn.functional.pad(darkness.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0]
    middle = d[:, 1:-1, 1:-1]
    bends = [(d[:, 1 + y:d.shape[1] - 1 + y, 1 + x:d.shape[2] - 1 + x]
              + d[:, 1 - y:d.shape[1] - 1 - y, 1 - x:d.shape[2] - 1 - x] - 2 * middle).abs().amax(0)
             for y, x in ((0, 1), (1, 0), (1, 1), (1, -1))]
    return _grown(torch.stack(bends).amax(0) > EDGE)


def _visible(darkness: Tensor) -> Tensor:
    """(rows, columns) bool: cells that are darker by more than VISIBLE, and their neighbours."""
    return _grown(darkness.amax(-1) > VISIBLE)


def _grown(cells: Tensor) -> Tensor:
    return torch.nn.functional.max_pool2d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0


def _pixels_of(cells: Tensor, side: int, camera: Camera) -> Tensor:
    """Flat indices of the pixels of some cells."""
    whole = cells.repeat_interleave(side, 0).repeat_interleave(side, 1)[:camera.height, :camera.width]
    return whole.flatten().nonzero()[:, 0]


def _spread(cells: Tensor, side: int, camera: Camera) -> Tensor:
    """(pixels, 3): values (rows, columns, 3) of cells, interpolated between their centres."""
    size = (cells.shape[0] * side, cells.shape[1] * side)
    image = torch.nn.functional.interpolate(cells.permute(2, 0, 1)[None], size, mode="bilinear")
    return image[0, :, :camera.height, :camera.width].reshape(3, -1).T


def _in_cone(points: Tensor, sphere: tuple[np.ndarray, float], texels: Tensor) -> Tensor:
    """(pixels, J) bool: texels any part of which may lie behind a sphere, seen from each point."""
    center, radius = sphere
    towards = torch.as_tensor(center, dtype=torch.float32, device=points.device) - points
    distance = towards.norm(dim=1).clamp_min(1e-6)
    slack = 1.2 * torch.pi / _COARSE[0]
    cone = (torch.asin((radius / distance).clamp(0, 1)) + slack).clamp_max(torch.pi)
    limit = torch.where(distance <= 1.05 * radius, -1.1, cone.cos())
    return (towards / distance[:, None]) @ texels.T > limit[:, None]


def _texels(where: torch.device) -> tuple[Tensor, Tensor]:
    """(J, 3) directions and (J,) solid angles of the coarse map."""
    return (latlong.directions(*_COARSE, device=where).reshape(-1, 3),
            latlong.solid_angles(*_COARSE, device=where).expand(*_COARSE).reshape(-1))


def _middles(radiance: EnvMap) -> Tensor:
    """(J, 3) where in each coarse texel the light of a finer map comes from, in the mean: a sun seldom stands in the
    middle of its texel, which may be 4 degrees off."""
    height, width = radiance.shape[:2]
    if height % _COARSE[0] or height == _COARSE[0]:
        return _texels(radiance.device)[0]
    level = radiance.mean(-1, keepdim=True)
    level = level + 1e-6 * level.mean() + 1e-12
    moment = latlong.resize(level * latlong.directions(height, width, device=radiance.device), *_COARSE)
    return (moment / latlong.resize(level, *_COARSE)).reshape(-1, 3)


def _coarse(radiance: EnvMap) -> EnvMap:
    """The map on the coarse grid: averaged down, or repeated up."""
    height, width = _COARSE
    if radiance.shape[0] >= height and radiance.shape[0] % height == 0:
        return latlong.resize(radiance, height, width)
    factor = -(-height // radiance.shape[0])
    repeated = radiance.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    if repeated.shape[0] == height:
        return repeated
    return latlong.sample(radiance, latlong.directions(height, width, device=radiance.device))
