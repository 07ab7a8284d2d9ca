"""Where light comes from, as numbers and as words.

Azimuth in degrees: 0 = from the camera, +90 = from the picture's right, 180 = from behind the subject. Elevation: 0 =
level, 90 = from above, -90 = from below. As a vector, seen from the camera: +x right, +y up, +z towards the camera.
"""
from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dipir.errors import ConfigError, SceneError, nearest
from dipir.scene.camera import Camera
from dipir.scene.proxy import Proxy, contact_point

HARD_DEG, NORMAL_DEG, SOFT_DEG = 4.0, 12.0, 35.0

_PLACES = {"left": (-90, 15), "right": (90, 15), "front": (0, 15), "behind": (180, 25), "above": (0, 90),
           "below": (0, -60), "upper left": (-60, 45), "upper right": (60, 45), "lower left": (-70, -35),
           "lower right": (70, -35), "front left": (-45, 20), "front right": (45, 20), "back left": (-135, 25),
           "back right": (135, 25), "rim": (160, 35), "sunset": (-80, 8), "noon": (20, 75)}
_SAME = {"top left": "upper left", "top right": "upper right", "bottom left": "lower left",
         "bottom right": "lower right", "top": "above", "overhead": "above", "bottom": "below", "underneath": "below",
         "back": "behind", "rear": "behind", "backlight": "behind", "backlit": "behind", "camera": "front",
         "sunrise": "sunset", "midday": "noon"}
_SIZES = {"soft": SOFT_DEG, "hard": HARD_DEG, "harsh": HARD_DEG, "diffuse": SOFT_DEG}
_OPPOSITE_COS = math.cos(math.radians(130))
_FILLERS = {"a", "an", "the", "light", "lit", "lighting", "lights", "from", "of", "with", "in", "at", "and", "side",
            "is", "strong", "coming", "sun", "sunlight", "to", "photo", "picture", "image", "by", "on", "it"}


@dataclass(frozen=True)
class LightDirection:
    """Where one light is, in degrees. ConfigError outside of the ranges below."""

    azimuth_deg: float  # [-180, 360]
    elevation_deg: float  # [-90, 90]
    size_deg: float = NORMAL_DEG  # [1, 60], half width of the light at half its brightness: small = hard shadows

    def __post_init__(self) -> None:
        given = f"direction {self.azimuth_deg:g},{self.elevation_deg:g} with size {self.size_deg:g}"
        accepted = ("accepted are azimuths from -180 to 360 degrees (0 = from the camera, 90 = from the picture's "
                    "right), elevations from -90 to 90 and sizes from 1 to 60.")
        if not (-180 <= self.azimuth_deg <= 360 and -90 <= self.elevation_deg <= 90 and 1 <= self.size_deg <= 60):
            raise ConfigError(f"{given}: out of range; {accepted}")

    @property
    def vector(self) -> Tensor:
        """(3,) float32 unit vector towards the light: +x the picture's right, +y up, +z towards the camera; on the
        CPU, as all that is made from what was typed."""
        return vector_of(self.azimuth_deg, self.elevation_deg)

    @property
    def numbers(self) -> Tensor:
        """(4,) what networks are told: the unit vector and log2(size / 12 degrees) / 2; on the CPU."""
        return torch.cat([self.vector, torch.tensor([math.log2(self.size_deg / NORMAL_DEG) / 2], device="cpu")])


