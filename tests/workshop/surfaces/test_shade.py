"""Light on hits against what is known in closed form: Lambert, shadows, the sky, lamps, one bounce, gloss."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dipir.scene.direction import vector_of
from dipir.workshop.surfaces.shade import Lobe, shaded, smoothed
from dipir.workshop.surfaces.stages import Met
from tests.support.ray_stages import MIDDLE, RADIUS, NothingStage, ball, floor, things, wall

EYE = torch.tensor([0.0, 1.2, 0.0])
NARROW = 0.05
BLACK, WHITE = torch.zeros(4, 8, 3), torch.ones(4, 8, 3)


def lobe(azimuth: float, elevation: float, size_deg: float = NARROW) -> Lobe:
    """In the world: azimuth 0 is behind the camera, which looks along +Z."""
    x, y, z = vector_of(azimuth, elevation)
    return Lobe(torch.stack([-x, y, -z]), size_deg)


def on_floor(x: torch.Tensor, z: torch.Tensor, albedo: float = 1.0, roughness: float = 1.0,
             metallic: float = 0.0) -> Met:
    """Hits of a floor by hand."""
    count = len(x)
    point = torch.stack([x, torch.zeros(count), z], 1)
    up = torch.tensor([[0.0, 1.0, 0.0]]).expand(count, 3)
    return Met(torch.ones(count, dtype=torch.bool), point, up, torch.full((count, 3), albedo),
               torch.full((count,), roughness), torch.full((count,), metallic), torch.ones(count).long())


def lit(stage, met: Met, *lights: Lobe, sky: torch.Tensor = BLACK, eye: torch.Tensor = EYE, seed: int = 0):
    return shaded(stage, met, eye, lights, sky, torch.Generator().manual_seed(seed))


def brdf(albedo: float, roughness: float, metallic: float, view: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """Pi times the BSDF of a floor seen from (N, 3) and lit from (N, 3): Walter et al. 2007 with Smith's separable
    masking, alpha = the roughness squared, and Schlick's Fresnel term, in double precision."""
    v, s, a = view.double(), light.double(), roughness**2
    h = torch.nn.functional.normalize(v + s, dim=1)
    tan2 = 1 / h[:, 1] ** 2 - 1
    density = a**2 / (math.pi * h[:, 1] ** 4 * (a**2 + tan2) ** 2)

    def masking(x: torch.Tensor) -> torch.Tensor:
        return 2 / (1 + (1 + a**2 * (1 / x[:, 1] ** 2 - 1)).sqrt())

    f0 = 0.04 + (albedo - 0.04) * metallic
    fresnel = f0 + (1 - f0) * (1 - (v * h).sum(1)) ** 5 * (1 - roughness)
    glossy = density * masking(v) * masking(s) * fresnel / (4 * v[:, 1] * s[:, 1])
    return albedo * (1 - metallic) + math.pi * glossy


def _above(count: int, seed: int) -> torch.Tensor:
    """(N, 3) with a density in proportion to the cosine with +Y."""
    u, turn = torch.rand(2, count, generator=torch.Generator().manual_seed(seed))
    ring, turn = u.sqrt(), turn * 2 * math.pi
    return torch.stack([ring * turn.cos(), (1 - u).sqrt(), ring * turn.sin()], 1)


# ---- direct light ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def stage():
    return things(ball(), floor(0.5))


@pytest.mark.parametrize("elevation", [90, 50, 15])
def test_a_dull_floor_obeys_lambert(elevation):
    met = on_floor(torch.linspace(-1, 1, 50), torch.full((50,), 2.0), 0.6)
    light = lit(NothingStage(), met, lobe(30, elevation))
    expected = 0.6 * math.sin(math.radians(elevation))
    # The rest is the coat of 4 %, which is almost dull too.
    assert light.each.shape == (1, 50, 3) and (light.free == 1).all()
    assert float((light.each - expected).abs().max()) < 0.015
    assert float((light.each - light.each[:, :, :1]).abs().max()) == 0


