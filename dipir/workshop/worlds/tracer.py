"""Panoramas of described scenes: own equirectangular rays through Mitsuba's path tracer.

A scene is a plain nested dictionary, so that whoever invents scenes needs no renderer:

* ``parts``: list of merged meshes, one per material, each with ``vertices`` (V, 3) metres, ``faces`` (F, 3),
  ``uv`` (V, 2) or None, ``texture`` (h, w, 3) linear albedo in [0, 1] (mirrored outside [0, 1]^2),
  ``roughness`` None (diffuse) or in [0.05, 1] (plastic), ``radiance`` None or (3,) emitted radiance
* ``sky``: (h, w, 3) radiance, equirectangular without the sun, or None
* ``sun``: None or ``direction`` (3,) towards the sun and ``irradiance`` (3,) on a surface facing it

The sun is a directional emitter while tracing and is written into the panorama afterwards from its visibility: the
same energy as a disc in the environment map, sharp shadows, and no fireflies from rays that hit the disc by chance.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.errors import RenderError
from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, flags, to_drjit
from dipir.workshop.worlds.denoise import Surface, denoise_panorama, remove_fireflies

SUN_RADIUS_RAD = math.radians(0.27)
MAX_RADIANCE = 1e6
_SUN_RAYS = 64


def _bsdf(mi: Any, part: Mapping[str, Any]) -> Any:
    """Diffuse or plastic with a bitmap; always those two and always two-sided, so that scenes share one kernel."""
    texture = np.ascontiguousarray(part["texture"], dtype=np.float32)
    reflectance = {"type": "bitmap", "data": mi.TensorXf(texture), "raw": True, "wrap_mode": "mirror"}
    if part.get("roughness") is None:
        return mi.load_dict({"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": reflectance}})
    return mi.load_dict({"type": "twosided", "bsdf": {
        "type": "roughplastic", "diffuse_reflectance": reflectance, "alpha": float(part["roughness"]) ** 2}})


def _mesh(mi: Any, part: Mapping[str, Any], name: str) -> Any:
    vertices = np.ascontiguousarray(part["vertices"], dtype=np.float32)
    faces = np.ascontiguousarray(part["faces"], dtype=np.uint32)
    props = mi.Properties()
    props["bsdf"] = _bsdf(mi, part)
    if part.get("radiance") is not None:
        # Emitters are picked in proportion to their power (area times radiance), else a small lamp is mostly missed.
        corner = vertices[faces]
        area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum()
        radiance = [float(value) for value in part["radiance"]]
        props["emitter"] = mi.load_dict({"type": "area", "radiance": {"type": "rgb", "value": radiance},
                                         "sampling_weight": float(area * sum(radiance)) + 1e-6})
    has_uv = part.get("uv") is not None
    mesh = mi.Mesh(name, len(vertices), len(faces), has_vertex_normals=False, has_vertex_texcoords=has_uv, props=props)
    params = mi.traverse(mesh)
    params["vertex_positions"] = vertices.ravel()
    params["faces"] = faces.ravel()
    if has_uv:
        params["vertex_texcoords"] = np.ascontiguousarray(part["uv"], dtype=np.float32).ravel()
    params.update()
    return mesh


def build_scene(scene: Mapping[str, Any]) -> Any:
    """A Mitsuba scene from the dictionary described above. Raises RenderError when it holds nothing."""
    mi = mitsuba()
    if not scene.get("parts") and scene.get("sky") is None:
        raise RenderError("panorama scene: neither 'parts' nor 'sky' is given; give at least one of them")
    world: dict[str, Any] = {"type": "scene"}
    for index, part in enumerate(scene.get("parts", ())):
        world[f"part{index}"] = _mesh(mi, part, f"part{index}")
    if scene.get("sky") is not None:
        # A map that is black somewhere may divide by zero when it is importance-sampled.
        sky = np.maximum(np.ascontiguousarray(scene["sky"], dtype=np.float32), 1e-6)
        world["sky"] = {"type": "envmap", "bitmap": mi.Bitmap(sky)}
    if scene.get("sun") is not None:
        towards = [-float(value) for value in scene["sun"]["direction"]]
        irradiance = [float(value) for value in scene["sun"]["irradiance"]]
        world["sun"] = {"type": "directional", "direction": towards,
                        "irradiance": {"type": "rgb", "value": irradiance}}
    return mi.load_dict(world)


def _strata(spp: int) -> tuple[int, int]:
    """Rows and columns of sub-texels, as square as ``spp`` allows."""
    rows = next(r for r in range(int(math.isqrt(spp)), 0, -1) if spp % r == 0)
    return rows, spp // rows


def _rays(mi: Any, sampler: Any, origin: Sequence[float], shape: tuple[int, int, int]) -> Any:
    """One ray per sample, in the order (row, column, sample), jittered within its own part of the texel."""
    import drjit as dr

    height, width, spp = shape
    rows, columns = _strata(spp)
    index = dr.arange(mi.UInt32, height * width * spp)
    texel, sample = index // spp, index % spp
    jitter = sampler.next_2d()
    u = (mi.Float(texel % width) + (mi.Float(sample % columns) + jitter.x) / columns) / width
    v = (mi.Float(texel // width) + (mi.Float(sample // columns) + jitter.y) / rows) / height
    sin_u, cos_u = dr.sincos(2 * dr.pi * u)
    sin_v, cos_v = dr.sincos(dr.pi * v)
    direction = mi.Vector3f(sin_u * sin_v, cos_v, -cos_u * sin_v)
    return mi.RayDifferential3f(mi.Ray3f(mi.Point3f(*map(float, origin)), direction))


def splat_sun(panorama: EnvMap, direction: Sequence[float], irradiance: Sequence[float],
              visible: Sequence[bool] | Tensor | None = None) -> EnvMap:
    """Add the sun disc to the texels of a panorama (H, W, 3), keeping its irradiance (3,) exactly.

    ``visible``: for each direction of :func:`sun_directions`, whether it reaches the sun (None = all do).
    """
    height, width, _ = panorama.shape
    rays = sun_directions(direction)
    u, v = latlong.uv(rays)
    row = (v * height).long().clamp(0, height - 1)
    column = (u * width).long().clamp(0, width - 1)
    share = torch.ones(len(rays), device="cpu") if visible is None else torch.as_tensor(visible, device="cpu").float()
    per_ray = share / len(rays) / latlong.solid_angles(height, width)[row, 0]
    light = per_ray[:, None] * torch.as_tensor(irradiance, dtype=torch.float32, device="cpu")
    row, column, light = (x.to(panorama.device) for x in (row, column, light))
    return panorama.index_put((row, column), light, accumulate=True)


def sun_directions(direction: Sequence[float], count: int = _SUN_RAYS) -> Tensor:
    """(count, 3) unit vectors spread evenly over the solar disc around ``direction`` (a spiral of equal areas)."""
    axis = torch.nn.functional.normalize(torch.as_tensor(direction, dtype=torch.float64, device="cpu"), dim=0)
    helper = torch.tensor([1.0, 0, 0] if abs(axis[1]) > 0.9 else [0, 1.0, 0], dtype=torch.float64, device="cpu")
    side = torch.nn.functional.normalize(torch.linalg.cross(helper, axis), dim=0)
    up = torch.linalg.cross(axis, side)
    number = torch.arange(count, dtype=torch.float64, device="cpu")
    radius = ((number + 0.5) / count).sqrt() * math.tan(SUN_RADIUS_RAD)
    angle = number * math.pi * (3 - math.sqrt(5))
    spread = (radius * angle.cos())[:, None] * side + (radius * angle.sin())[:, None] * up
    return torch.nn.functional.normalize(axis + spread, dim=1).float()


def _unoccluded(mi: Any, world: Any, origin: Sequence[float], rays: Tensor) -> Tensor:
    """(N,) bool: rays from ``origin`` that leave the scene."""
    towards = mi.Vector3f(to_drjit(rays.T))
    hit = world.ray_test(mi.Ray3f(mi.Point3f(*map(float, origin)), towards))
    return flags(hit) == 0


def trace_panorama(scene: Mapping[str, Any], position: Sequence[float], size: tuple[int, int], spp: int = 64,
                   depth: int = 5, seed: int = 0) -> EnvMap:
    """Radiance (H, W, 3) float32 seen from ``position`` (metres) in every direction; convention of dipir/arrays.py.

    size : (H, W);  spp : samples per texel, stratified;  depth : longest path, 1 = only what emits.  The sun is
    unclipped up to 1e6. On the run's device. Surfaces are denoised within their Monte Carlo error;
    lights and sky are left as traced. Raises RenderError for an empty scene and for a result that is not finite.
    """
    mi = mitsuba()
    import drjit as dr

    (height, width), world = size, build_scene(scene)
    integrator = mi.load_dict({"type": "path", "max_depth": int(depth), "rr_depth": 1000})
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(int(seed), height * width * spp)
    color, _, _ = integrator.sample(world, sampler, _rays(mi, sampler, position, (height, width, spp)))
    # All channels in one kernel: reading them one by one would trace the scene three times.
    dr.eval(color)
    samples = columns(color, 3).reshape(height, width, spp, 3)
    if not torch.isfinite(samples).all():
        raise RenderError(f"panorama with seed {seed} is not finite; "
                          "check textures, radiance and vertices of the scene")
    panorama, error = samples.mean(2), (samples.mean(-1).var(2, correction=0) / max(spp - 1, 1)).sqrt()
    surface = _first_hit(mi, world, position, height, width)
    panorama = denoise_panorama(remove_fireflies(panorama, error, surface.light), error, surface)
    sun = scene.get("sun")
    if sun is not None:
        visible = _unoccluded(mi, world, position, sun_directions(sun["direction"]))
        panorama = splat_sun(panorama, sun["direction"], sun["irradiance"], visible)
    return panorama.clamp(0, MAX_RADIANCE)


def _first_hit(mi: Any, world: Any, origin: Sequence[float], height: int, width: int) -> Surface:
    import drjit as dr

    offset = torch.tensor([0.25, 0.75], device="cpu")
    v = ((torch.arange(height, device="cpu")[:, None] + offset) / height * math.pi).reshape(-1)
    u = ((torch.arange(width, device="cpu")[:, None] + offset) / width * 2 * math.pi).reshape(-1)
    v, u = torch.meshgrid(v, u, indexing="ij")
    rays = torch.stack([u.sin() * v.sin(), v.cos(), -u.cos() * v.sin()], -1).reshape(-1, 3)
    towards = mi.Vector3f(to_drjit(rays.T))
    hit = world.ray_intersect(mi.Ray3f(mi.Point3f(*map(float, origin)), towards))
    valid = hit.is_valid()
    light = (hit.emitter(world) != None) | ~valid  # noqa: E711  # compares Dr.Jit pointers per lane
    albedo = dr.select(valid, hit.bsdf().eval_diffuse_reflectance(hit, valid), 0)
    normal, point = dr.select(valid, hit.n, 0), dr.select(valid, hit.p, 0)
    dr.eval(light, albedo, normal, point)

    def mean(vector: Any) -> Tensor:
        return columns(vector, 3).reshape(height, 2, width, 2, 3).mean((1, 3))
    lit = (flags(light) > 0).reshape(height, 2, width, 2).any(3).any(1)
    return Surface(lit, mean(albedo), mean(normal), mean(point))
