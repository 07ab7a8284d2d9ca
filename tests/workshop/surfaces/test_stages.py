"""What rays meet: things and a procedural world against geometry by hand."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.workshop.surfaces.stages import WorldStage
from dipir.workshop.worlds import meshes
from dipir.workshop.worlds.described import DescribedWorld
from tests.support.described import floor as described_floor
from tests.support.ray_stages import MIDDLE, RADIUS, ball, floor, things

EYE = torch.tensor([0.0, 1.2, 0.0])


def _rays(count: int = 400, seed: int = 0) -> torch.Tensor:
    """(N, 3) about the way to the ball, some past it."""
    random = torch.Generator().manual_seed(seed)
    way = torch.tensor(MIDDLE) - EYE + (torch.rand(count, 3, generator=random) - 0.5) * 1.6
    return torch.nn.functional.normalize(way, dim=1)


def _on_ball(rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(hit, points, surely not at the rim) of rays from the eye and the ball."""
    away = EYE - torch.tensor(MIDDLE)
    b = rays @ away
    inside = b**2 - (away @ away - RADIUS**2)
    point = EYE + rays * (-b - inside.clamp_min(0).sqrt())[:, None]
    return inside > 0, point, inside.abs() > 0.1


@pytest.fixture(scope="module")
def stage():
    return things(ball(), floor(0.4))


def test_a_ball_on_a_floor(stage):
    rays = _rays()
    met = stage.met(EYE.expand(len(rays), 3), rays)
    hit, point, sure = _on_ball(rays)
    on, below = hit & sure, ~hit & sure & (rays[:, 1] < -0.1)
    assert int(on.sum()) > 40 and int(below.sum()) > 40
    assert met.valid[on | below].all() and met.owner[on].tolist() == [1] * int(on.sum())
    assert met.owner[below].tolist() == [2] * int(below.sum())
    # A ball of 64 segments is flat by half a per cent.
    assert float((met.point - point)[on].norm(dim=1).max()) < 0.01
    normal = (point - torch.tensor(MIDDLE)) / RADIUS
    assert float((met.normal - normal)[on].norm(dim=1).max()) < 0.06
    torch.testing.assert_close(met.albedo[on], torch.tensor([[0.7, 0.5, 0.3]]).expand(int(on.sum()), -1))
    t = -EYE[1] / rays[below, 1]
    torch.testing.assert_close(met.point[below], EYE + t[:, None] * rays[below], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(met.normal[below], torch.tensor([[0.0, 1, 0]]).expand(int(below.sum()), -1))
    assert met.roughness[on].min() == 1 and not met.metallic.any()


def test_above_there_is_nothing(stage):
    rays = torch.nn.functional.normalize(torch.tensor([[0.0, 1, 1], [0.3, 0.8, -1]]), dim=1)
    met = stage.met(EYE.expand(2, 3), rays)
    assert not met.valid.any() and met.owner.tolist() == [0, 0]
    assert not any(value.any() for value in (met.normal, met.albedo))


def test_rows_of_what_was_met(stage):
    rays = _rays(8)
    met = stage.met(EYE.expand(8, 3), rays)
    some = met[torch.tensor([5, 1])]
    assert torch.equal(some.point, met.point[[5, 1]]) and torch.equal(some.owner, met.owner[[5, 1]])


def test_shadow_rays_end_at_the_light(stage):
    """Up from the floor beneath the ball, and past it: at 0.3 from its axis the ball begins 0.1 above the floor."""
    start = torch.tensor([[0.3, 0.001, 3.0]] * 3 + [[2.0, 0.001, 3.0]])
    up = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)
    far = torch.tensor([0.05, 1e4, 0.15, 1e4])
    assert stage.blocked(start, up, far).tolist() == [False, True, True, False]


def test_normals_are_towards_the_ray(stage):
    below = torch.tensor([[5.0, -1.0, 3.0]])
    met = stage.met(below, torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(met.normal, torch.tensor([[0.0, -1.0, 0.0]]))


# ---- procedural worlds -----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def world():
    """A floor, a lamp two metres above it."""
    vertices, faces, uv = meshes.quad([-0.5, 2, -0.5], [1, 0, 0], [0, 0, 1])
    lamp = {"name": "lamp", "vertices": vertices, "faces": faces, "uv": uv, "roughness": None,
            "texture": np.full((2, 2, 3), 0.5, np.float32), "radiance": [5.0] * 3}
    return WorldStage(DescribedWorld({"parts": [described_floor(albedo=0.3), lamp]}))


def test_a_world_is_dull_and_its_lamps_are_no_surface(world):
    origin = torch.tensor([[0.3, 1.0, 0.2]]).expand(3, 3)
    rays = torch.nn.functional.normalize(torch.tensor([[0.0, -1, 0], [0.0, 1, 0], [1.0, 0.4, 0]]), dim=1)
    met = world.met(origin, rays)
    assert met.valid.tolist() == [True, False, False] and met.owner.tolist() == [1, 0, 0]
    torch.testing.assert_close(met.point[0], torch.tensor([0.3, 0.0, 0.2]), atol=1e-5, rtol=0)
    torch.testing.assert_close(met.normal[0], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(met.albedo, torch.tensor([[0.3] * 3, [0.0] * 3, [0.0] * 3]), atol=1e-5, rtol=0)
    assert met.roughness.tolist() == [1, 1, 1] and not met.metallic.any()
    assert not met.normal[1:].any() and not met.point[1:].any()


def test_a_world_blocks_rays_up_to_their_length(world):
    origin = torch.tensor([[0.3, 1.0, 0.2]]).expand(3, 3)
    rays = torch.tensor([[0.0, -1, 0], [0.0, -1, 0], [math.sqrt(0.5), math.sqrt(0.5), 0]])
    assert world.blocked(origin, rays, torch.tensor([0.9, 1.1, 1e4])).tolist() == [False, True, False]
