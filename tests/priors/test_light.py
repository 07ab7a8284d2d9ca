"""The light prior: what it says, how it commits itself, its symmetries, large plates."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dipir.errors import PriorError
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.priors import light
from dipir.priors.light import (
    Hypothesis,
    LightPrior,
    Look,
    compose,
    hypotheses,
)
from dipir.priors.light_input import usual_place, windows
from dipir.priors.nets.light_unet import LightEstimate
from dipir.scene.camera import Camera
from dipir.scene.source import SUN_SIGMA, Source, ground_irradiance
from tests.support.light_sets import angle_deg, rays_of, same_light, scrambled, short_backbone, unit


@pytest.fixture(scope="module", autouse=True)
def _short():
    with short_backbone():
        yield


def _prior(**settings: float) -> LightPrior:
    return LightPrior(scrambled(), **settings)


def _said(prior: LightPrior, plate: torch.Tensor, rays: torch.Tensor) -> dict[str, torch.Tensor]:
    return {key: value[0] for key, value in vars(prior.say(plate, rays[None])).items()}


# ------------------------------------------------------------------------------------------------------- dominant light
def _estimate(direction: torch.Tensor, energy: torch.Tensor, smooth: float = -30.0) -> LightEstimate:
    batch = len(direction)
    zero = torch.zeros(batch)
    return LightEstimate(torch.full((batch, 3, 16, 32), smooth), direction, energy, zero, zero, zero)


def test_composed_map_holds_the_energy_of_the_dominant_light() -> None:
    torch.manual_seed(0)
    estimate = _estimate(torch.randn(2, 16, 32), torch.randn(2, 3))
    share = latlong.solid_angles(16, 32)[..., None] / (4 * torch.pi)
    known, unknown = torch.rand(2, 16, 32), torch.zeros(2)
    total = (compose(estimate, known, unknown) * share).sum((1, 2))
    torch.testing.assert_close(total, estimate.energy.exp() + math.exp(-9), rtol=1e-4, atol=1e-5)
    sharp = replace(estimate, direction=8 * estimate.direction)
    brightest = compose(sharp, known, unknown)[0].sum(-1).flatten().argmax()
    assert brightest == estimate.direction[0].flatten().argmax()


def test_composed_with_a_known_direction_the_light_is_there() -> None:
    estimate = _estimate(torch.randn(1, 16, 32), torch.zeros(1, 3))
    known = torch.zeros(1, 16, 32)
    known[0, 5, 7] = 1
    share = latlong.solid_angles(16, 32)[..., None] / (4 * torch.pi)
    for weight in (0.0, 0.4, 1.0):
        there = float((compose(estimate, known, torch.tensor([weight]))[0] * share)[5, 7, 0])
        chance = float(estimate.direction.flatten().softmax(0).reshape(16, 32)[5, 7])
        assert there == pytest.approx(weight + (1 - weight) * chance, rel=1e-3, abs=1e-5)


def test_hypotheses_of_two_lights() -> None:
    """70 % of the chance in one place, 20 % in another, the rest anywhere."""
    rays, chance = latlong.directions(16, 32), torch.full((16, 32), 0.1 / 512)
    chance[5, 8] += 0.7
    chance[6, 24] += 0.2
    first, second, third = hypotheses(chance)
    assert float(first.direction @ rays[5, 8]) > 0.999 and 0.7 < first.chance < 0.72
    assert float(second.direction @ rays[6, 24]) > 0.99 and 0.2 < second.chance < 0.22 and third.chance < 0.03
    even = hypotheses(latlong.solid_angles(16, 32).expand(16, 32))[0].chance
    assert even == pytest.approx((1 - math.cos(math.radians(30))) / 2, rel=0.15)


@pytest.mark.parametrize("azimuth_deg, elevation_deg", [(33, 41), (-95, 20), (170, 62)])
def test_a_direction_between_the_texels_is_found_there(azimuth_deg: float, elevation_deg: float) -> None:
    """A lobe as training tells it is found to two degrees, texels being eleven."""
    from dipir.workshop.light.loss import kernel

    true = unit(azimuth_deg, elevation_deg)
    assert angle_deg(hypotheses(kernel(true[None], 16, 32)[0])[0].direction, true) < 2


# ------------------------------------------------------------------------------------------------------------ committed
LOOK = Look(torch.full((16, 32, 3), 1.5), torch.full((16, 32, 3), 0.7), 0.8,
            (Hypothesis(unit(30, 40), 0.6), Hypothesis(unit(-90, 30), 0.2)),
            (Source(unit(30, 40), torch.tensor([9.0, 8.0, 6.0]), SUN_SIGMA),
             Source(unit(-90, 30), torch.tensor([3.0, 3.0, 2.0]), 0.05)))


def test_a_look_commits_itself() -> None:
    level, source = LOOK.committed()
    assert level is LOOK.rest and source is LOOK.sources[0]
    soft = replace(LOOK, hard=0.49)
    assert soft.committed() == (soft.soft, None) and torch.equal(soft.envmap(), soft.soft)
    # Who asks for a guess gets it, whatever the decision; there are only two.
    assert soft.committed(1)[1] is LOOK.sources[0] and LOOK.committed(2)[1] is LOOK.sources[1]
    assert LOOK.committed(3)[1] is LOOK.sources[1]


@pytest.mark.parametrize("guess", [1, 2])
def test_a_committed_map_holds_the_energy_of_its_source(guess: int) -> None:
    solid = latlong.solid_angles(16, 32)[..., None]
    added = ((LOOK.envmap(guess) - LOOK.rest) * solid).sum((0, 1))
    torch.testing.assert_close(added, LOOK.sources[guess - 1].irradiance, rtol=5e-3, atol=0)
    brightest = latlong.directions(16, 32).reshape(-1, 3)[int(LOOK.envmap(guess).sum(-1).argmax())]
    assert angle_deg(brightest, LOOK.sources[guess - 1].direction) < 8


def test_every_guess_has_the_strength_that_the_ground_asks_for() -> None:
    """Whatever its height, a source has the told share of the ground's light beside the look's rest; near the horizon
    it is limited. As much light in all as between what the rest says and what rest and energy say."""
    prior = _prior()
    rest = torch.rand(16, 32, 3) + 0.2
    said = {"rest": rest, "energy": torch.tensor([2.0, 1.5, 1.0]), "hard": torch.tensor(1.0),
            "share": torch.tensor(0.7).logit(), "width": torch.tensor(1e-4)}
    chance = torch.full((16, 32), 1e-6)
    for row, column, weight in ((3, 4, 0.6), (6, 20, 0.3), (7, 12, 0.1)):
        chance[row, column] = weight
    look = prior.look_of(said, chance / chance.sum())
    assert len(look.sources) == 3 and [s.direction.tolist() for s in look.sources] == [g.direction.tolist()
                                                                                      for g in look.guesses]
    for source in look.sources[:2]:
        assert source.ground_share(look.rest) == pytest.approx(0.7, abs=1e-4) and source.sigma == SUN_SIGMA
        torch.testing.assert_close(source.irradiance / source.irradiance[0], torch.tensor([1.0, 0.75, 0.5]))
    low = look.sources[2]
    assert 0 < float(low.direction[1]) < 0.12
    facing = float(low.irradiance @ torch.tensor(BT709)) * 0.12
    level = float(ground_irradiance(look.rest) @ torch.tensor(BT709))
    assert facing / (facing + level) == pytest.approx(0.7, abs=1e-4)
    scale = look.rest / rest
    torch.testing.assert_close(scale, scale[0, 0, 0].expand_as(scale))
    told = float(ground_irradiance(rest) @ torch.tensor(BT709))
    first = look.guesses[0].direction
    full = told + float(4 * math.pi * said["energy"] @ torch.tensor(BT709) * first[1])
    total = level / 0.3
    assert min(told / 0.3, full) < total < max(told / 0.3, full)


def test_settings_act_on_chances_decision_and_soft_map() -> None:
    torch.manual_seed(1)
    plate, ahead = torch.rand(1, 3, 60, 80), rays_of(Camera.looking(80, 60, 60))
    plain, wary = (_prior(**s).look(plate, ahead) for s in ({}, {"trust": 0.5, "lean": 1.3}))
    for a, b in zip(plain.guesses, wary.guesses, strict=True):
        assert b.chance == pytest.approx(0.5 * a.chance)
    logits = [math.log(look.hard / (1 - look.hard)) for look in (plain, wary)]
    assert logits[1] - logits[0] == pytest.approx(1.3, abs=1e-3)
    share = latlong.solid_angles(16, 32)[..., None]
    maps = [_prior(sharpness=s).look(plate, ahead).soft for s in (0.0, 1.0, 4.0)]
    means = [float((m * share).sum()) for m in maps]
    assert means == pytest.approx([means[0]] * 3, rel=1e-4)
    assert maps[0].max() < maps[1].max() < maps[2].max()
    assert bool((maps[1] > 0).all())


# ----------------------------------------------------------------------------------------------------------- symmetries
def test_what_is_said_of_the_mirrored_plate_is_mirrored_exactly() -> None:
    torch.manual_seed(1)
    prior, plate = _prior(), torch.rand(2, 3, 192, 256)
    rays = torch.stack([rays_of(Camera.looking(256, 192, 60, pitch_deg=10, roll_deg=r)) for r in (0.0, 3.0)])
    flip = torch.tensor([-1.0, 1.0, 1.0])
    place = usual_place(rays)
    here, there = prior.say(plate, rays, place), prior.say(plate.flip(-1), rays.flip(2) * flip, place * flip)
    for key in ("rest", "chance"):
        torch.testing.assert_close(getattr(there, key), getattr(here, key).flip(2), rtol=1e-4, atol=1e-6)
    for key in ("energy", "hard", "share", "width"):
        torch.testing.assert_close(getattr(there, key), getattr(here, key), rtol=1e-4, atol=1e-6)
    assert here.chance.std() > 1e-4 and not torch.allclose(here.chance, here.chance.flip(2), rtol=0.01)
    torch.testing.assert_close(here.chance.sum((1, 2)), torch.ones(2))
    assert bool((here.width >= SUN_SIGMA).all()) and bool((here.width <= 1).all())


def test_a_turned_camera_turns_the_answer() -> None:
    torch.manual_seed(1)
    prior, plate = _prior(), torch.rand(1, 3, 60, 80)
    ahead = rays_of(Camera.looking(80, 60, 60, pitch_deg=10))
    straight = prior.look(plate, ahead)
    turned = prior.look(plate, rays_of(Camera.looking(80, 60, 60, pitch_deg=10, yaw_deg=90)))
    assert straight.rest.shape == (16, 32, 3) and straight.rest.min() >= 0 and straight.rest.std() > 1e-3
    for key in ("soft", "rest"):
        torch.testing.assert_close(getattr(turned, key), latlong.rotate_yaw(getattr(straight, key), 90), atol=1e-3,
                                   rtol=1e-3)
    assert turned.hard == pytest.approx(straight.hard, abs=1e-4)
    for a, b in zip(straight.guesses, turned.guesses, strict=True):
        x, y, z = a.direction.tolist()
        assert b.direction.tolist() == pytest.approx([z, y, -x], abs=0.02)
        assert b.chance == pytest.approx(a.chance, abs=0.01)
    torch.testing.assert_close(turned.sources[0].irradiance, straight.sources[0].irradiance, rtol=0.02, atol=0)


def test_the_place_is_a_world_direction() -> None:
    """By default three quarters down the middle; told, it matters and turns with the camera."""
    torch.manual_seed(1)
    prior, plate = _prior(), torch.rand(1, 3, 60, 81)
    for yaw_deg in (0, -120):
        rays = rays_of(Camera.looking(81, 60, 60, pitch_deg=10, yaw_deg=yaw_deg))
        same_light(prior.look(plate, rays, rays[45, 40]), prior.look(plate, rays))
    straight, turned = (rays_of(Camera.looking(81, 60, 60, pitch_deg=10, yaw_deg=yaw)) for yaw in (0, 90))
    aside, also = prior.look(plate, straight, straight[50, 10]), prior.look(plate, turned, turned[50, 10])
    assert (aside.rest - prior.look(plate, straight).rest).abs().max() > 1e-4
    torch.testing.assert_close(also.rest, latlong.rotate_yaw(aside.rest, 90), atol=1e-3, rtol=1e-3)


# ------------------------------------------------------------------------------------------------------------- together
def test_the_same_plate_twice_is_the_same_plate() -> None:
    torch.manual_seed(1)
    prior, plate, rays = _prior(), torch.rand(1, 3, 60, 80), rays_of(Camera.looking(80, 60, 60))
    same_light(prior.look_together([plate, plate], [rays, rays], agree=0.5), prior.look(plate, rays))
    same_light(prior.look_together([plate], [rays], agree=1.0), prior.look(plate, rays))


def test_plates_together_are_means_and_products() -> None:
    torch.manual_seed(1)
    prior, plates = _prior(), [torch.rand(1, 3, 60, 80) for _ in range(2)]
    rays = [rays_of(Camera.looking(80, 60, 60, yaw_deg=yaw)) for yaw in (0, 90)]
    ahead = rays[0]
    said = [_said(prior, plate, ahead) for plate in plates]
    said[1]["rest"] = latlong.rotate_yaw(said[1]["rest"], 90)
    said[1]["chance"] = latlong.rotate_yaw(said[1]["chance"][..., None], 90)[..., 0]
    look = prior.look_together(plates, rays, agree=0.7)
    scale = look.rest / ((said[0]["rest"] + said[1]["rest"]) / 2)
    torch.testing.assert_close(scale, scale[0, 0, 0].expand_as(scale), rtol=2e-3, atol=0)
    hard = (said[0]["hard"] + said[1]["hard"]) / 2
    assert look.hard == pytest.approx(float(hard.sigmoid()), abs=1e-4)
    product = (said[0]["chance"] * said[1]["chance"]) ** 0.7
    expected = hypotheses(product / product.sum())
    for a, b in zip(look.guesses, expected, strict=True):
        assert angle_deg(a.direction, b.direction) < 0.5 and a.chance == pytest.approx(b.chance, abs=1e-3)


def test_votes_are_one_more_witness() -> None:
    torch.manual_seed(1)
    prior, plate, rays = _prior(), torch.rand(1, 3, 60, 80), rays_of(Camera.looking(80, 60, 60))
    wanted = unit(-140, 35)
    votes = 200 * (latlong.directions(16, 32) @ wanted - 1)
    look = prior.look_together([plate], [rays], votes=votes)
    assert angle_deg(look.guesses[0].direction, wanted) < 3 and look.guesses[0].chance > 0.95
    with pytest.raises(PriorError, match="votes"):
        prior.look_together([plate], [rays], votes=votes[:8])
    for plates, directions in (([], []), ([plate], [rays, rays])):
        with pytest.raises(PriorError, match="accepted: as many, 1 or more"):
            prior.look_together(plates, directions)


# --------------------------------------------------------------------------------------------------------- large plates
@pytest.fixture
def two_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The left and the right one of the same height, in place of all nine."""
    monkeypatch.setattr(light, "windows", lambda *given: windows(*given)[0:5:4])


