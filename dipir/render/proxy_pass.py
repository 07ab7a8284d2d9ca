"""The shadow on the proxy: how much of the direct light on a white diffuse catcher the objects block.

What is traced is the blocked light alone, with samples that can meet an object: one towards the light (by the map's
radiance) and one into the cone around an object's bounding sphere, joined by the power heuristic. The light without
objects comes from the same samples, so that in ``ratio = 1 - blocked / lit`` the noise of both cancels in an umbra; far
from it only the blocked light has any. The objects are invisible to the camera. Where samples are spent:
``proxy_sites``.
"""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap, split_seed
from dipir.event import between_pieces
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, columns, padded_envmap, to_drjit, to_index, to_torch
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.rays import (
    camera_ray,
    offset_origin,
    opaque,
    pixel_position,
    proxy_hit,
    proxy_visible,
    stratified_sampler,
    transmittance,
)
from dipir.scene.camera import Camera

_WAVEFRONT = 2**23  # Samples in flight; each holds two shadow rays and two light lookups.
_MOST_SPHERES = 4  # Cones; with more objects one cone holds them all.
_INSIDE = 1.05  # Nearer than this to a sphere's surface (in radii) the cone is the hemisphere.


@dataclass(frozen=True)
class Sites:
    """Squares of the picture that are sampled as one: single pixels, or the cells of a coarse pass."""

    corner: Tensor  # (n,) flat index of the upper left pixel
    side: int = 1  # pixels


@dataclass(frozen=True)
class Traced:
    """Means over each site's samples."""

    lit: Tensor  # (n, 3) light on the catcher without objects
    blocked: Tensor  # (n, 3) the part of it that they block

    @property
    def ratio(self) -> Tensor:
        """(n, 3) shadowed / lit in [0, 1], 1 where no light arrives."""
        some = self.lit > 0
        return torch.where(some, 1 - self.blocked / torch.where(some, self.lit, 1.0), 1.0).clamp_min(0)


def trace(built: BuiltScene, camera: Camera, sites: Sites, radiance: EnvMap, *, seed: int, spp: int) -> Traced:
    """Sample the sites; differentiable in the map (H, W, 3). RenderError on NaN or infinity."""
    rows = _Trace.apply((built, camera, sites), split_seed(seed, "proxy", sites.side), spp, padded_envmap(radiance))
    return Traced(*(check_finite("proxy pass", r) for r in rows))


