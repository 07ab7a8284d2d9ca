"""The lights of a procedural scene: several skies, suns, window and lamp settings for one and the same geometry."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dipir.workshop.worlds.rooms import indoor
from dipir.workshop.worlds.scenes import lamp_color, landscape, night
from dipir.workshop.worlds.skies import daylight

Rng = np.random.Generator
Lit = tuple[Mapping[str, Any], tuple[float, float, float], list[dict[str, Any]]]


def scene_lights(rng: Rng, kind: str, count: int) -> Lit:
    """(described scene, a free point in it, ``count`` lights) of kind outdoor, indoor or night.

    A light holds the arguments of ``DescribedWorld.relight`` and perhaps ``seen``, the sun that shines in at windows.
    """
    if kind == "outdoor":
        return _outdoor(rng, count)
    scene, position = (indoor if kind == "indoor" else night)(rng)
    return scene, position, [_switched(rng, scene, first=index == 0) for index in range(count)]


def _outdoor(rng: Rng, count: int) -> Lit:
    """Every sky is used twice, turned about the vertical, and its sun with it."""
    drawn = [daylight(rng) for _ in range((count + 1) // 2)]
    world = landscape(rng)
    lights = []
    for index in range(count):
        radiance, sun, _ = drawn[index // 2]
        lights.append(turned_sky(radiance, sun, int(rng.integers(radiance.shape[1]))))
    noon = {"direction": np.array([0, 1.0, 0]), "irradiance": np.ones(3)}
    return {"parts": world.parts(), "sky": drawn[0][0], "sun": noon}, (0.0, 1.5, 0.0), lights


def _switched(rng: Rng, scene: Mapping[str, Any], first: bool) -> dict[str, Any]:
    """The scene's own light at first, then windows, sun patches and lamps dimmed, tinted or off."""
    emitting = [part["name"] for part in scene["parts"] if part.get("radiance") is not None]
    gains: dict[str, Any] = dict.fromkeys(emitting, 1.0)
    if not first:
        day = lamp_color(rng) ** 0.2 * math.exp(rng.normal(0, 0.7)) * float(rng.random() < 0.8)
        sunny = math.exp(rng.normal(0, 0.7)) * float(rng.random() < 0.7)
        lamps = lamp_color(rng) ** 0.5 * math.exp(rng.normal(0, 0.9)) * float(rng.random() < 0.7)
        if not np.any(day):
            lamps = lamp_color(rng) ** 0.5
        gains = {name: _gain(name, day, sunny, lamps, rng) for name in emitting}
        if not any(np.any(g) for g in gains.values()):
            gains = {}
    sun, seen = scene.get("window_sun"), None
    if sun is not None:
        patch = next((g for n, g in gains.items() if n.startswith("patch")), 0.0)
        seen = {"direction": sun["direction"], "irradiance": sun["irradiance"] * patch}
    return {"gains": gains, "seen": seen}


def _gain(name: str, day: Any, sunny: float, lamps: Any, rng: Rng) -> Any:
    """Windows, the patches of sun that come through them, and lamps are dimmed separately."""
    if name.startswith("pane"):
        return day
    if name.startswith("patch"):
        return day * sunny
    # Several lamps of one room (a studio's) are switched one by one.
    if name in ("lamp", "lit"):
        return lamps
    return lamps * (float(rng.random() < 0.7) * math.exp(rng.normal(0, 0.8)))


def turned_sky(radiance: np.ndarray, sun: Mapping[str, Any] | None, columns: int) -> dict[str, Any]:
    """A sky (h, w, 3) and its sun turned about the vertical by ``columns`` texels, from -Z towards +X."""
    turned = np.roll(radiance, columns, 1)
    if sun is None:
        return {"sky": turned, "sun": None}
    a = columns / radiance.shape[1] * 2 * math.pi
    x, y, z = sun["direction"]
    direction = np.array([x * math.cos(a) - z * math.sin(a), y, z * math.cos(a) + x * math.sin(a)])
    return {"sky": turned, "sun": {"direction": direction, "irradiance": sun["irradiance"]}}
