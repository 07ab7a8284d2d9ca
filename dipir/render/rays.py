"""Primary rays, first hits through cut-outs, transmittance of shadow rays: shared by both renderers. Dr.Jit code."""
from __future__ import annotations

import math

import drjit as dr
import numpy as np

from dipir.render.backend import mitsuba
from dipir.render.mitsuba_scene import BuiltScene
from dipir.scene.camera import Camera

MAX_CUTOUTS = 8


def opaque(*values: float):
    """Numbers as Dr.Jit variables. A literal would be compiled into the kernel, so that every camera and every scene
    would compile its own (seconds each); these are arguments."""
    mi = mitsuba()
    made = [dr.opaque(mi.Float, float(v)) for v in values]
    return made[0] if len(made) == 1 else made


def camera_ray(camera: Camera, x, y):
    """World rays through pixel positions x, y (Dr.Jit floats, origin at the image corner)."""
    mi = mitsuba()
    cx, cy, inverse = opaque(camera.cx, camera.cy, 1 / camera.focal_px)
    local = mi.Vector3f((cx - x) * inverse, (cy - y) * inverse, 1.0)
    rotation = [opaque(*row) for row in camera.to_world[:3, :3]]
    rows = [sum(rotation[i][j] * local[j] for j in range(3)) for i in range(3)]
    return mi.Ray3f(mi.Point3f(*opaque(*camera.position)), dr.normalize(mi.Vector3f(*rows)))


def pixel_position(camera: Camera, pixel, dx, dy):
    """(x, y) of a flat pixel index plus an offset within the pixel."""
    mi = mitsuba()
    width = dr.opaque(mi.UInt32, camera.width)
    return mi.Float(pixel % width) + dx, mi.Float(pixel // width) + dy


def stratified_offsets(count: int, seed: int) -> np.ndarray:
    """(count, 2) jittered positions in [0, 1)^2 that cover the pixel evenly (R2 sequence with a random shift)."""
    g = 1.32471795724474602596
    shift = np.random.default_rng(seed).random(2)
    return ((np.arange(1, count + 1)[:, None] * np.array([1 / g, 1 / g**2]) + shift) % 1.0).astype(np.float32)


def opacity(si):
    """Opacity of the BSDF at a hit, [0, 1]."""
    mi = mitsuba()
    return 1 - mi.luminance(si.bsdf().eval_null_transmission(si))


def first_hit(built: BuiltScene, ray, sampler):
    """(si, weight): nearest surface that a random number accepts as opaque; ``weight`` = 1 / opacity there corrects
    BSDF values, which Mitsuba's mask scales by the opacity."""
    mi = mitsuba()
    si = built.objects.ray_intersect(ray)
    weight = mi.Float(1)
    if built.masked:
        # What is accepted once stays: asked again and again, a surface of opacity 0.5 would be there in one of 2^8.
        searching = mi.Bool(True)
        for _ in range(MAX_CUTOUTS):
            searching &= si.is_valid() & (sampler.next_1d() >= opacity(si))
            onward = si.spawn_ray(ray.d)
            ray = dr.select(searching, onward, ray)
            si = dr.select(searching, built.objects.ray_intersect(onward, searching), si)
        weight = dr.select(si.is_valid(), dr.rcp(dr.maximum(opacity(si), 1e-3)), 1)
    return si, weight


def transmittance(built: BuiltScene, ray, active):
    """Fraction of light that passes the assets along a ray, 1 = free; cut-outs let their share through."""
    mi = mitsuba()
    if not built.masked:
        return dr.select(built.objects.ray_test(ray, active), mi.Float(0), mi.Float(1))
    passed = mi.Float(1)
    active = mi.Bool(active)
    for _ in range(MAX_CUTOUTS):
        si = built.objects.ray_intersect(ray, active)
        active &= si.is_valid()
        passed = dr.select(active, passed * (1 - opacity(si)), passed)
        ray = dr.select(active, si.spawn_ray(ray.d), ray)
        active &= passed > 0
    return dr.select(active, 0, passed)


def proxy_hit(built: BuiltScene, camera: Camera, ray, far_m: float = 1e5):
    """(valid, point, normal): the proxy's first hit along camera rays; the ground plane y = 0 without a proxy mesh."""
    mi = mitsuba()
    if built.proxy is not None:
        si = built.proxy.ray_intersect(ray)
        normal = dr.select(dr.dot(si.n, ray.d) > 0, -si.n, si.n)
        return si.is_valid(), si.p, normal
    t = -ray.o.y / ray.d.y
    valid = (ray.d.y < 0) & (t > 0) & (t < far_m)
    return valid, ray(dr.select(valid, t, 0)), mi.Normal3f(0, 1, 0)


def proxy_visible(built: BuiltScene, ray, active):
    """1 where the proxy does not shadow itself along a ray (always, for the plane)."""
    mi = mitsuba()
    if built.proxy is None:
        return mi.Float(1)
    return dr.select(built.proxy.ray_test(ray, active), mi.Float(0), mi.Float(1))


def offset_origin(point, normal, scale: float):
    """Start of a ray that leaves a surface, lifted by 1e-4 of the scene's size (at least 0.01 mm)."""
    return point + normal * opaque(max(1e-5, 1e-4 * scale))


def stratified_sampler(spp: int, seed: int, pixels: int):
    """Random numbers for ``pixels`` x ``spp`` lanes, those of one pixel beside each other and spread evenly over every
    dimension pair: a (0, 2)-sequence (Kollig, Keller 2002) where ``spp`` is a power of two, correlated multi-jitter
    (Kensler 2013) where it is a product of two nearly equal numbers, independent otherwise."""
    rows = math.isqrt(spp)
    kind = "ldsampler" if spp & (spp - 1) == 0 else "multijitter" if rows * -(-spp // rows) == spp else "independent"
    sampler = mitsuba().load_dict({"type": kind, "sample_count": spp})
    if kind != "independent":
        sampler.set_samples_per_wavefront(spp)
    sampler.seed(seed, pixels * spp)
    return sampler
