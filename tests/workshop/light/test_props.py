"""Solids against hits worked out by hand and by marching along rays."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from dipir.workshop.light.props import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    LARGE,
    NONE,
    TEMPLATES,
    Props,
    blocked,
    compact,
    first_hit,
    random_things,
    surface,
    turned,
)
from tests.support.light_sets import solids

THREE = solids((ELLIPSOID, (1.5, 0.9, 4.0), (0.5, 0.9, 0.7), 30), (BOX, (-1.2, 0.7, 3.5), (0.6, 0.7, 0.3), -25),
               (CYLINDER, (0.0, 0.8, 5.5), (0.5, 0.8, 0.9), 70))


def rays_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    aside = 2 * torch.rand(1, count, 3, generator=generator) - 1
    aim = torch.tensor([0.0, 0.7, 4.2]) + torch.tensor([2.2, 0.9, 1.5]) * aside
    return functional.normalize(aim - torch.tensor([0.0, 1.6, 0.0]), dim=-1)


EYE = torch.tensor([[[0.0, 1.6, 0.0]]])


def inside(props: Props, k: int, points: torch.Tensor) -> torch.Tensor:
    """Whether points (..., 3) lie in solid k, by its definition."""
    yaw = float(props.yaw[0, k])
    d = points - props.middle[0, k]
    # Its own axes, seen from above: +X turned by the yaw, which brings +Z towards +X.
    x = d[..., 0] * np.cos(yaw) - d[..., 2] * np.sin(yaw)
    z = d[..., 0] * np.sin(yaw) + d[..., 2] * np.cos(yaw)
    a, b, c = (v / h for v, h in zip((x, d[..., 1], z), props.half[0, k].tolist(), strict=True))
    return {ELLIPSOID: a**2 + b**2 + c**2 < 1, BOX: torch.stack([a, b, c]).abs().amax(0) < 1,
            CYLINDER: (a**2 + c**2 < 1) & (b.abs() < 1)}[int(props.kind[0, k])]


@pytest.mark.parametrize("kind", [ELLIPSOID, BOX, CYLINDER])
def test_straight_at_a_solid(kind: int) -> None:
    """Half sizes 1, 2, 3, middle 10 metres ahead: the hit is 7 metres away and faces the ray."""
    props = solids((kind, (0.0, 1.6, 10.0), (1.0, 2.0, 3.0)))
    ray = torch.tensor([[[0.0, 0, 1], [0.0, 0, -1], [0.0, 1, 0]]])
    hit, which = first_hit(props, EYE, ray)
    assert hit[0].tolist() == [pytest.approx(7), torch.inf, torch.inf]
    normal, albedo, gloss = surface(props, which, EYE + hit.clamp_max(7)[..., None] * ray)
    assert normal[0, 0].tolist() == pytest.approx([0, 0, -1], abs=1e-6)
    assert albedo[0, 0].tolist() == pytest.approx([0.6] * 3) and gloss[0, 0] == 0
    above = first_hit(props, torch.tensor([[[0.0, 9.6, 10.0]]]), torch.tensor([[[0.0, -1, 0]]]))
    assert float(above[0]) == pytest.approx(6)
    lid = surface(props, above[1], torch.tensor([[[0.0, 3.6, 10.0]]]))[0]
    assert lid[0, 0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_turning_brings_z_towards_x() -> None:
    got = turned(torch.tensor([[0.0, 2, 1], [1.0, 0, 0]]), torch.tensor([np.pi / 2, np.pi / 2]))
    torch.testing.assert_close(got, torch.tensor([[1.0, 2, 0], [0.0, 0, -1]]), atol=1e-6, rtol=0)


def test_hits_are_where_a_march_along_the_ray_enters() -> None:
    ray = rays_of(400)
    hit, which = first_hit(THREE, EYE, ray)
    step = 2e-3
    along = torch.arange(0, 9, step)
    points = EYE[0] + along[:, None, None] * ray[0]
    entered = torch.stack([inside(THREE, k, points) for k in range(3)])
    any_, first = entered.any(0).max(0)
    assert torch.equal(any_, torch.isfinite(hit[0])) and 100 < int(any_.sum()) < 380
    found = torch.nonzero(any_)[:, 0]
    assert (along[first[found]] - hit[0, found]).abs().max() < 1.01 * step
    assert bool(entered[which[0, found], first[found], found].all())
    assert set(which[0, found].tolist()) == {0, 1, 2}


def test_normals_are_those_of_the_plane_through_neighbouring_hits() -> None:
    ray = rays_of(600, 1)
    side = functional.normalize(torch.linalg.cross(ray, torch.tensor([0.3, 1.0, 0.2]).expand_as(ray)), dim=-1)
    up = torch.linalg.cross(side, ray)
    hits, kinds = zip(*(first_hit(THREE, EYE, functional.normalize(ray + 2e-4 * d, dim=-1))
                        for d in (0 * side, side, up)), strict=True)
    same = torch.isfinite(torch.stack(hits)).all(0) & (kinds[0] == kinds[1]) & (kinds[0] == kinds[2])
    points = [EYE.double() + h.double().clamp_max(99)[..., None] * functional.normalize(ray + 2e-4 * d, dim=-1).double()
              for h, d in zip(hits, (0 * side, side, up), strict=True)]
    plane = functional.normalize(torch.linalg.cross(points[1] - points[0], points[2] - points[0]), dim=-1)
    normal = surface(THREE, kinds[0], points[0].float())[0].double()
    agree = (normal * plane).sum(-1).abs()[same]
    # Where the three lie on different faces, or graze, they do not.
    assert same.sum() > 150 and (agree > 0.995).float().mean() > 0.95
    assert bool(((normal * ray).sum(-1)[same] < 1e-3).all()), "what is seen faces the eye"


def test_blocked_is_what_is_hit_and_not_what_lies_behind() -> None:
    ray = rays_of(300, 2)
    hit, _ = first_hit(THREE, EYE, ray)
    assert torch.equal(blocked(THREE, EYE, ray), torch.isfinite(hit))
    assert not bool(blocked(THREE, torch.tensor([[[0.0, 1.6, 9.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])))


def test_empty_places_hide_nothing_and_go_first() -> None:
    props = solids((NONE, (0, 1, 3), (1, 1, 1)), (BOX, (0, 1, 3), (1, 1, 1)), (NONE, (0, 1, 2), (1, 1, 1)),
                   (ELLIPSOID, (0, 1, 9), (1, 1, 1)))
    kept = compact(props)
    assert kept.kind.tolist() == [[BOX, ELLIPSOID]] and kept.middle[0, :, 2].tolist() == [3, 9]
    assert kept.colour.shape == (1, 2, 2, 3)
    ray = rays_of(50, 3)
    assert torch.equal(first_hit(props, EYE, ray)[0], first_hit(kept, EYE, ray)[0])
    assert compact(props, most=1).kind.tolist() == [[BOX]]
    assert compact(solids((NONE, (0, 0, 0), (1, 1, 1)))).kind.tolist() == [[NONE]]


def test_within_a_footprint() -> None:
    props = solids((BOX, (2.0, 1.0, 3.0), (1.0, 1.0, 0.2), 90))
    # Turned by 90 degrees its long side runs along Z.
    for x, z, there in ((2.0, 3.9, True), (2.0, 2.1, True), (2.6, 3.0, False), (2.0, 4.3, False)):
        assert bool(props.within(torch.tensor([[x, 0.02, z]]))) == there, (x, z)
    gone = solids((NONE, (2.0, 1.0, 3.0), (1.0, 1.0, 1.0)))
    assert not bool(gone.within(torch.tensor([[2.0, 0.02, 3.0]])))


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_templates_stand_on_the_ground_and_are_one_high(name: str) -> None:
    lowest = min(middle[1] - half[1] for _, middle, half in TEMPLATES[name])
    highest = max(middle[1] + half[1] for _, middle, half in TEMPLATES[name])
    assert -0.03 <= lowest < 0.05 and 0.95 <= highest < 1.3


def test_random_things() -> None:
    rng, count = np.random.default_rng(0), 200
    view = np.stack([rng.uniform(45, 80, count), rng.uniform(0, 30, count)], 1)
    height = rng.uniform(0.4, 2.2, count)
    props = random_things(rng, count, view, height)
    used = props.kind != NONE
    assert all(bool(torch.isfinite(v).all()) for v in vars(props).values()) and bool((props.half > 0).all())
    things = used.reshape(count, -1, 6).any(2).sum(1)
    assert {0, 1, 2, 3} <= set(things.tolist()) and things.max() <= 7
    lowest = props.middle[..., 1] - props.half[..., 1]
    assert bool((lowest > -0.2 * props.half[..., 1].amax(1, keepdim=True))[used].all())
    # Small ones are in view or just outside.
    small = used.reshape(count, -1, 6)[:, :5]
    middle = props.middle.reshape(count, -1, 6, 3)[:, :5]
    azimuth = torch.atan2(middle[..., 0], middle[..., 2]).abs()
    half_fov = torch.from_numpy(np.radians(view[:, 0]) / 2)[:, None, None]
    assert ((azimuth < 1.6 * half_fov)[small]).float().mean() > 0.97
    assert 0.02 <= props.colour.min() and props.colour.max() <= 0.9 and len(LARGE) == 4
    again = random_things(np.random.default_rng(5), 3, view[:3], height[:3])
    other = random_things(np.random.default_rng(5), 3, view[:3], height[:3])
    assert torch.equal(again.middle, other.middle)