def vector_of(azimuth_deg: float, elevation_deg: float) -> Tensor:
    """(3,) float32 unit vector of a direction in degrees, see :class:`LightDirection`; on the CPU."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)], device="cpu")


def sun_of_shadow(camera: Camera, foot: tuple[float, float], tip: tuple[float, float],
                  top: tuple[float, float] | None = None, proxy: Proxy = Proxy()) -> tuple[float, float | None]:
    """(azimuth, elevation) in degrees of the sun by a thing in the photo and its shadow, plate pixels (x, y).

    foot : where an upright thing touches the ground;  tip : where the shadow of its top falls on the ground;  top : its
    upper end, straight above the foot; without it the elevation is None. SceneError when a pixel shows no ground, the
    shadow has no length, or the top lies below the foot.
    """
    ground, end = contact_point(camera, foot, proxy), contact_point(camera, tip, proxy)
    away = ground - end
    length = float(np.hypot(away[0], away[2]))
    if length < 1e-3 * max(float(np.linalg.norm(ground - camera.position)), 1e-9):
        raise SceneError(f"the shadow from {foot[0]:g},{foot[1]:g} to {tip[0]:g},{tip[1]:g} has no length; draw from "
                         "the foot of the thing to the tip of its shadow.")
    azimuth = math.degrees(math.atan2(-away[0], -away[2]))
    if top is None:
        return azimuth, None
    # The point of the vertical line through the foot that comes nearest to the ray through the top.
    origin, ray = camera.position, camera.directions(np.array(top, dtype=float))
    level = np.array([ray[0], ray[2]])
    reach = float(np.array([ground[0] - origin[0], ground[2] - origin[2]]) @ level) / max(float(level @ level), 1e-12)
    height = float(origin[1] + reach * ray[1] - ground[1])
    if reach <= 0 or height <= 0:
        raise SceneError(f"the top {top[0]:g},{top[1]:g} does not lie above the foot {foot[0]:g},{foot[1]:g}; click "
                         "the upper end of the thing whose shadow it is.")
    return azimuth, math.degrees(math.atan2(height + float(ground[1] - end[1]), length))


def angles_of(vector: Tensor) -> tuple[float, float]:
    """(azimuth, elevation) in degrees of a vector (3,) of any length but 0: the inverse of :func:`vector_of`."""
    x, y, z = (vector.double() / vector.double().norm()).tolist()
    return math.degrees(math.atan2(x, z)), math.degrees(math.asin(max(-1.0, min(1.0, y))))


def side_of(azimuth_deg: float, elevation_deg: float) -> str:
    """The nearest of eight sides, "above" or "below": "the front right"."""
    if abs(elevation_deg) > 55:
        return "above" if elevation_deg > 0 else "below"
    sides = ("the front", "the front right", "the right", "the back right", "behind", "the back left", "the left",
             "the front left")
    return sides[round(azimuth_deg / 45) % 8]


def known_words() -> str:
    """The words that :func:`parse_words` knows, for error messages and help."""
    return ", ".join([*_PLACES, *_SAME, *_SIZES]) + "; or two numbers: azimuth,elevation in degrees"


def parse_words(text: str) -> LightDirection:
    """"light from the upper left", "soft rim light", "from the left and above", "30,45": a direction. Several places
    are averaged as vectors. ConfigError for words it does not know, or for no direction at all."""
    numbers = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)", text)
    words = re.findall(r"[a-z]+", text.lower())
    places, size, unknown = [], NORMAL_DEG, []
    while words:
        pair, word = " ".join(words[:2]), words[0]
        known = pair if pair in _PLACES or pair in _SAME else word
        if known in _PLACES or known in _SAME:
            places.append(_PLACES[_SAME.get(known, known)])
        elif word in _SIZES:
            size = _SIZES[word]
        elif word not in _FILLERS | {"azimuth", "elevation", "degrees", "deg"}:
            unknown.append(word)
        words = words[len(known.split()):]
    if unknown:
        raise ConfigError(f"'{text}': {', '.join(unknown)} not understood.{nearest(unknown[0], [*_PLACES, *_SAME])} "
                          f"Understood are: {known_words()}. Other prompts need a model that knows text (--prior).")
    if len(numbers) == 2 and not places:
        return LightDirection(float(numbers[0]), float(numbers[1]), size)
    if not places or numbers:
        raise ConfigError(f"'{text}': no direction in it. Understood are: {known_words()}.")
    if len(places) > 1 and _PLACES["sunset"] in places:
        # A side with a sunset: its height, from that side.
        places = [(azimuth, _PLACES["sunset"][1]) for azimuth, _ in places if azimuth != _PLACES["sunset"][0]]
    if len(places) == 1:
        return LightDirection(*map(float, places[0]), size)
    vectors = torch.stack([vector_of(*place) for place in places])
    total = vectors.sum(0)
    if float((vectors @ vectors.T).min()) < _OPPOSITE_COS:
        raise ConfigError(f"'{text}': the directions oppose each other; name one, or two that are not opposite.")
    return replace(LightDirection(*angles_of(total)), size_deg=size)
