"""A described world: known radiance, new light, first hits."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import RenderError
from dipir.workshop.worlds.described import BLACK, DescribedWorld
from tests.support.described import floor


def straight_down(count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[0.0, 1.0, 0.0]]).expand(count, 3), torch.tensor([[0.0, -1.0, 0.0]]).expand(count, 3)


@pytest.fixture(scope="module")
def field():
    """A grey floor under an even sky of radiance 1, loaded with a sun."""
    sky = np.ones((8, 16, 3), np.float32)
    return DescribedWorld({"parts": [floor()], "sky": sky,
                           "sun": {"direction": np.array([0, 1.0, 0]), "irradiance": np.ones(3)}})


def test_floor_under_an_even_sky_reflects_albedo(field):
    field.relight()
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5, rel=0.02)


def test_relight_replaces_sky_and_sun(field):
    field.relight(sky=np.full((8, 16, 3), 3.0, np.float32))
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(1.5, rel=0.02)
    # A sun at 30 degrees of elevation adds albedo / pi * E * sin(30 degrees).
    low = {"direction": np.array([math.cos(math.pi / 6), 0.5, 0.0]), "irradiance": np.full(3, 40.0)}
    field.relight(sky=np.full((8, 16, 3), 1.0, np.float32), sun=low)
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5 + 0.5 / math.pi * 20, rel=0.02)
    field.relight(sky=np.full((8, 16, 3), 1.0, np.float32))
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5, rel=0.02)


def test_gains_scale_what_emits_in_colour():
    world = DescribedWorld({"parts": [floor(np.array([1.0, 2.0, 4.0]))], "sky": None, "sun": None})
    below, up = (-x for x in straight_down(3))  # the side of the quad that emits
    world.relight({"lamp": np.array([2.0, 1.0, 0.0])})
    assert torch.allclose(world.radiance(below, up, depth=1)[0], torch.tensor([2.0, 2.0, BLACK]), atol=1e-5)
    world.relight()
    assert torch.allclose(world.radiance(below, up, depth=1)[0], torch.tensor([1.0, 2.0, 4.0]), atol=1e-5)


def test_relight_of_what_is_not_there(field):
    world = DescribedWorld({"parts": [floor(np.ones(3))], "sky": None, "sun": None})
    with pytest.raises(RenderError, match="without one"):
        world.relight(sky=np.ones((8, 16, 3), np.float32))
    with pytest.raises(RenderError, match="without one"):
        world.relight(sun={"direction": np.array([0, 1.0, 0]), "irradiance": np.ones(3)})
    with pytest.raises(RenderError, match="another size"):
        field.relight(sky=np.ones((16, 32, 3), np.float32))


def test_first_hits_and_blocked(field):
    origin = torch.tensor([[0.0, 2.0, 0.0]]).expand(2, 3)
    rays = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    hits = field.first_hits(origin, rays)
    assert hits.distance[0].item() == pytest.approx(2.0) and math.isinf(hits.distance[1])
    assert torch.allclose(hits.normal[0].abs(), torch.tensor([0.0, 1.0, 0.0])) and hits.light.tolist() == [False, True]
    assert torch.allclose(hits.albedo[0], torch.full((3,), 0.5), atol=1e-4)
    assert field.blocked(origin, rays).tolist() == [True, False]
