"""A lamp's direct light on objects and ground in milliseconds, for a person who drags it.

What the lamp does not change is traced once (``hits``). A new direction takes one BSDF evaluation and one shadow ray
for each sample of the lamp's disc, joined with a BSDF sample by the balance heuristic, so that mirrors see the disc.
Tracing the Python code of that would take longer than running it: Dr.Jit records the kernels at the first lamp and
plays them back (``dr.freeze``). Random numbers are those of the pixel and never of the lamp: grain stands still.
"""
from __future__ import annotations

import gc
import math
from dataclasses import dataclass, replace

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, to_torch
from dipir.render.light.hits import GroundHits, ObjectHits
from dipir.render.light.sky import DiscSky, disc_direction
from dipir.render.mitsuba_scene import BuiltScene, put
from dipir.render.rays import opaque, proxy_visible, transmittance
from dipir.render.transport import SourceColumn
from dipir.render.transport_record import Recorder, TransportSettings
from dipir.scene.camera import Camera
from dipir.scene.source import Source

_STEP_RAD, _MOST = 0.03, 10  # A sample of the lamp for so much of its radius, at most so many a camera sample.
_R2 = (0.7548776662466927, 0.5698402909980532)  # The plane's most evenly spread additive sequence.


class LampLight:
    """One scene, one camera, any lamp. Made once; a thread of its own must own it, as everything of Dr.Jit."""

    def __init__(self, built: BuiltScene, camera: Camera, settings: TransportSettings | None = None):
        """settings : ``samples`` and ``seed`` of the transport that it belongs to, so that coverage agrees; the others
        are those of :meth:`full`."""
        self.built, self.camera, self.settings = built, camera, settings or TransportSettings()
        self.objects = ObjectHits.trace(built, camera, self.settings)
        self.ground = GroundHits.trace(built, camera, self.settings)
        self._seed = dr.opaque(mitsuba().UInt32, split_seed(self.settings.seed, "lamp"))
        spheres = built.spheres if len(built.spheres) <= 4 else ((built.center, built.radius),)
        self._spheres = [(mitsuba().Point3f(*opaque(*centre)), opaque((1.001 * radius) ** 2))
                         for centre, radius in spheres]
        self._shine = _PlayedBack(_shine(self.objects.lanes, built.masked))
        self._shadow = _PlayedBack(_shadow(self.ground.lanes, built.masked))

    def direct(self, source: Source) -> SourceColumn:
        """What ``source`` adds per unit of its irradiance, the light that comes straight from it. Its strength does not
        matter. Wide lamps are an even disc and take more samples. RenderError when a value is NaN or infinite."""
        put(self.built)
        return SourceColumn(source, self._shone(source), *self._cast(source))

    def full(self, source: Source) -> SourceColumn:
        """The same with all bounces between objects up to the settings' depth, as noisy as ``bsdf_samples`` makes it:
        a second look for when the lamp rests."""
        put(self.built)
        sky = DiscSky(source.direction, source.disc_rad)
        object_map, _ = Recorder(self.built, self.camera, replace(self.settings, light_samples=1), sky).object_map()
        object_map = check_finite("object under the lamp", object_map[..., 0]) / sky.steradian
        return SourceColumn(source, object_map, *self._cast(source))

    # ------------------------------------------------ object ------------------------------------------------
    def _shone(self, source: Source) -> Tensor:
        """(P, 3) on the objects."""
        hits = self.objects
        if not len(hits.pixels):
            return torch.zeros(0, 3, device=hits.pixels.device)
        disc = _Disc.of(source)
        sums = self._shine(self.built.objects, hits.si, hits.weight, (hits.slot, hits.lane, self._seed),
                           (disc.axis, disc.rise, disc.count))
        dr.eval(sums)
        return check_finite("object under the lamp", torch.stack([to_torch(c) for c in sums], 1) / hits.lanes)

    # ------------------------------------------------ ground ------------------------------------------------
    def _cast(self, source: Source) -> tuple[Tensor, Tensor, Tensor]:
        """(blocked (G,), pixels (G,), lit) of :class:`SourceColumn`."""
        hits, disc = self.ground, _Disc.of(source)
        plane = hits.normal is None
        if plane and disc.above == 0:
            none = torch.zeros(1, device=self.objects.pixels.device)
            return none[:0], none[:0].long(), none
        blocked, lit = self._shadow((self.built.objects, self.built.proxy), hits.origin, hits.normal,
                                    (hits.slot, hits.lane, self._seed, hits.valid), self._spheres,
                                    (disc.axis, disc.rise, disc.count))
        dr.eval(blocked, lit)
        scale = (disc.above if plane else 1.0) / (math.pi * hits.lanes)
        blocked = check_finite("shadow of the lamp", to_torch(blocked)) * scale
        pixels = blocked.nonzero()[:, 0]
        lit = blocked.new_tensor([disc.above / math.pi]) if plane else to_torch(lit) * scale
        return blocked[pixels], pixels, lit