# ----------------------------------------------------------------------------------------------- Dr.Jit side
def _estimate(built: BuiltScene, camera: Camera, sites: Sites, spp: int, seed: int):
    """(lit, blocked) of the sites: one light and one cone sample a camera sample, power heuristic; attached to
    the environment's texels only through its radiance."""
    mi = mitsuba()
    env = built.objects.environment()
    count = len(sites.corner) * spp
    pixel = dr.gather(mi.UInt32, to_index(sites.corner), dr.arange(mi.UInt32, count) // dr.opaque(mi.UInt32, spp))
    sampler = stratified_sampler(spp, split_seed(seed, int(sites.corner[0])), len(sites.corner))
    jitter = sampler.next_2d() * opaque(sites.side)
    ray = camera_ray(camera, *pixel_position(camera, pixel, jitter.x, jitter.y))
    valid, point, normal = proxy_hit(built, camera, ray)
    it = dr.zeros(mi.SurfaceInteraction3f, count)
    it.p, it.n, it.sh_frame = point, normal, mi.Frame3f(normal)
    origin = offset_origin(point, normal, built.radius)
    cones = [_Cone.towards(point, normal, *sphere) for sphere in _spheres(built)]

    def contribution(direction, weight, active):
        lookup = dr.zeros(mi.SurfaceInteraction3f, count)
        lookup.wi = -direction
        shadow_ray = mi.Ray3f(origin, direction)
        weight = weight * dr.maximum(dr.dot(direction, normal), 0) * dr.inv_pi
        weight *= proxy_visible(built, shadow_ray, active)
        near = active & (weight > 0) & (_pdf(cones, direction) > 0)
        hidden = dr.select(near, 1 - transmittance(built, shadow_ray, near), 0)
        value = dr.select(active, env.eval(lookup) * weight, 0)
        return value, value * hidden

    with dr.suspend_grad():
        # ------------------ Light sample ------------------
        ds, _ = env.sample_direction(it, sampler.next_2d(), valid)
        towards_light = ds.d
        usable = valid & (dr.dot(ds.d, normal) > 0) & (ds.pdf > 0)
        weight_light = dr.select(usable, ds.pdf / (ds.pdf**2 + _pdf(cones, ds.d) ** 2), 0)
        # ------------------ Cone sample -------------------
        direction = _sample(cones, sampler.next_1d(), sampler.next_2d())
        pdf = _pdf(cones, direction)
        other = dr.zeros(mi.DirectionSample3f, count)
        other.d = direction
        pdf_light = env.pdf_direction(it, other, valid)
        aimed = valid & (pdf > 0) & (dr.dot(direction, normal) > 0)
        weight_cone = dr.select(aimed, pdf / (pdf**2 + pdf_light**2), 0)
    pairs = zip(contribution(towards_light, weight_light, usable), contribution(direction, weight_cone, aimed),
                strict=True)
    lit, blocked = (mi.Color3f(a + b) for a, b in pairs)
    # In one kernel: each sum would run all of the above once more.
    dr.eval(lit, blocked)
    return [mi.Color3f(*[dr.block_sum(channel, spp) / spp for channel in colour]) for colour in (lit, blocked)]


@dataclass(frozen=True)
class _Cone:
    """Directions from the points to a sphere, sampled evenly; from inside it the hemisphere, by the cosine."""

    frame: object  # about the direction to the centre
    normal: object  # frame of the catcher
    cosine: object  # of the half angle
    inside: object  # points within the sphere (with some slack)

    @staticmethod
    def towards(point, normal, center: np.ndarray, radius: float) -> _Cone:
        mi = mitsuba()
        offset = mi.Point3f(*opaque(*center)) - point
        distance = dr.maximum(dr.norm(offset), 1e-6)
        size = opaque(radius)
        inside = distance < _INSIDE * size
        sine = dr.select(inside, 0, size / distance)
        return _Cone(mi.Frame3f(mi.Vector3f(offset / distance)), mi.Frame3f(normal), dr.safe_sqrt(1 - sine * sine),
                     inside)

    def sample(self, u):
        mi = mitsuba()
        around = self.frame.to_world(mi.warp.square_to_uniform_cone(u, self.cosine))
        return dr.select(self.inside, self.normal.to_world(mi.warp.square_to_cosine_hemisphere(u)), around)

    def pdf(self, direction):
        above = dr.maximum(dr.dot(direction, self.normal.n), 0) * dr.inv_pi
        # 1 - cos, without the loss of digits of a narrow cone.
        sine2 = dr.maximum(1 - self.cosine * self.cosine, 1e-12)
        even = dr.inv_two_pi * (1 + self.cosine) / sine2
        held = dr.dot(direction, self.frame.n) >= self.cosine - 1e-6
        return dr.select(self.inside, above, dr.select(held, even, 0))


def _spheres(built: BuiltScene) -> tuple[tuple[np.ndarray, float], ...]:
    if len(built.spheres) <= _MOST_SPHERES:
        return built.spheres
    return ((built.center, built.radius),)


def _sample(cones: list[_Cone], choice, u):
    """A direction of one of the cones, each as likely."""
    mi = mitsuba()
    direction = cones[0].sample(u)
    for k, cone in enumerate(cones[1:], 1):
        direction = dr.select(choice * len(cones) >= k, cone.sample(u), direction)
    return mi.Vector3f(direction)


def _pdf(cones: list[_Cone], direction):
    return sum(cone.pdf(direction) for cone in cones) / len(cones)


def _set_environment(built: BuiltScene, environment: Tensor):
    """Write a padded map into the scene; returns the Dr.Jit tensor."""
    array = to_drjit(environment)
    built.params["environment.data"] = array
    built.params.update()
    return array


class _Trace(torch.autograd.Function):
    """Environment tensor in, lit and blocked light of the sites out. The gradient is that of the estimate itself: the
    same samples are drawn again."""

    @staticmethod
    def forward(ctx, what, seed: int, spp: int, environment):
        ctx.what, ctx.seed, ctx.spp = what, seed, spp
        ctx.save_for_backward(environment)
        built, camera, sites = what
        _set_environment(built, environment)
        pieces = []
        for run in sites.corner.split(max(1, _WAVEFRONT // spp)):
            pair = _estimate(built, camera, Sites(run, sites.side), spp, seed)
            dr.eval(pair)
            pieces.append([columns(v, 3) for v in pair])
            between_pieces()
        return tuple(torch.cat([p[k] for p in pieces]) for k in range(2))

    @staticmethod
    def backward(ctx, grad_lit, grad_blocked):
        mi = mitsuba()
        (environment,) = ctx.saved_tensors
        built, camera, sites = ctx.what
        total = torch.zeros_like(environment)
        size = max(1, _WAVEFRONT // ctx.spp)
        runs = (t.contiguous().split(size) for t in (sites.corner, grad_lit, grad_blocked))
        for run, *grads in zip(*runs, strict=True):
            data = to_drjit(environment)
            dr.enable_grad(data)
            built.params["environment.data"] = data
            built.params.update()
            lit, blocked = _estimate(built, camera, Sites(run, sites.side), ctx.spp, ctx.seed)
            weights = [dr.unravel(mi.Color3f, to_drjit(g).array) for g in grads]
            dr.backward(dr.sum(dr.dot(lit, weights[0]) + dr.dot(blocked, weights[1])))
            total += to_torch(dr.grad(data))
        _set_environment(built, environment)
        return None, None, None, total
