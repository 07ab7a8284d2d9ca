"""The proxy passes of the path tracer: direct light on a white diffuse catcher, with and without the objects.

The objects are invisible to the camera but not to shadow rays, and both passes share their random numbers, so that the
noise cancels in the ratio. Pixels that the objects cannot darken visibly are not traced: their ratio is 1 exactly.
"""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap, split_seed
from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, columns, flags, padded_envmap, to_drjit, to_index, to_torch
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.rays import (
    camera_ray,
    offset_origin,
    pixel_position,
    proxy_hit,
    proxy_visible,
    stratified_sampler,
    transmittance,
)
from dipir.scene.camera import Camera

NEGLIGIBLE = 0.001  # A quarter of an 8-bit step at mid grey.
_WAVEFRONT = 2**23  # Samples in flight; each holds two shadow rays and two light lookups.
_COARSE = (32, 64)


@dataclass(frozen=True)
class Ground:
    """Where the pixel centres meet the proxy. valid : (pixels,) bool;  point, normal : (pixels, 3) float32;
    cover : (pixels,) share of the pixel that the proxy covers;  flat : it is the plane, with one normal"""

    valid: Tensor
    point: Tensor
    normal: Tensor
    cover: Tensor
    flat: bool

    @staticmethod
    def of(built: BuiltScene, camera: Camera, cover: Tensor) -> Ground:
        """Trace one ray a pixel; ``cover`` (1, 1, H, W) as in the G-buffers."""
        mi = mitsuba()
        count = camera.width * camera.height
        ray = camera_ray(camera, *pixel_position(camera, dr.arange(mi.UInt32, count), 0.5, 0.5))
        valid, point, normal = proxy_hit(built, camera, ray)
        # Broadcast first: the plane's normal is one literal.
        normal = mi.Normal3f(normal) + dr.zeros(mi.Normal3f, count)
        dr.eval(valid, point, normal)
        return Ground(flags(valid) > 0, columns(mi.Vector3f(point), 3), columns(mi.Vector3f(normal), 3),
                      cover.flatten(), built.proxy is None)


def proxy_passes(built: BuiltScene, camera: Camera, ground: Ground, radiance: EnvMap, *, seed: int,
                 spp: int) -> tuple[Tensor, Tensor]:
    """(lit, shadowed), each (1, 3, H, W), differentiable in the map (H, W, 3). RenderError on NaN or infinity."""
    irradiance = unshadowed(ground, radiance)
    traced = darkened(built, camera, ground, radiance.detach())
    lit = shadowed = irradiance
    if len(traced):
        pair = _Trace.apply((built, camera, traced), split_seed(seed, "proxy"), spp, padded_envmap(radiance))
        lit, shadowed = (irradiance.index_put((traced,), check_finite("proxy pass", p)) for p in pair)
    image = lambda flat: flat.T.reshape(1, 3, camera.height, camera.width)
    return check_finite("proxy pass", image(lit)), image(shadowed)


def unshadowed(ground: Ground, radiance: EnvMap) -> Tensor:
    """(pixels, 3): integral of L cos / pi over the sky of each pixel, without occlusion, on a coarse map."""
    texels, weight = _texels(radiance.device)
    flat = _coarse(radiance).reshape(-1, 3)
    index = ground.valid.nonzero()[:, 0]
    if ground.flat:
        # One normal, one row for all its pixels, and its weights are known exactly.
        rows = latlong.plane_weights(*_COARSE, device=flat.device).reshape(1, -1) @ flat
    else:
        arriving = flat * weight[:, None] / torch.pi
        rows = torch.cat([(n @ texels.T).clamp_min(0) @ arriving for n in ground.normal[index].split(16384)])
    return flat.new_zeros(len(ground.valid), 3).index_put((index,), rows * ground.cover[index, None])