def test_a_dull_ball_obeys_lambert(stage):
    """Also on the side that turns away, and in its own colour."""
    random = torch.Generator().manual_seed(0)
    rays = torch.nn.functional.normalize(torch.tensor(MIDDLE) - EYE + 0.5 * torch.randn(600, 3, generator=random) * 0.5,
                                         dim=1)
    met = stage.met(EYE.expand(600, 3), rays)
    met = met[met.owner == 1]
    lights = [lobe(70, 20), lobe(-120, 40), lobe(0, 90)]
    light = lit(stage, met, *lights)
    normal = (met.point - torch.tensor(MIDDLE)) / RADIUS
    for each, free, one in zip(light.each, light.free, lights, strict=True):
        cosine = normal @ one.towards
        expected = torch.tensor([0.7, 0.5, 0.3]) * cosine.clamp_min(0)[:, None]
        sure = cosine.abs() > 0.1
        assert float((each - expected)[sure].abs().max()) < 0.05 and len(met.valid) > 150
        assert torch.equal(free[sure] > 0, cosine[sure] > 0)


def test_the_shadow_falls_where_geometry_says(stage):
    """A ray from the floor to the light passes the ball's middle nearer than its radius."""
    x, z = torch.meshgrid(torch.linspace(-3, 3, 60), torch.linspace(0.5, 6, 60), indexing="ij")
    met = on_floor(x.flatten(), z.flatten(), 0.5)
    for azimuth, elevation in ((60, 30), (-150, 45)):
        one = lobe(azimuth, elevation)
        free = lit(stage, met, one).free[0]
        away = torch.tensor(MIDDLE) - met.point
        along = away @ one.towards
        passes = (away - along[:, None] * one.towards).norm(dim=1)
        inside, outside = (passes < 0.97 * RADIUS) & (along > 0), passes > 1.03 * RADIUS
        assert int(inside.sum()) > 30
        assert not free[inside].any() and (free[outside] == 1).all()


def test_a_soft_light_has_a_penumbra(stage):
    """Half of the samples at the edge of the shadow are free, and no others are farther off than its width."""
    one = lobe(60, 30, 6.0)
    edge = torch.tensor(MIDDLE) + RADIUS * torch.nn.functional.normalize(
        torch.linalg.cross(one.towards, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    point = edge - one.towards * (edge[1] / one.towards[1])
    many = on_floor(point[0].expand(4000), point[2].expand(4000))
    assert float(lit(stage, many, one).free.mean()) == pytest.approx(0.5, abs=0.1)
    assert float(lit(stage, many, lobe(60, 30)).free.std()) < 0.5


def test_radiance_of_a_lobe_has_fallen_to_half_at_its_size():
    """As many directions as a Gaussian of the angle has within the half width."""
    size = 10.0
    met = on_floor(torch.zeros(20000), torch.zeros(20000))
    # A floor's cosine with a light on the horizon tells the sample's elevation.
    cosine = lit(NothingStage(), met, lobe(90, 0, size)).each[0, :, 0]
    above = cosine > 0.01
    assert float(above.float().mean()) == pytest.approx(0.5, abs=0.05)
    middle = float(cosine[above].median())
    sigma = math.radians(size) / math.sqrt(2 * math.log(2))
    assert middle == pytest.approx(math.sin(0.6745 * sigma), rel=0.12)


def test_a_lamp_falls_off_with_the_square():
    place = torch.tensor([0.0, 2.0, 0.0])
    x = torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0])
    met = on_floor(x, torch.zeros(5), 0.5)
    lamp = Lobe(torch.tensor([0.0, 1.0, 0.0]), NARROW, place, 2.0)
    light = lit(NothingStage(), met, lamp).each[0, :, 0]
    distance2 = x**2 + 4
    expected = 0.5 * (4 / distance2) * (2 / distance2.sqrt())
    assert float((light - expected).abs().max()) < 0.012 and float(light[0]) == pytest.approx(0.5, abs=0.012)
    assert float((light / expected - 1).abs().max()) < 0.06