@dataclass(frozen=True)
class _Disc:
    """An even disc, in numbers for a kernel."""

    axis: object
    rise: object
    """1 - cos of its radius."""
    count: object
    """Samples of it."""
    above: float
    """Mean cosine to the vertical of what is above the horizon."""

    @staticmethod
    def of(source: Source) -> _Disc:
        mi = mitsuba()
        radius = min(source.disc_rad, math.pi)
        axis = source.direction.detach().double().cpu().numpy()
        rise = 2 * math.sin(radius / 2) ** 2
        count = min(_MOST, max(1, math.ceil(radius / _STEP_RAD)))
        return _Disc(mi.Vector3f(*opaque(*axis)), opaque(rise), dr.opaque(mi.UInt32, count), _above(axis, radius))


def _above(axis: np.ndarray, radius: float, points: int = 1024) -> float:
    """Mean of max(y, 0) over the disc: closed where no part of it is below the horizon, else by points of it."""
    if math.asin(min(1.0, max(-1.0, axis[1]))) >= min(radius, math.pi / 2):
        return float(axis[1] * (1 + math.cos(radius)) / 2)
    u, turn = (np.arange(1, points + 1)[:, None] * np.array(_R2) % 1.0).T
    cosine = 1 - u * 2 * math.sin(radius / 2) ** 2
    level = math.sqrt(max(0.0, 1 - axis[1] ** 2))
    height = cosine * axis[1] + np.sqrt(1 - cosine**2) * level * np.cos(2 * math.pi * turn)
    return float(height.clip(0).mean())


@dataclass(frozen=True)
class _Meshes:
    """Of a loaded scene what shadow rays meet."""

    objects: object
    proxy: object | None
    masked: bool


class _PlayedBack:
    """A function recorded by Dr.Jit at its first call; traced every time where that cannot be done (``able``)."""

    def __init__(self, traced):
        self.traced, self.frozen, self.able = traced, dr.freeze(traced, limit=1, warn_after=10**6), True

    def __call__(self, *arguments):
        # A scene that Python happens to give back meanwhile would abort the process.
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._called(*arguments)
        finally:
            if collects:
                gc.enable()

    def _called(self, *arguments):
        if self.able:
            try:
                return self.frozen(*arguments)
            except RuntimeError:
                self.able = False
        return self.traced(*arguments)


def _shine(lanes: int, masked: bool):
    """-> function that gives [r, g, b], sums over the hits of each pixel."""
    def traced(objects, si, weight, numbers, disc):
        value = _reflected(_Meshes(objects, None, masked), si, numbers, disc) * weight
        # In one kernel: each sum would run all of the above once more.
        dr.eval(value)
        return [dr.block_sum(channel, lanes) for channel in value]
    return traced


