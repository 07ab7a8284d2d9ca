"""What no lamp changes: where camera rays meet the objects and the ground, kept on the renderer's side. Dr.Jit code."""
from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
from torch import Tensor

from dipir.arrays import split_seed
from dipir.render.backend import mitsuba
from dipir.render.bridge import to_array, to_index
from dipir.render.gbuffer import PixelBox, touched_pixels
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.rays import camera_ray, first_hit, offset_origin, pixel_position, proxy_hit, stratified_offsets
from dipir.render.transport_record import TransportSettings
from dipir.scene.camera import Camera

_DRAWS = 4  # Times that each camera sample draws what it meets, where cut-outs and translucent parts leave a choice.


@dataclass(frozen=True)
class ObjectHits:
    """First hits of the camera samples on the objects, ``lanes`` of a pixel beside each other; None for no pixels."""

    pixels: Tensor
    """(P,) flat indices of the pixels that the objects touch."""
    lanes: int
    """Hits of a pixel."""
    slot: object
    """Dr.Jit, the number of a hit's pixel in ``pixels``."""
    lane: object
    """Dr.Jit, 0 ... lanes - 1 within the pixel."""
    si: object
    """Dr.Jit surface interactions, invalid where a ray meets nothing."""
    weight: object
    """Dr.Jit, corrects what the BSDF of a cut-out says."""

    @staticmethod
    def trace(built: BuiltScene, camera: Camera, settings: TransportSettings) -> ObjectHits:
        """With the camera samples of ``Transport.record``."""
        mi = mitsuba()
        offsets = stratified_offsets(settings.samples, settings.seed)
        pixels = touched_pixels(built, camera, offsets, PixelBox.of_objects(built, camera))
        lanes = settings.samples * (_DRAWS if built.masked else 1)
        count = len(pixels) * lanes
        if not count:
            return ObjectHits(pixels, lanes, *[None] * 4)
        slot, lane = _lanes(count, lanes)
        sample = lane % dr.opaque(mi.UInt32, settings.samples)
        ray = _ray(camera, offsets, dr.gather(mi.UInt32, to_index(pixels), slot), sample)
        sampler = mi.load_dict({"type": "independent"})
        sampler.seed(split_seed(settings.seed, "lamp hits"), count)
        si, weight = first_hit(built, ray, sampler)
        weight = mi.Float(weight) + dr.zeros(mi.Float, count)
        dr.eval(si, weight)
        return ObjectHits(pixels, lanes, slot, lane, si, weight)


@dataclass(frozen=True)
class GroundHits:
    """Where all camera samples meet the proxy, ``lanes`` of a pixel beside each other."""

    lanes: int
    slot: object
    """Dr.Jit, flat index of a hit's pixel."""
    lane: object
    """Dr.Jit, 0 ... lanes - 1 within the pixel."""
    valid: object
    """Dr.Jit, whether the ray meets the proxy at all."""
    origin: object
    """Dr.Jit, start of a shadow ray."""
    normal: object
    """Dr.Jit, towards the camera; None for the level plane."""

    @staticmethod
    def trace(built: BuiltScene, camera: Camera, settings: TransportSettings) -> GroundHits:
        """With the camera samples of ``Transport.record``."""
        mi = mitsuba()
        lanes = settings.samples
        slot, lane = _lanes(camera.width * camera.height * lanes, lanes)
        ray = _ray(camera, stratified_offsets(lanes, settings.seed), slot, lane)
        valid, point, normal = proxy_hit(built, camera, ray)
        origin = mi.Point3f(offset_origin(point, normal, built.radius))
        normal = None if built.proxy is None else mi.Normal3f(normal)
        valid = mi.Bool(valid)
        dr.eval(valid, origin, normal)
        return GroundHits(lanes, slot, lane, valid, origin, normal)


def _lanes(count: int, lanes: int):
    """(slot, lane) of ``count`` hits, in memory: computed in the kernel they would have to be sized anew."""
    mi = mitsuba()
    index, width = dr.arange(mi.UInt32, count), dr.opaque(mi.UInt32, lanes)
    slot, lane = index // width, index % width
    dr.eval(slot, lane)
    return slot, lane


def _ray(camera: Camera, offsets, pixel, sample):
    """Camera rays of stratified ``offsets`` (n, 2), number ``sample`` of each ``pixel``."""
    mi = mitsuba()
    ox, oy = (dr.gather(mi.Float, to_array(offsets[:, axis]), sample) for axis in (0, 1))
    return camera_ray(camera, *pixel_position(camera, pixel, ox, oy))