def test_what_stands_behind_a_lamp_throws_no_shadow(stage):
    met = on_floor(torch.tensor([-1.2, -1.2]), torch.tensor([3.0, 3.0]))
    near = Lobe(torch.tensor([0.0, 1.0, 0.0]), NARROW, torch.tensor([-0.7, 0.4, 3.0]), 1.0)
    behind = replace(near, place=torch.tensor([0.9, 0.4, 3.0]))
    assert lit(stage, met, near, behind).free.tolist() == [[1, 1], [0, 0]]


def test_hits_of_nothing_are_dark():
    met = on_floor(torch.zeros(3), torch.zeros(3))
    none = replace(met, valid=torch.tensor([True, False, True]))
    light = lit(NothingStage(), none, lobe(0, 60), sky=WHITE)
    assert (light.each[0, [0, 2]] > 0.5).all() and not light.each[0, 1].any() and not light.around[:, 1].any()
    nobody = replace(met, valid=torch.zeros(3, dtype=torch.bool))
    assert not any(value.any() for value in vars(lit(NothingStage(), nobody, lobe(0, 60), sky=WHITE)).values())


# ---- sky and bounce --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("level", [1.0, 0.3])
def test_an_even_sky_gives_a_floor_its_albedo(level):
    met = on_floor(torch.zeros(20), torch.zeros(20), 0.6)
    light = lit(NothingStage(), met, lobe(0, 40), sky=level * WHITE)
    torch.testing.assert_close(light.around[0], torch.full((20, 3), level))
    assert not light.mirrored.any() and not light.around[1:].any()


def test_a_graded_sky_gives_a_floor_its_mean_by_cosine():
    """Radiance = the height above the horizon: its mean by cosine is 2 / 3."""
    height = torch.linspace(0, math.pi, 65)[:-1].add(math.pi / 128).cos().clamp_min(0)
    sky = height[:, None, None].expand(64, 128, 3)
    met = on_floor(torch.zeros(20000), torch.zeros(20000))
    assert float(lit(NothingStage(), met, lobe(0, 40), sky=sky).around[0].mean()) == pytest.approx(2 / 3, abs=0.01)


def test_a_wall_gets_half_of_the_floors_light_back():
    """Far from the floor's ends half of what a wall sees is floor: form factor 1 / 2."""
    stage = things(floor(0.5), wall(1.0))
    count = 8000
    met = replace(on_floor(torch.zeros(count), torch.full((count,), 4.0)),
                  normal=torch.tensor([[0.0, 0.0, -1.0]]).expand(count, 3),
                  point=torch.tensor([[0.0, 0.05, 4.0]]).expand(count, 3))
    one = lobe(10, 50)
    light = lit(stage, met, one, sky=BLACK)
    assert (light.around >= 0).all() and not light.around[0].any()
    expected = 0.5 * 0.5 * math.sin(math.radians(50))
    assert float(light.around[1].mean()) == pytest.approx(expected, rel=0.05)
    # The wall keeps light from behind off the floor, and so there is nothing to come back.
    assert not lit(stage, met, lobe(180, 30)).around[1].any()


def test_a_bounce_has_the_colour_of_what_it_comes_from(stage):
    """Beside the ball, on the side of the light; far away nothing comes back."""
    one = lobe(90, 30)
    near, far = (on_floor(torch.full((4000,), x), torch.full((4000,), 3.0)) for x in (-0.55, -12.0))
    red, green, blue = lit(stage, near, one).around[1].mean(0)
    assert red / green == pytest.approx(0.7 / 0.5, rel=1e-3) and green / blue == pytest.approx(0.5 / 0.3, rel=1e-3)
    assert float(red) > 0.01 and float(lit(stage, far, one).around[1].mean()) < 1e-3


