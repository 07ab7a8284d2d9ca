"""G-buffers: what the renderer knows exactly without light. Textures are looked up in torch, once, not in the loop."""
from __future__ import annotations

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, flags, to_torch
from dipir.render.mitsuba_scene import ROUGHNESS_MIN, BuiltScene
from dipir.render.rays import camera_ray, first_hit, opaque, pixel_position, proxy_hit, stratified_offsets
from dipir.render.renderer import GBuffers
from dipir.scene.asset import Material
from dipir.scene.camera import Camera


def record_gbuffers(built: BuiltScene, camera: Camera, samples: int = 16, seed: int = 0) -> GBuffers:
    """Average ``samples`` stratified primary rays per pixel (see :class:`GBuffers`)."""
    height, width = camera.height, camera.width
    where = device.current().torch
    sums = torch.zeros(14, height * width, device=where)
    first_id = torch.zeros(height * width, dtype=torch.int64, device=where)
    forward = torch.from_numpy(camera.to_world[:3, 2]).float().to(where)
    origin = torch.from_numpy(camera.position).float().to(where)
    for k, offset in enumerate(stratified_offsets(samples, seed)):
        hit = _hits(built, camera, offset, seed + k)
        rows = _materials(built, hit)
        valid = hit["valid"]
        depth = (hit["point"] - origin) @ forward
        rows = torch.cat([valid[:, None], hit["ground"][:, None],
                             torch.cat([depth[:, None], hit["normal"], rows, hit["point"]], 1) * valid[:, None]], 1)
        sums += rows.T
        first_id = torch.where((first_id == 0) & (valid > 0), hit["object"], first_id)
    cover = sums[0]
    mean = sums[2:] / cover.clamp_min(1)
    image = lambda rows: rows.reshape(1, -1, height, width)
    normal = mean[1:4] / mean[1:4].norm(dim=0).clamp_min(1e-6)
    return GBuffers(alpha=image(cover / samples), ground=image(sums[1] / samples), depth=image(mean[0]),
                    normal=image(normal), albedo=image(mean[4:7]), roughness=image(mean[7]), metallic=image(mean[8]),
                    position=image(mean[9:12]), object_id=first_id.reshape(1, 1, height, width))


def _hits(built: BuiltScene, camera: Camera, offset: np.ndarray, seed: int) -> dict[str, Tensor]:
    """One primary ray a pixel: flat torch columns (pixels, ...)."""
    mi = mitsuba()
    count = camera.width * camera.height
    index = dr.arange(mi.UInt32, count)
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(seed, count)
    ray = camera_ray(camera, *pixel_position(camera, index, *opaque(*offset)))
    si, _ = first_hit(built, ray, sampler)
    ground, _, _ = proxy_hit(built, camera, ray)
    ids = [dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s))[0] for s in built.objects.shapes()]
    pointer = to_torch(dr.reinterpret_array(mi.UInt32, si.shape)).long()
    normal = dr.select(dr.dot(si.sh_frame.n, ray.d) > 0, -si.sh_frame.n, si.sh_frame.n)
    valid = flags(si.is_valid())
    shape = torch.full((count,), -1, device=valid.device)
    for k, ident in enumerate(ids):
        shape[pointer == ident] = k
    shape[valid == 0] = -1
    owner = torch.tensor([0] + [1 + i for i, _ in built.parts], device=valid.device)
    return {"valid": valid, "ground": flags(ground),
            "point": columns(si.p, 3) * valid[:, None], "normal": columns(normal, 3), "uv": columns(si.uv, 2),
            "shape": shape, "object": owner[shape + 1]}


def _materials(built: BuiltScene, hit: dict[str, Tensor]) -> Tensor:
    """(pixels, 5): albedo rgb, roughness, metallic at each hit."""
    out = hit["valid"].new_zeros(len(hit["valid"]), 5)
    for k, (_, part) in enumerate(built.parts):
        chosen = (hit["shape"] == k).nonzero()[:, 0]
        if len(chosen):
            out[chosen] = _lookup(part.material, hit["uv"][chosen], part.uvs is not None)
    return out


def _lookup(material: Material, uv: Tensor, textured: bool) -> Tensor:
    """Material values at UVs in Mitsuba's orientation (v down the image)."""
    def value(texture, constant, channels: int) -> Tensor:
        if not textured or texture is None:
            return uv.new_tensor(constant).reshape(1, -1).expand(len(uv), channels)
        t = torch.from_numpy(np.ascontiguousarray(texture, np.float32)).reshape(*texture.shape[:2], channels).to(uv)
        row = ((uv[:, 1] % 1) * t.shape[0]).long().clamp(0, t.shape[0] - 1)
        col = ((uv[:, 0] % 1) * t.shape[1]).long().clamp(0, t.shape[1] - 1)
        return t[row, col]
    m = material
    return torch.cat([value(m.base_color_texture, m.base_color, 3),
                      value(m.roughness_texture, m.roughness, 1).clamp(ROUGHNESS_MIN, 1),
                      value(m.metallic_texture, m.metallic, 1)], 1)
