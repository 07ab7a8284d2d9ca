"""Recording of light transport: the Dr.Jit side of ``transport``, which has the formulae and the strategy."""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.event import between_pieces
from dipir.render.backend import mitsuba
from dipir.render.bridge import to_array, to_index, to_torch
from dipir.render.gbuffer import PixelBox, touched_pixels
from dipir.render.light.sky import DiscSky, TexelSky
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.rays import (
    camera_ray,
    first_hit,
    offset_origin,
    opaque,
    pixel_position,
    proxy_hit,
    proxy_visible,
    stratified_offsets,
    transmittance,
)
from dipir.scene.camera import Camera

_THREADS = 2**22  # Rays in flight while recording.
_STRIDE = 197  # A prime: coprime with every 2 H^2 that has no factor 197.


@dataclass(frozen=True)
class TransportSettings:
    """G-buffers use the same camera samples, so that colour and coverage agree."""

    env_height: int = 16  # rows of the environment, columns are twice as many; 16 = texels of 11.25 degrees
    samples: int = 8  # camera samples a pixel
    bsdf_samples: int = 8  # BSDF-guided paths a camera sample
    light_samples: int = 8  # directions sampled at each later vertex
    depth: int = 4  # longest path, 1 = direct light only
    seed: int = 0
    half: bool = False  # keep the maps in bfloat16 (products accumulate in float32)


def _add(target, value, index, active) -> None:
    """Scatter-add. Direct mode: the default one compiles the target's size into the kernel, a new one every scene."""
    dr.scatter_reduce(dr.ReduceOp.Add, target, value, index, active, mode=dr.ReduceMode.Direct)


def _texel_start(slot, bounce: int, seed: int):
    """A random texel offset for each pixel slot and bounce."""
    mi = mitsuba()
    first, _ = mi.sample_tea_32(slot, dr.opaque(mi.UInt32, split_seed(seed, "start", bounce)))
    return first >> 8


