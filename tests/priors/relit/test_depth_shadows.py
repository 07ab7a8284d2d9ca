"""Shadows on depth maps: frames of light, points of pixels, a box before a wall and on a floor."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.priors.relit import depth_shadows
from dipir.priors.relit.depth_shadows import FOV_DEG, in_camera, positions, visibility
from dipir.scene.direction import LightDirection
from tests.support.surface_sets import frame

LIGHTS = torch.stack([LightDirection(a, e).vector for a, e in ((0, 0), (90, 10), (-70, 45), (160, -20), (20, 80))])
HARD = torch.tensor([0.02])


# ---- frames ----------------------------------------------------------------------------------------------------------

def test_level_cameras_see_lights_where_they_are():
    up = torch.tensor([[0.0, 1.0, 0.0]]).expand(len(LIGHTS), -1)
    torch.testing.assert_close(in_camera(LIGHTS, up), LIGHTS)


@pytest.mark.parametrize("pitch", [-25, 10, 40])
@pytest.mark.parametrize("roll", [0, 8])
def test_pitched_cameras_keep_length_elevation_and_azimuth(pitch, roll):
    r = math.radians(roll)
    turn = torch.tensor([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    axes = frame(pitch) @ turn.T
    up = axes[1:2].expand(len(LIGHTS), -1)
    seen = in_camera(LIGHTS, up)
    torch.testing.assert_close(seen.norm(dim=1), LIGHTS.norm(dim=1))
    torch.testing.assert_close((seen * up).sum(1), LIGHTS[:, 1])
    torch.testing.assert_close(seen, LIGHTS @ axes)


def test_numbers_after_the_vector_do_not_matter():
    up = frame(20)[1:2].expand(len(LIGHTS), -1)
    more = torch.cat([LIGHTS, torch.ones(len(LIGHTS), 1)], 1)
    torch.testing.assert_close(in_camera(more, up), in_camera(LIGHTS, up))


def test_positions_by_hand():
    """The longer side spans the field of view; one stop is twice the distance."""
    depth = torch.zeros(1, 1, 40, 60)
    depth[..., 30:] = 1.0
    point = positions(depth)
    edge = math.tan(math.radians(FOV_DEG) / 2)
    assert float(point[0, 0, 0, 0]) == pytest.approx(-edge * 59 / 60, rel=1e-5)
    assert float(point[0, 1, 0, 0]) == pytest.approx(edge * 40 / 60 * 39 / 40, rel=1e-5)
    assert float(point[0, 0, 0, -1]) == pytest.approx(2 * edge * 59 / 60, rel=1e-5)
    assert point[0, 2].unique().tolist() == [-2, -1]


@pytest.fixture
def sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """For depths that are known: things up to three tenths of their distance thick, hard edges."""
    monkeypatch.setattr(depth_shadows, "_THICK", 0.3)
    monkeypatch.setattr(depth_shadows, "_SOFT", 0.012)
    monkeypatch.setattr(depth_shadows, "_SURE", 0.006)


# ---- a card before a wall --------------------------------------------------------------------------------------------

def _card(size: int = 60, gap: float = 0.15) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(depth, normals, the card): a square card, two pixels to the right of the middle and three above it, that hovers
    before a wall; both face the camera, the wall is at 1."""
    card = torch.zeros(1, 1, size, size)
    card[..., 21:33, 26:38] = 1
    normal = torch.zeros(1, 3, size, size)
    normal[:, 2] = 1
    return torch.log2(1 - gap * card), normal, card > 0


def _shadow(azimuth: float, elevation: float, **more) -> torch.Tensor:
    depth, normal, _ = _card()
    light = LightDirection(azimuth, elevation).vector[None]
    return 1 - visibility(depth, normal, light, HARD, **more)[0, 0]


def _middle(mask: torch.Tensor) -> tuple[float, float]:
    """(right, up) of what is dark, from the middle of the card, pixels."""
    row, column = (mask > 0.5).nonzero().float().T
    return float(column.mean()) - 31.5, 26.5 - float(row.mean())


def test_light_from_the_front_throws_no_shadow():
    assert float(_shadow(0, 0).max()) < 0.05


def _blocked(light: torch.Tensor, grow: float, gap: float = 0.15) -> torch.Tensor:
    """(S, S) where rays towards the light from the wall meet the card, made wider by ``grow``."""
    depth, _, card = _card(gap=gap)
    pixel = 2 * math.tan(math.radians(FOV_DEG) / 2) / 60 * (1 - gap)
    at = positions(depth)[0, :2] + light[:2, None, None] * (gap / light[2])
    at, half = at - torch.tensor([2.0, 3.0])[:, None, None] * pixel, 6 * pixel
    return (at.abs() < half + grow).all(0) & ~card[0, 0]


