"""Lights of a scene: turned skies, every one lights it."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.workshop.worlds import lights as view_lights
from dipir.workshop.worlds import views


def test_a_turned_sky_takes_its_sun_along():
    radiance = np.zeros((8, 16, 3), np.float32)
    sun = np.array([0.6, 0.5, -0.62])
    sun /= np.linalg.norm(sun)
    u, v = latlong.uv(torch.tensor(sun, dtype=torch.float32))
    radiance[int(v * 8), int(u * 16)] = 1
    for columns in (0, 1, 5, 13):
        light = view_lights.turned_sky(radiance, {"direction": sun, "irradiance": np.ones(3)}, columns)
        u, v = latlong.uv(torch.tensor(light["sun"]["direction"], dtype=torch.float32))
        assert light["sky"][int(v * 8), int(u * 16)].tolist() == [1, 1, 1]
    assert view_lights.turned_sky(radiance, None, 3)["sun"] is None


@pytest.mark.parametrize("kind", views.KINDS)
def test_every_light_of_a_scene_lights_it(kind):
    for seed in range(6):
        scene, _, lights = view_lights.scene_lights(np.random.default_rng(seed), kind, 4)
        emitting = {part["name"] for part in scene["parts"] if part.get("radiance") is not None}
        for light in lights:
            gains = light.get("gains", {})
            assert set(gains) <= emitting
            lit = any(np.any(np.asarray(gains.get(name, 1.0)) > 0) for name in emitting)
            assert lit or light.get("sky") is not None or scene["sky"] is not None
