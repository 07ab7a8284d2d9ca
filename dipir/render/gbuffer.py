"""G-buffers: what the renderer knows exactly without light, and where in the picture objects are.

Textures are looked up in torch, once, not in the loop.
"""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, flags, to_array, to_index, to_torch
from dipir.render.mitsuba_scene import BuiltScene, vertex_colors
from dipir.render.rays import camera_ray, first_hit, opaque, pixel_position, proxy_hit, stratified_offsets
from dipir.render.renderer import GBuffers
from dipir.scene.assets.asset import ROUGHNESS_MIN, Material, Part, Sampling
from dipir.scene.camera import Camera

_LANES = 2**20  # Rays in flight.
_GROUND = 16  # Samples of the ground's cover: only the horizon and a mesh's outline need more than one.
_GRAIN = 32  # Sizes are multiples of it where the picture is larger: every size of film compiles a kernel of its own.


@dataclass(frozen=True)
class PixelBox:
    """The part of a picture in which objects can be seen: a rectangle of whole pixels."""

    x0: int  # left
    y0: int  # top
    width: int
    height: int
    picture: tuple[int, int]  # (width, height) of the whole

    @staticmethod
    def of_objects(built: BuiltScene, camera: Camera, margin: int = 2) -> PixelBox:
        """All pixels that a part of an object can reach; the whole picture when one reaches behind the camera, one
        pixel when none is in view."""
        points = np.concatenate([p.vertices for _, p in built.parts]) if built.parts else np.zeros((0, 3))
        uv, depth = camera.project(points.astype(np.float64))
        size = (camera.width, camera.height)
        if not len(uv):
            return PixelBox(0, 0, 1, 1, size)
        if depth.min() <= 1e-3:
            return PixelBox(0, 0, *size, size)
        spans = [_span(uv[:, axis].min() - margin, uv[:, axis].max() + margin, limit)
                 for axis, limit in enumerate(size)]
        return PixelBox(spans[0][0], spans[1][0], spans[0][1], spans[1][1], size)

    def camera(self, camera: Camera) -> Camera:
        """The camera that sees this rectangle alone, pixel by pixel."""
        return camera.crop(self.x0, self.y0, self.width, self.height, self.width, self.height)

    def pixels(self, where: torch.device) -> Tensor:
        """(width * height,) flat indices in the picture, row by row."""
        rows = torch.arange(self.y0, self.y0 + self.height, device=where)
        across = torch.arange(self.x0, self.x0 + self.width, device=where)
        return (rows[:, None] * self.picture[0] + across).flatten()

    def paste(self, image: Tensor) -> Tensor:
        """(B, C, height, width) -> (B, C, H, W) of the picture, 0 around it; differentiable."""
        right, below = (self.picture[0] - self.x0 - self.width, self.picture[1] - self.y0 - self.height)
        return torch.nn.functional.pad(image, (self.x0, right, self.y0, below))

    def cut(self, image: Tensor) -> Tensor:
        """(B, C, H, W) of the picture -> (B, C, height, width), a view."""
        return image[..., self.y0:self.y0 + self.height, self.x0:self.x0 + self.width]


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    """(first, count) of the pixels from ``low`` to ``high`` that lie in [0, limit), grown to a multiple of _GRAIN."""
    first, last = (int(np.clip(np.floor(v), 0, limit - 1)) for v in (low, high))
    count = min(limit, -(-(last + 1 - first) // _GRAIN) * _GRAIN)
    return min(first, limit - count), count


def record_gbuffers(built: BuiltScene, camera: Camera, samples: int = 16, seed: int = 0,
                    region: PixelBox | None = None) -> GBuffers:
    """Average ``samples`` stratified primary rays per pixel (see :class:`GBuffers`); ``region`` : where objects can be
    seen, if that is known already."""
    where = device.current().torch
    offsets = stratified_offsets(samples, seed)
    pixels = touched_pixels(built, camera, offsets, region or PixelBox.of_objects(built, camera))
    # ---- sums over the samples of each pixel ----
    sums = torch.zeros(13, len(pixels), device=where)
    first_id = torch.zeros(len(pixels), dtype=torch.int64, device=where)
    forward = torch.from_numpy(camera.to_world[:3, 2]).float().to(where)
    origin = torch.from_numpy(camera.position).float().to(where)
    together = max(1, _LANES // max(1, len(pixels)))
    for k in range(0, samples if len(pixels) else 0, together):
        hit = _hits(built, camera, pixels, offsets[k:k + together], seed + k)
        valid = hit["valid"]
        depth = (hit["point"] - origin) @ forward
        values = torch.cat([depth[:, None], hit["normal"], materials_at(built, hit), hit["point"]], 1) * valid[:, None]
        rows = torch.cat([valid[:, None], values], 1).reshape(-1, len(pixels), 13)
        for sample, owner in zip(rows, hit["object"].reshape(len(rows), -1), strict=True):
            sums += sample.T
            first_id = torch.where((first_id == 0) & (sample[:, 0] > 0), owner, first_id)
    # ---- means over those that met an object ----
    mean = sums[1:] / sums[0].clamp_min(1)
    normal = mean[1:4] / mean[1:4].norm(dim=0).clamp_min(1e-6)

    def image(rows: Tensor) -> Tensor:
        rows = rows if rows.ndim == 2 else rows[None]
        picture = rows.new_zeros(len(rows), camera.height * camera.width)
        picture[:, pixels] = rows
        return picture.reshape(1, len(rows), camera.height, camera.width)

    return GBuffers(alpha=image(sums[0] / samples), ground=_ground_cover(built, camera, offsets[:_GROUND]),
                    depth=image(mean[0]), normal=image(normal), albedo=image(mean[4:7]), roughness=image(mean[7]),
                    metallic=image(mean[8]), position=image(mean[9:12]), object_id=image(first_id))


def touched_pixels(built: BuiltScene, camera: Camera, offsets: np.ndarray, region: PixelBox) -> Tensor:
    """Flat indices of the pixels in which any of the camera samples at ``offsets`` (n, 2) meets an asset."""
    pixels = region.pixels(device.current().torch)
    met = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    index = to_index(pixels)
    for offset in offsets:
        ray = camera_ray(camera, *pixel_position(camera, index, *opaque(*offset)))
        met |= flags(built.objects.ray_test(ray)) > 0
    return pixels[met]


def _ground_cover(built: BuiltScene, camera: Camera, offsets: np.ndarray) -> Tensor:
    """(1, 1, H, W): share of each pixel's samples that meet the proxy."""
    mi = mitsuba()
    cover = mi.Float(0)
    for offset in offsets:
        index = dr.arange(mi.UInt32, camera.width * camera.height)
        met, _, _ = proxy_hit(built, camera, camera_ray(camera, *pixel_position(camera, index, *opaque(*offset))))
        cover += dr.select(met, 1.0, 0.0)
        dr.eval(cover)
    return to_torch(cover).reshape(1, 1, camera.height, camera.width) / len(offsets)


def _hits(built: BuiltScene, camera: Camera, pixels: Tensor, offsets: np.ndarray, seed: int) -> dict[str, Tensor]:
    """A primary ray at each of ``offsets`` (n, 2) of each pixel: flat torch columns (n * pixels, ...)."""
    mi = mitsuba()
    count = len(pixels) * len(offsets)
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(seed, count)
    which = dr.arange(mi.UInt32, count) // dr.opaque(mi.UInt32, len(pixels))
    dx, dy = (dr.gather(mi.Float, to_array(offsets[:, axis]), which) for axis in (0, 1))
    ray = camera_ray(camera, *pixel_position(camera, to_index(pixels.repeat(len(offsets))), dx, dy))
    si, _ = first_hit(built, ray, sampler)
    return hit_columns(built, ray, si)


def hit_columns(built: BuiltScene, ray, si) -> dict[str, Tensor]:
    """What rays met at ``si``, flat torch columns (n, ...): ``valid``, ``point`` and ``normal`` (towards the ray),
    ``uv``, ``face``, index of the part (``shape``, -1 = none) and 1 + that of its object (``object``, 0 = none)."""
    mi = mitsuba()
    ids = [dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s))[0] for s in built.objects.shapes()]
    pointer = dr.reinterpret_array(mi.UInt32, si.shape)
    normal = dr.select(dr.dot(si.sh_frame.n, ray.d) > 0, -si.sh_frame.n, si.sh_frame.n)
    # In one kernel: each array alone would trace the ray once more.
    dr.eval(si.is_valid(), si.p, si.uv, normal, pointer, si.prim_index)
    valid, pointer = flags(si.is_valid()), to_torch(pointer).long()
    shape = torch.full((len(valid),), -1, device=valid.device)
    for k, ident in enumerate(ids):
        shape[pointer == ident] = k
    shape[valid == 0] = -1
    owner = torch.tensor([0] + [1 + i for i, _ in built.parts], device=valid.device)
    return {"valid": valid, "point": columns(si.p, 3) * valid[:, None], "normal": columns(normal, 3),
            "uv": columns(si.uv, 2), "face": to_torch(si.prim_index).long(), "shape": shape,
            "object": owner[shape + 1]}


def materials_at(built: BuiltScene, hit: dict[str, Tensor]) -> Tensor:
    """(n, 5): albedo rgb, roughness, metallic at each of :func:`hit_columns`."""
    out = hit["valid"].new_zeros(len(hit["valid"]), 5)
    for k, (_, part) in enumerate(built.parts):
        chosen = (hit["shape"] == k).nonzero()[:, 0]
        if len(chosen):
            out[chosen] = _lookup(part.material, hit["uv"][chosen], part.uvs is not None)
            colors = vertex_colors(part)
            if colors is not None:
                out[chosen, :3] = _between(part, colors, hit["face"][chosen], hit["point"][chosen])
    return out


def _between(part: Part, values: np.ndarray, face: Tensor, point: Tensor) -> Tensor:
    """(n, 3): ``values`` (V, 3) of a part's vertices, interpolated at points (n, 3) of its faces (n,)."""
    corner = torch.from_numpy(part.faces.astype(np.int64)).to(face.device)[face]
    a, b, c = torch.from_numpy(part.vertices).to(point)[corner].double().unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    area = (normal * normal).sum(1).clamp_min(1e-300)
    u = (torch.linalg.cross(c - b, point.double() - b) * normal).sum(1) / area
    v = (torch.linalg.cross(a - c, point.double() - c) * normal).sum(1) / area
    weight = torch.stack([u, v, 1 - u - v], 1).clamp(0, 1)[..., None]
    return (torch.from_numpy(values).to(point)[corner] * weight).sum(1).float()


def _texel(texture: Tensor, uv: Tensor, sampling: Sampling) -> Tensor:
    """(h, w, C) at (n, 2), between texels or at the nearest, beyond [0, 1] as Mitsuba's bitmaps are: (n, C)."""
    height, width = texture.shape[:2]
    (a, b, c), (d, e, f), (u, v) = sampling.matrix[:3], sampling.matrix[3:], uv.unbind(1)
    x, y = (a * u + b * v + c) * width, (d * u + e * v + f) * height
    if sampling.nearest:
        return texture[_wrapped(y.floor(), height, sampling.wrap), _wrapped(x.floor(), width, sampling.wrap)]
    left, top = (x - 0.5).floor(), (y - 0.5).floor()
    columns = [_wrapped(left + k, width, sampling.wrap) for k in (0, 1)]
    rows = [_wrapped(top + k, height, sampling.wrap) for k in (0, 1)]
    fx, fy = (x - 0.5 - left)[:, None], (y - 0.5 - top)[:, None]
    upper, lower = (torch.lerp(texture[row, columns[0]], texture[row, columns[1]], fx) for row in rows)
    return torch.lerp(upper, lower, fy)


def _wrapped(place: Tensor, size: int, wrap: str) -> Tensor:
    """Whole places of texels beyond [0, size) back into it."""
    place = place.long()
    if wrap == "clamp":
        return place.clamp(0, size - 1)
    if wrap == "mirror":
        place = place % (2 * size)
        return torch.minimum(place, 2 * size - 1 - place)
    return place % size


def _lookup(material: Material, uv: Tensor, textured: bool) -> Tensor:
    """Material values at UVs in Mitsuba's orientation (v down the image)."""
    def value(slot: str, texture, constant, channels: int) -> Tensor:
        if not textured or texture is None:
            return uv.new_tensor(constant).reshape(1, -1).expand(len(uv), channels)
        t = torch.from_numpy(np.ascontiguousarray(texture, np.float32)).reshape(*texture.shape[:2], channels).to(uv)
        return _texel(t, uv, material.sampled(slot))
    m = material
    return torch.cat([value("base_color", m.base_color_texture, m.base_color, 3),
                      value("roughness", m.roughness_texture, m.roughness, 1).clamp(ROUGHNESS_MIN, 1),
                      value("metallic", m.metallic_texture, m.metallic, 1)], 1)