def test_a_large_plate_is_looked_at_in_parts(two_windows: None) -> None:
    """The rest is that of the whole plate; parts are sure of hard light or not, and have a say as far as they are."""
    torch.manual_seed(2)
    prior = _prior()
    small = torch.rand(1, 3, 12, 16)
    plate = torch.nn.functional.interpolate(small, (384, 512), mode="bilinear")
    rays = rays_of(Camera.looking(512, 384, 60, pitch_deg=12))
    whole, heard = prior._turned(plate, rays, None), prior._heard(plate, rays, None)
    assert torch.equal(heard.rest, whole.rest) and torch.equal(heard.energy, whole.energy)
    assert (heard.chance - whole.chance).abs().max() > 1e-6 and float(heard.chance.sum()) == pytest.approx(1, abs=1e-4)
    parts = [prior._turned(piece, ahead, None) for piece, ahead in light.windows(plate, rays)]
    hard = torch.cat([whole.hard, *(p.hard for p in parts)])
    assert float(heard.hard) == pytest.approx(float(hard.mean()), abs=1e-5)
    shares = [float(s.share) for s in (whole, *parts)]
    assert min(shares) <= float(heard.share) <= max(shares)
    # Parts that see no hard light at all leave the word to the whole.
    deaf = LightPrior(prior.net, lean=-40.0)
    torch.testing.assert_close(deaf._heard(plate, rays, None).chance, whole.chance, rtol=1e-3, atol=1e-7)


def test_looks_at_a_large_plate_are_mirrored_with_it(two_windows: None) -> None:
    torch.manual_seed(2)
    prior = _prior()
    plate = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 16), (384, 512), mode="bilinear")
    rays = rays_of(Camera.looking(512, 384, 60, pitch_deg=12))
    here, there = prior.look(plate, rays), prior.look(plate.flip(-1), rays)
    torch.testing.assert_close(there.rest, here.rest.flip(1), rtol=2e-3, atol=1e-4)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert angle_deg(there.guesses[0].direction, here.guesses[0].direction * flip) < 1
    assert there.hard == pytest.approx(here.hard, abs=1e-4)