@torch.no_grad()
def darkened(built: BuiltScene, camera: Camera, ground: Ground, radiance: EnvMap) -> Tensor:
    """Flat indices of pixels that an object's bounding sphere could darken by more than NEGLIGIBLE: the light within
    its cone, as a share of all the light there. Judged on every few pixels, with the neighbours kept as well."""
    height, width = camera.height, camera.width
    step = max(1, max(height, width) // 96)
    rows, cols = torch.meshgrid(torch.arange(step // 2, height, step, device=radiance.device),
                                torch.arange(step // 2, width, step, device=radiance.device), indexing="ij")
    index = (rows * width + cols).flatten()
    texels, weight = _texels(radiance.device)
    light = _coarse(radiance).mean(-1).reshape(-1) * weight
    arriving = (ground.normal[index] @ texels.T).clamp_min(0) * light
    share = sum(((arriving * _in_cone(ground.point[index], sphere, texels)).sum(1) for sphere in built.spheres),
                arriving.new_zeros(len(index))) / arriving.sum(1).clamp_min(1e-12)
    near = ((share > NEGLIGIBLE) & ground.valid[index]).float().reshape(1, 1, *rows.shape)
    grown = torch.nn.functional.max_pool2d(near, 3, 1, 1)
    whole = grown.repeat_interleave(step, 2).repeat_interleave(step, 3)
    missing = (0, max(0, width - whole.shape[3]), 0, max(0, height - whole.shape[2]))
    whole = torch.nn.functional.pad(whole, missing, mode="replicate")
    return (whole[0, 0, :height, :width].flatten() > 0).nonzero()[:, 0]


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


# ----------------------------------------------------------------------------------------------- Dr.Jit side
def _estimate(built: BuiltScene, camera: Camera, pixels: Tensor, spp: int, seed: int):
    """(lit, shadowed) of the listed pixels: one light and one BSDF sample a camera sample, power heuristic; attached
    to the environment's texels only through its radiance."""
    mi = mitsuba()
    env = built.objects.environment()
    count = len(pixels) * spp
    pixel = dr.gather(mi.UInt32, to_index(pixels),
                      dr.arange(mi.UInt32, count) // dr.opaque(mi.UInt32, spp))
    sampler = stratified_sampler(spp, split_seed(seed, int(pixels[0])), len(pixels))
    jitter = sampler.next_2d()
    ray = camera_ray(camera, *pixel_position(camera, pixel, jitter.x, jitter.y))
    valid, point, normal = proxy_hit(built, camera, ray)
    it = dr.zeros(mi.SurfaceInteraction3f, count)
    it.p, it.n, it.sh_frame = point, normal, mi.Frame3f(normal)
    origin = offset_origin(point, normal, built.radius)

    def contribution(direction, weight, active):
        lookup = dr.zeros(mi.SurfaceInteraction3f, count)
        lookup.wi = -direction
        shadow_ray = mi.Ray3f(origin, direction)
        weight = weight * dr.maximum(dr.dot(direction, normal), 0) * dr.inv_pi
        weight *= proxy_visible(built, shadow_ray, active)
        free = transmittance(built, shadow_ray, active & (weight > 0))
        value = dr.select(active, env.eval(lookup) * weight, 0)
        return value, value * free

    # ---------------------- Light sample ----------------------
    with dr.suspend_grad():
        ds, _ = env.sample_direction(it, sampler.next_2d(), valid)
        cosine = dr.maximum(dr.dot(ds.d, normal), 0)
        usable = valid & (cosine > 0) & (ds.pdf > 0)
        weight_light = dr.select(usable, ds.pdf / (ds.pdf**2 + (cosine * dr.inv_pi) ** 2), 0)
    # ------------------ BSDF sample (cosine) ------------------
    with dr.suspend_grad():
        local = mi.warp.square_to_cosine_hemisphere(sampler.next_2d())
        direction = mi.Frame3f(normal).to_world(local)
        pdf = local.z * dr.inv_pi
        other = dr.zeros(mi.DirectionSample3f, count)
        other.d = direction
        pdf_light = env.pdf_direction(it, other, valid)
        weight_bsdf = dr.select(valid & (pdf > 0), pdf / (pdf**2 + pdf_light**2), 0)
    pairs = zip(contribution(ds.d, weight_light, usable), contribution(direction, weight_bsdf, valid), strict=True)
    return [mi.Color3f(*[dr.block_sum(channel, spp) / spp for channel in mi.Color3f(a + b)]) for a, b in pairs]


def _set_environment(built: BuiltScene, environment: Tensor):
    """Write a padded map into the scene; returns the Dr.Jit tensor."""
    array = to_drjit(environment)
    built.params["environment.data"] = array
    built.params.update()
    return array


class _Trace(torch.autograd.Function):
    """Environment tensor in, lit and shadowed (pixels, 3) out; exact gradient of the very estimate."""

    @staticmethod
    def forward(ctx, what, seed: int, spp: int, environment):
        ctx.what, ctx.seed, ctx.spp = what, seed, spp
        ctx.save_for_backward(environment)
        built, camera, pixels = what
        _set_environment(built, environment)
        pieces = []
        for run in pixels.split(max(1, _WAVEFRONT // spp)):
            pair = _estimate(built, camera, run, spp, seed)
            dr.eval(pair)
            pieces.append([columns(v, 3) for v in pair])
        return tuple(torch.cat([p[k] for p in pieces]) for k in range(2))

    @staticmethod
    def backward(ctx, *grads):
        mi = mitsuba()
        (environment,) = ctx.saved_tensors
        built, camera, pixels = ctx.what
        total = torch.zeros_like(environment)
        size = max(1, _WAVEFRONT // ctx.spp)
        for run, *g in zip(pixels.split(size), *(g.contiguous().split(size) for g in grads), strict=True):
            data = to_drjit(environment)
            dr.enable_grad(data)
            built.params["environment.data"] = data
            built.params.update()
            pair = _estimate(built, camera, run, ctx.spp, ctx.seed)
            weights = [dr.unravel(mi.Color3f, to_drjit(x).array) for x in g]
            dr.backward(dr.sum(dr.dot(pair[0], weights[0]) + dr.dot(pair[1], weights[1])))
            total += to_torch(dr.grad(data))
        _set_environment(built, environment)
        return None, None, None, total