def _shadow(lanes: int, masked: bool):
    """-> function that gives (blocked, lit), sums over the samples of each pixel, times pi; on the plane (normal None)
    the first as a share of the lamp's light there, and no second."""
    def traced(scenes, origin, normal, numbers, spheres, disc):
        hidden, lit = _hidden(_Meshes(*scenes, masked), origin, normal, numbers, spheres, disc)
        if normal is None:
            # Of the light of the same samples, so that an umbra is exactly dark.
            return dr.block_sum(dr.select(lit > 0, hidden / lit, 0), lanes), None
        dr.eval(hidden, lit)
        return dr.block_sum(hidden, lanes), dr.block_sum(lit, lanes)
    return traced


def _jitter(slot, number, seed):
    """Number ``number`` of an evenly spread sequence, shifted for each pixel."""
    mi = mitsuba()
    number = mi.Float(number + 1)
    x, y = (mi.sample_tea_float32(slot, seed + k) + number * step for k, step in enumerate(_R2))
    return mi.Point2f(x - dr.floor(x), y - dr.floor(y))


@dr.syntax
def _reflected(built, si, numbers, disc):
    """Radiance towards the camera under a disc of irradiance 1, by samples of the disc and as many of the BSDF."""
    mi = mitsuba()
    slot, lane, seed = numbers
    axis, rise, count = disc
    total, j, ctx = mi.Color3f(0), mi.UInt32(0), mi.BSDFContext()
    density = dr.rcp(rise * (2 * np.pi))
    there = si.is_valid()
    while dr.hint(j < count, exclude=[built]):
        number = lane * count + j
        # ---- a direction of the disc ----
        direction = disc_direction(axis, rise, _jitter(slot, number, seed))
        value, pdf = si.bsdf().eval_pdf(ctx, si, si.to_local(direction), there)
        wanted = there & (dr.max(value) > 0)
        free = transmittance(built, si.spawn_ray(direction), wanted)
        total += dr.select(wanted, value * free * (density / (density + pdf)), 0)
        # ---- a direction of the BSDF ----
        choice = mi.sample_tea_float32(slot, seed + 7 + number)
        sample, value = si.bsdf().sample(ctx, si, choice, _jitter(slot, number, seed + 3), there)
        direction = si.to_world(sample.wo)
        found = dr.squared_norm(direction - axis) <= 2 * rise
        wanted = there & found & (sample.pdf > 0) & ~mi.has_flag(sample.sampled_type, mi.BSDFFlags.Null)
        free = transmittance(built, si.spawn_ray(direction), wanted)
        total += dr.select(wanted, value * free * (density * sample.pdf / (density + sample.pdf)), 0)
        j += 1
    return total / mi.Float(count)


@dr.syntax
def _hidden(built, origin, normal, numbers, spheres, disc):
    """(hidden, free of objects): mean cosine of the disc's directions, those that objects hide and all."""
    mi = mitsuba()
    slot, lane, seed, valid = numbers
    axis, rise, count = disc
    hidden, lit, j = mi.Float(0), mi.Float(0), mi.UInt32(0)
    while dr.hint(j < count, exclude=[built]):
        direction = disc_direction(axis, rise, _jitter(slot, lane * count + j, seed))
        ray = mi.Ray3f(origin, direction)
        cosine = dr.maximum(direction.y if dr.hint(normal is None, mode="scalar") else dr.dot(direction, normal), 0)
        cosine = dr.select(valid, cosine, 0)
        cosine *= proxy_visible(built, ray, cosine > 0)
        near = (cosine > 0) & _may_hit(spheres, ray)
        lit += cosine
        hidden += dr.select(near, cosine * (1 - transmittance(built, ray, near)), 0)
        j += 1
    return hidden / mi.Float(count), lit / mi.Float(count)


def _may_hit(spheres, ray):
    """Whether a ray meets one of the spheres (centre, squared radius) around objects."""
    met = mitsuba().Bool(False)
    for centre, radius2 in spheres:
        towards = centre - ray.o
        along = dr.dot(towards, ray.d)
        distance2 = dr.squared_norm(towards)
        met |= (distance2 < radius2) | ((along > 0) & (distance2 - along * along < radius2))
    return met