class Recorder:
    """Dr.Jit side of the recording, for the texels that the settings name or for another ``sky``."""

    def __init__(self, built: BuiltScene, camera: Camera, settings: TransportSettings,
                 sky: TexelSky | DiscSky | None = None):
        self.built, self.camera, self.settings = built, camera, settings
        self.sky = sky or TexelSky(settings.env_height)
        self.texels = self.sky.count

    def sampler(self, count: int, *names):
        """Independent sampler with a seed of its own."""
        sampler = mitsuba().load_dict({"type": "independent"})
        sampler.seed(split_seed(self.settings.seed, *names), count)
        return sampler

    # ------------------------------------------------ object ------------------------------------------------
    def object_map(self) -> tuple[Tensor, Tensor]:
        """((P, 3, J), (P,))."""
        region = PixelBox.of_objects(self.built, self.camera)
        offsets = stratified_offsets(self.settings.samples, self.settings.seed)
        pixels = touched_pixels(self.built, self.camera, offsets, region)
        maps = torch.zeros(len(pixels), 3, self.texels, device=pixels.device)
        s = self.settings
        chunk = max(1, _THREADS // (self.texels * s.samples))
        for first in range(0, len(pixels), chunk):
            maps[first:first + chunk] = self._object_chunk(pixels[first:first + chunk], first)
            between_pieces()
        return maps, pixels

    def _object_chunk(self, pixels: Tensor, tag: int) -> Tensor:
        """(P, 3, J) of some pixels."""
        mi = mitsuba()
        self._pixels = to_index(pixels)
        target = [dr.zeros(mi.Float, len(pixels) * self.texels) for _ in range(3)]
        self._direct(len(pixels), target, tag)
        self._paths(len(pixels), target, tag)
        return torch.stack([to_torch(t).reshape(len(pixels), self.texels) for t in target], 1)

    def _primary(self, sample_index, sampler):
        """First hit of camera sample ``sample_index`` = pixel * samples + s; (slot, si, mask weight, ray)."""
        mi = mitsuba()
        slot, s = sample_index // self.settings.samples, sample_index % self.settings.samples
        offsets = stratified_offsets(self.settings.samples, self.settings.seed)
        pixel = dr.gather(mi.UInt32, self._pixels, slot)
        ox = dr.gather(mi.Float, to_array(offsets[:, 0]), s)
        oy = dr.gather(mi.Float, to_array(offsets[:, 1]), s)
        ray = camera_ray(self.camera, *pixel_position(self.camera, pixel, ox, oy))
        si, weight = first_hit(self.built, ray, sampler)
        return slot, si, weight

    def _direct(self, pixels: int, target: list, tag: int) -> None:
        """One jittered direction in every texel, from the first hit of every camera sample."""
        mi = mitsuba()
        s = self.settings
        count = pixels * s.samples * self.texels
        index = dr.arange(mi.UInt32, count)
        sampler = self.sampler(count, "direct", tag)
        slot, si, weight = self._primary(index // self.texels, sampler)
        texel = index % self.texels
        direction = self.sky.direction(texel, sampler.next_2d())
        solid = self.sky.solid(texel)
        value, pdf = self._evaluate(si, direction, si.is_valid())
        weight *= dr.rcp(dr.rcp(solid) + s.bsdf_samples * pdf) / s.samples
        active = si.is_valid() & (dr.max(value) > 0)
        free = transmittance(self.built, si.spawn_ray(direction), active)
        for c in range(3):
            _add(target[c], value[c] * weight * free, slot * self.texels + texel, active)
        dr.eval(target)

    def _evaluate(self, si, direction, active):
        """BSDF times cosine, and its sampling density, towards a world direction."""
        mi = mitsuba()
        ctx = mi.BSDFContext()
        bsdf = si.bsdf()
        value, pdf = bsdf.eval_pdf(ctx, si, si.to_local(direction), active)
        return dr.select(active, value, 0), dr.select(active, pdf, 0)

    def _paths(self, pixels: int, target: list, tag: int) -> None:
        """BSDF-guided paths: escaping ones score their texel; at every later vertex a few uniform directions too."""
        mi = mitsuba()
        s = self.settings
        count = pixels * s.samples * s.bsdf_samples
        if count == 0:
            return
        index = dr.arange(mi.UInt32, count)
        sampler = self.sampler(count, "paths", tag)
        slot, si, weight = self._primary(index // s.bsdf_samples, sampler)
        throughput = mi.Color3f(weight / (s.samples * s.bsdf_samples))
        active = si.is_valid()
        for bounce in range(s.depth):
            if bounce > 0:
                self._light_samples(si, throughput, slot, target, sampler, active, bounce=bounce)
            sample, value = si.bsdf().sample(mi.BSDFContext(), si, sampler.next_1d(), sampler.next_2d(), active)
            passes_through = mi.has_flag(sample.sampled_type, mi.BSDFFlags.Null)
            if bounce == 0:
                # This hit counts as opaque; what is behind it is the plate's, by the coverage.
                active &= ~passes_through
            direction = si.to_world(sample.wo)
            throughput = throughput * dr.select(active & (sample.pdf > 0), value, 0)
            active &= dr.max(throughput) > 0
            texel, found = self.sky.find(direction)
            solid = self.sky.solid(texel)
            other = dr.rcp(solid) / s.bsdf_samples if bounce == 0 else s.light_samples / (self.texels * solid)
            share = dr.select(passes_through, 1, sample.pdf / (sample.pdf + other))
            onward = self.built.objects.ray_intersect(si.spawn_ray(direction), active)
            escaped = active & found & ~onward.is_valid()
            for c in range(3):
                _add(target[c], throughput[c] * share, slot * self.texels + texel, escaped)
            active &= onward.is_valid()
            si = onward
            dr.eval(target, si, throughput, active)

    def _light_samples(self, si, throughput, slot, target: list, sampler, active, *, bounce: int) -> None:
        """``light_samples`` texels from a later vertex, balanced against its one BSDF sample. The paths of a pixel
        step through all texels in turn (a stride coprime with their number, a random start a pixel), so that no texel
        is left to chance: chance would show as speckle under a small bright light."""
        mi = mitsuba()
        n = self.settings.light_samples
        start = _texel_start(slot, bounce, self.settings.seed)
        path = dr.arange(mi.UInt32, dr.width(slot)) % (self.settings.samples * self.settings.bsdf_samples)
        for k in range(n):
            texel = (start + (path * n + k) * _STRIDE) % self.texels
            direction = self.sky.direction(texel, sampler.next_2d())
            solid = self.sky.solid(texel)
            value, pdf = self._evaluate(si, direction, active)
            value = value * throughput * dr.rcp(n / (self.texels * solid) + pdf)
            wanted = active & (dr.max(value) > 0)
            free = transmittance(self.built, si.spawn_ray(direction), wanted)
            for c in range(3):
                _add(target[c], value[c] * free, slot * self.texels + texel, wanted)

    # ------------------------------------------------ proxy ------------------------------------------------
    def proxy_map(self, near: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """((G, J) blocked, (G,) pixels, lit): cosine / pi integrated over each texel, and the share the assets
        block. near : flat indices of the plane's only pixels that are looked at, ascending."""
        where = device.current().torch
        if near is None or self.built.proxy is not None:
            near = torch.arange(self.camera.width * self.camera.height, device=where)
        chunk = max(1, _THREADS // (self.texels * self.settings.samples))
        blocked, kept, lit = [near.new_zeros(0, self.texels, dtype=torch.float32)], [near[:0]], []
        for first, pixels in enumerate(near.split(chunk) if len(near) else ()):
            hidden, free = self._proxy_chunk(pixels, first * chunk)
            touched = (hidden > 0).any(1)
            blocked.append(hidden[touched])
            kept.append(pixels[touched])
            if self.built.proxy is not None:
                lit.append(free)
            between_pieces()
        lit_map = torch.cat(lit) if lit else self.sky.plane_weights().to(where, copy=True)
        return torch.cat(blocked), torch.cat(kept), lit_map

    def _proxy_chunk(self, pixels: Tensor, tag: int) -> tuple[Tensor, Tensor]:
        """(count, J) blocked and lit weights of some pixels."""
        mi = mitsuba()
        s, count = self.settings, len(pixels)
        n = count * s.samples * self.texels
        index = dr.arange(mi.UInt32, n)
        sampler = self.sampler(n, "proxy", tag)
        sample_index, texel = index // self.texels, index % self.texels
        # ---- where camera rays meet the proxy ----
        offsets = stratified_offsets(s.samples, s.seed)
        slot, k = sample_index // s.samples, sample_index % s.samples
        ox, oy = (dr.gather(mi.Float, to_array(offsets[:, axis]), k) for axis in range(2))
        pixel = dr.gather(mi.UInt32, to_index(pixels), slot)
        ray = camera_ray(self.camera, *pixel_position(self.camera, pixel, ox, oy))
        valid, point, normal = proxy_hit(self.built, self.camera, ray)
        # ---- one direction in every texel: its weight, and whether an asset hides it ----
        direction = self.sky.direction(texel, sampler.next_2d())
        shadow_ray = mi.Ray3f(offset_origin(point, normal, self.built.radius), direction)
        solid = self.sky.solid(texel)
        if self.built.proxy is None:
            # The plane's weights are known exactly; only the blocked share is sampled.
            cosine = dr.gather(mi.Float, to_array(self.sky.plane_weights().numpy()), texel)
        else:
            cosine = dr.maximum(dr.dot(direction, normal), 0) * solid * dr.inv_pi
        weight = dr.select(valid, cosine, 0) / s.samples
        weight *= proxy_visible(self.built, shadow_ray, valid & (weight > 0))
        near = self._may_hit(shadow_ray) & (weight > 0)
        hidden = dr.select(near, 1 - transmittance(self.built, shadow_ray, near), 0)
        # ---- sums over the samples of each pixel ----
        target = [dr.zeros(mi.Float, count * self.texels) for _ in range(2)]
        where = slot * self.texels + texel
        _add(target[0], weight * hidden, where, near)
        if self.built.proxy is not None:
            _add(target[1], weight, where, weight > 0)
        dr.eval(target)
        return tuple(to_torch(t).reshape(count, self.texels) for t in target)

    def _may_hit(self, ray):
        """Whether a ray meets the bounding sphere of the assets (most do not, and tracing costs more)."""
        mi = mitsuba()
        to_center = mi.Point3f(*opaque(*self.built.center)) - ray.o
        along = dr.dot(to_center, ray.d)
        radius2 = opaque((1.001 * self.built.radius) ** 2)
        distance2 = dr.squared_norm(to_center)
        return (distance2 < radius2) | ((along > 0) & (distance2 - along * along < radius2))