# ---- gloss -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("roughness, metallic", [(1.0, 0.0), (0.5, 0.0), (0.3, 1.0), (0.7, 1.0)])
def test_gloss_is_ggx(roughness, metallic):
    count = 300
    view = _above(count, 1)
    one = lobe(40, 35)
    met = on_floor(torch.zeros(count), torch.zeros(count), 0.8, roughness, metallic)
    made = lit(NothingStage(), met, one, eye=view * 5).each[0, :, 0]
    towards = one.towards.expand(count, 3)
    expected = brdf(0.8, roughness, metallic, view, towards)
    # More than 8 is cut off, because no more is stored.
    sure = (view[:, 1] > 0.15) & (expected < 8)
    assert int(sure.sum()) > 250
    torch.testing.assert_close(made[sure].double(), (expected * one.towards[1])[sure], rtol=0.02, atol=2e-3)


def test_a_rough_white_floor_by_hand():
    """Seen and lit from above: the diffuse 1 and the coat's 0.04 / 4."""
    met = on_floor(torch.zeros(1), torch.zeros(1))
    light = lit(NothingStage(), met, lobe(0, 90), eye=torch.tensor([0.0, 3.0, 0.0]))
    assert light.each.flatten().tolist() == pytest.approx([1.01] * 3, abs=1e-4)


def test_a_rough_white_metal_reflects_what_its_integral_says():
    """Lit from above, pi times the BSDF is 1 / (2 (1 + cos)); by cosine over all views that is 1 - ln 2. The rest would
    need a second bounce between its facets."""
    count = 40000
    met = on_floor(torch.zeros(count), torch.zeros(count), 1.0, 1.0, 1.0)
    light = lit(NothingStage(), met, lobe(0, 90), eye=_above(count, 2) * 5).each[0, :, 0]
    assert float(light.mean()) == pytest.approx(1 - math.log(2), abs=0.003)


def test_a_mirror_shows_the_sky():
    met = on_floor(torch.zeros(5), torch.zeros(5), 0.9, 0.05, 1.0)
    light = lit(NothingStage(), met, lobe(0, 60), sky=0.5 * WHITE, eye=torch.tensor([0.0, 3.0, 0.0]))
    assert light.mirrored[0].mean() == pytest.approx(0.45, abs=0.005) and not light.mirrored[1:].any()
    assert not light.around.any()  # A metal has no diffuse layer.


# ---- filter ----------------------------------------------------------------------------------------------------------

def _flat(size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    normal = torch.zeros(3, size, size)
    normal[2] = 1
    return normal, torch.zeros(1, size, size)


def test_smoothed_keeps_constants():
    normal = torch.nn.functional.normalize(torch.randn(3, 16, 20, generator=torch.Generator().manual_seed(0)), dim=0)
    constant = torch.full((2, 16, 20), 0.7)
    torch.testing.assert_close(smoothed(constant, normal, torch.randn(1, 16, 20), 3), constant)


def test_smoothed_takes_noise_away_on_one_surface():
    noise = torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(1))
    made = smoothed(noise, *_flat(), 3)
    assert float(made.std()) < 0.35 * float(noise.std())
    assert float(made.mean()) == pytest.approx(float(noise.mean()), abs=0.03)


@pytest.mark.parametrize("edge", ["normal", "depth"])
def test_smoothed_stops_at_edges(edge):
    normal, depth = _flat()
    light = torch.zeros(1, 24, 24)
    light[..., 12:] = 1
    if edge == "normal":
        normal[:, :, 12:] = torch.tensor([1.0, 0, 0])[:, None, None]
    else:
        depth[..., 12:] = 0.3
    assert float((smoothed(light, normal, depth, 3) - light).abs().max()) < 1e-3
    blurred = smoothed(light, *_flat(), 3)
    assert float((blurred - light).abs().max()) > 0.3