@pytest.mark.parametrize("azimuth, elevation", [(45, 0), (-45, 0), (0, 45)])
def test_a_card_shadows_the_wall_where_geometry_says(sharp, azimuth, elevation):
    """Against rays from each pixel of the wall to the plane of the card: the shadow falls away from the light."""
    dark, card = _shadow(azimuth, elevation), _card()[2][0, 0]
    light = LightDirection(azimuth, elevation).vector
    inside, wide = _blocked(light, -0.03), _blocked(light, 0.03) | card
    assert int(inside.sum()) > 20 and float(dark[inside].min()) > 0.6 and float(dark[~wide].max()) < 0.3
    right, upwards = _middle(dark * ~card)
    assert right * float(light[0]) + upwards * float(light[1]) < -3


def test_sky_is_never_in_the_way(sharp):
    """The same depths, once as a card and once as a hole in what is seen."""
    _, _, card = _card()
    assert float(_shadow(45, 0).max()) > 0.9
    solid = 1 - card.float()
    assert float(_shadow(45, 0, solid=solid)[~card[0, 0]].max()) < 0.05
    assert float(_shadow(45, 0, solid=torch.zeros_like(solid)).max()) < 0.05


def test_soft_lights_have_soft_edges(sharp):
    depth, normal, card = _card()
    light = LightDirection(45, 0).vector[None]
    hard, soft = (visibility(depth, normal, light, torch.tensor([s]))[0, 0][~card[0, 0]] for s in (0.02, 0.5))
    assert ((soft > 0.2) & (soft < 0.8)).sum() > 1.5 * ((hard > 0.2) & (hard < 0.8)).sum()


@pytest.mark.parametrize("gap, dark", [(0.2, True), (0.7, False)])
def test_things_are_no_thicker_than_a_part_of_their_distance(sharp, gap, dark):
    """Rays that go along the wall, not through the card's plane: under a card that is near they meet its inside, behind
    one that is far they pass, but for streaks from its edges, where depths are mixed."""
    depth, normal, _ = _card(gap=gap)
    shadow = 1 - visibility(depth, normal, LightDirection(75, 0).vector[None], HARD)[0, 0]
    beside = float(shadow[25:29, :18].mean())
    assert beside > 0.95 if dark else beside < 0.35


# ---- a box on a floor ------------------------------------------------------------------------------------------------

def _floor_and_box(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(depth, normals, box, floor) of a floor half a unit under a level camera, on which a box stands."""
    x, y = (positions(torch.zeros(1, 1, size, size))[0, k] for k in (0, 1))
    floor = y < -0.15
    distance = torch.where(floor, 0.5 / -y.clamp_max(-1e-3), 4.0)
    # Its front stands 1.6 before the camera.
    box = (x.abs() < 0.12) & (y < 0.0) & (1.6 * y > -0.5)
    distance = torch.where(box, 1.6, distance)
    normal = torch.zeros(1, 3, size, size)
    normal[0, 1], normal[0, 2] = (floor & ~box).float(), (~floor | box).float()
    return distance.log2()[None, None], normal, box, floor & ~box


@pytest.mark.parametrize("size", [62, 128])
def test_a_box_darkens_the_floor_on_the_side_away_from_the_light(sharp, size):
    depth, normal, box, floor = _floor_and_box(size)
    column = torch.arange(size).expand(size, size)
    beside = floor & (torch.arange(size)[:, None] > size * 0.775) & (torch.arange(size)[:, None] < size * 0.85)
    left, right = beside & (column < size * 0.36), beside & (column > size * 0.64)
    for azimuth, shaded, free in ((80, left, right), (-80, right, left)):
        dark = 1 - visibility(depth, normal, LightDirection(azimuth, 25).vector[None], HARD)[0, 0]
        assert dark.shape == (size, size)
        assert float(dark[shaded].mean()) > 0.8 and float(dark[free].max()) < 0.1, azimuth


@pytest.mark.parametrize("azimuth, elevation", [(45, 0), (-45, 0), (0, 45)])
def test_as_it_ships_a_card_shadows_the_wall_away_from_the_light(azimuth, elevation):
    """A card near the wall: what is darkest lies on the far side; the near side stays as it was."""
    depth, normal, card = _card(gap=0.12)
    light = LightDirection(azimuth, elevation).vector
    dark = (1 - visibility(depth, normal, light[None], HARD))[0, 0] * ~card[0, 0]
    right, upwards = _middle(0.6 * dark / dark.max())
    assert float(dark.max()) > 0.3 and right * float(light[0]) + upwards * float(light[1]) < -2
    point = positions(depth)[0, :2]
    near = (torch.einsum("chw,c->hw", point, light[:2]) > 0.15) & ~card[0, 0]
    assert float(dark[near].max()) < 0.15


def test_pictures_of_a_batch_do_not_meet():
    depth, normal, _ = _card()
    lights = torch.stack([LightDirection(a, 0).vector for a in (45, 0, -45)])
    both = visibility(depth.expand(3, -1, -1, -1), normal.expand(3, -1, -1, -1), lights, HARD.expand(3))
    for k in range(3):
        torch.testing.assert_close(both[k:k + 1], visibility(depth, normal, lights[k:k + 1], HARD))
