"""What a plate says about the light that falls into it."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.light import LightPrior
from dipir.priors.nets.light_unet import LightUNet
from dipir.priors.plate_light import (
    Shade,
    committed,
    decided,
    ground_normal,
    light_of_plate,
    small_plate,
    towards_place,
    with_plate,
)
from dipir.scene.assets.asset import Part
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.proxy import Proxy
from dipir.scene.scene import Scene
from dipir.scene.source import SUN_SIGMA, ground_irradiance
from dipir.workshop.things.objects import simple_asset
from tests.support.looks import SHARES, SayingPrior, look
from tests.support.scenes import placed, scene_of, sphere_scene
from tests.support.shadowed_ground import TILTED, ground_plate, long_shadow, paved


def test_the_plate_is_put_where_it_shows():
    """Grey where the camera looks, the light's own elsewhere and where the plate is clipped; smooth between."""
    disp = torch.full((1, 3, 48, 64), 0.5)
    disp[..., :24, :] = 1.0
    scene = Scene(Plate(disp, srgb_to_linear(disp)), Camera.looking(64, 48, 60.0, 1.5, 0.0), ())
    light = torch.full((64, 128, 3), 7.0)
    got = with_plate(light, scene)
    def at(*d):
        return latlong.sample(got, torch.nn.functional.normalize(torch.tensor(d, dtype=torch.float32), dim=0))
    assert torch.allclose(at(0, -0.2, 1), torch.full((3,), float(srgb_to_linear(torch.tensor(0.5)))), atol=0.02)
    assert torch.allclose(at(0, 0.2, 1), torch.full((3,), 7.0)), "clipped pixels take no light away"
    assert torch.equal(at(0, 0, -1), torch.full((3,), 7.0)) and torch.equal(at(0, -1, 0.01), torch.full((3,), 7.0))


def test_starts_without_weights():
    scene = sphere_scene(size=48)
    mirrored, ambient = (light_of_plate(scene, start) for start in ("mirrored", "ambient"))
    assert mirrored.guesses == ambient.guesses == () and torch.equal(mirrored.start, mirrored.mirrored)
    assert torch.equal(ambient.mirrored, mirrored.mirrored) and ambient.start.shape == (16, 32, 3)
    torch.testing.assert_close(ambient.start[3, 7], scene.plate.lin.mean((0, 2, 3)))


def test_one_look_gives_what_two_gave():
    scene, prior = sphere_scene(size=48), LightPrior(LightUNet())
    light = light_of_plate(scene, "prior", 2, prior)
    said = prior.look(*small_plate(scene), towards_place(scene))
    torch.testing.assert_close(light.start, said.envmap(2))
    assert [g.to_dict() for g in light.guesses] == [g.to_dict() for g in said.guesses]


def test_the_place_is_where_the_first_object_stands():
    scene = sphere_scene(size=48)
    uv, _ = scene.camera.project(scene.camera.position + towards_place(scene).double().numpy())
    foot, _ = scene.camera.project(scene.objects[0].to_world[:3, 3] * [1, 0, 1])
    assert np.allclose(uv, foot, atol=1e-3)
    assert towards_place(replace(scene, objects=())) is None


def test_the_small_plate_keeps_the_aspect():
    plate, directions = small_plate(sphere_scene(size=64), longest=16)
    assert max(plate.shape[-2:]) == 16 and directions.shape == (*plate.shape[-2:], 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(plate.shape[-2:]))


@pytest.mark.parametrize("hard, guess, source", [(0.9, 0, 0), (0.3, 0, None), (0.3, 1, 0), (0.3, 2, 1), (0.9, 3, 2)])
def test_the_light_commits_when_it_is_likelier_hard_or_a_guess_was_chosen(hard, guess, source):
    """One source with its own strength and the rest; or the soft map as it was."""
    said, scene = look(hard), sphere_scene(size=24)
    light = light_of_plate(scene, "prior", guess, SayingPrior(hard), commit=True)
    assert light.hard == hard and len(light.sources) == 3
    if source is None:
        assert light.source is None and torch.equal(light.start, said.soft) and torch.equal(light.rest, said.soft)
        assert light.describe() == "light: soft, no single source (chance of one 0.30); --guess 1, 2, 3 for one"
        return
    assert light.source is light.sources[source] and torch.equal(light.rest, said.rest)
    assert light.share == pytest.approx(SHARES[source], rel=1e-4)
    others = ", ".join(str(n) for n in (1, 2, 3) if n != source + 1)
    assert light.describe().startswith("light: a sun from azimuth ") and f"--guess {others} for" in light.describe()
    assert f"{100 * SHARES[source]:.0f} % of the ground's light" in light.describe()


def test_without_commitment_the_light_is_as_likely_as_it_was():
    light, chosen = (light_of_plate(sphere_scene(size=24), "prior", guess, SayingPrior(), commit=False)
                     for guess in (0, 2))
    assert light.source is None and torch.equal(light.start, look().soft)
    assert chosen.source is None and torch.equal(chosen.start, look().envmap(2))


def test_energy_through_the_maps_of_a_committed_light():
    """The ground receives from every map what rest and source give by formula."""
    light = decided(look(), torch.zeros(16, 32, 3))
    exact = ground_irradiance(light.rest) + light.source.irradiance * light.source.direction[1]
    for rows in (16, 64, 256):
        # A coarse texel has no place within it: its middle is up to 3 degrees from the sun.
        torch.testing.assert_close(ground_irradiance(light.envmap(rows)), exact, rtol=0.05 if rows < 64 else 0.01,
                                   atol=0)
        total = (light.envmap(rows) * latlong.solid_angles(rows, 2 * rows)[..., None]).sum((0, 1))
        torch.testing.assert_close(total, 4 * torch.pi * light.rest[0, 0] + light.source.irradiance, rtol=1e-3, atol=0)
    torch.testing.assert_close(light.start, light.envmap(16), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guess", [0, 2])
def test_the_plates_own_shadows_set_the_strength_when_they_are_sure(guess):
    """The ground stays as bright as it was; unsure ones change nothing; sure ones commit a look that was undecided."""
    up = torch.nn.functional.normalize(torch.tensor([0.1, 1.0, -0.2]), dim=0)
    def with_shade(hard, sure):
        return decided(look(hard), torch.zeros(16, 32, 3), guess, shade=lambda: Shade(0.14, 0.22, sure), up=up)
    plain = decided(look(), torch.zeros(16, 32, 3), guess, up=up)
    dark = with_shade(0.9, 0.9)
    assert dark.share == pytest.approx(0.78, rel=1e-4)
    assert "78 % of the ground's light by the plate's own shadows (ratio 0.14)" in dark.describe()
    def level(light):
        sun = light.source.irradiance * (light.source.direction @ up)
        return float((ground_irradiance(light.rest, up) + sun) @ torch.tensor([0.2126, 0.7152, 0.0722]))
    assert level(dark) == pytest.approx(level(plain), rel=1e-4)
    unsure = with_shade(0.9, 0.6)
    assert unsure.shade is None and unsure.share == pytest.approx(plain.share)
    assert with_shade(0.4, 0.9).source is not None and with_shade(0.4, 0.9).hard == pytest.approx(0.36 / 0.42)
    # The look is far surer of soft light than the shadow is of being one.
    assert guess or with_shade(0.05, 0.7).source is None
    assert guess or with_shade(0.4, 0.6).source is None
    assert dark.guesses_to_dict()[2]["share"] == 0.78 and plain.guesses_to_dict()[2]["share"] != 0.78


def test_another_guess_can_be_taken_afterwards():
    """What the light was committed to before leaves no trace, shadows of the plate or not."""
    for shade in (None, lambda: Shade(0.14, 0.22, 0.9)):
        first, third = (decided(look(), torch.zeros(16, 32, 3), guess, shade=shade) for guess in (1, 3))
        taken = committed(committed(first, 1, first.shade), 2, first.shade)
        torch.testing.assert_close(taken.rest, third.rest)
        torch.testing.assert_close(taken.source.irradiance, third.source.irradiance)
        assert taken.chosen == third.chosen == 2 and taken.share == pytest.approx(third.share)


def test_shadows_are_not_looked_for_in_vain():
    """A light that does not commit asks for none."""
    def never():
        raise AssertionError("asked")
    assert decided(look(), torch.zeros(16, 32, 3), commit=False, shade=never).source is None


def test_the_ground_is_that_under_the_object():
    """A slope of 20 degrees under the object, walls beside it; the plane is level."""
    assert ground_normal(sphere_scene()) is None
    rise = 2 * math.tan(math.radians(20))
    v = np.array([[-1, 0, 2], [1, 0, 2], [1, rise, 4], [-1, rise, 4], [-1, 0, 1.9], [1, 0, 1.9]], np.float32)
    slope = Part("slope", v, np.array([[0, 1, 2], [0, 2, 3], [0, 4, 5]], np.uint32))
    scene = scene_of(placed(simple_asset("sphere")), proxy=Proxy(slope))
    got, a = ground_normal(scene), math.radians(20)
    torch.testing.assert_close(got, torch.tensor([0.0, math.cos(a), -math.sin(a)]), atol=1e-5, rtol=0)
    far = scene_of(placed(simple_asset("sphere"), x=9.0), proxy=Proxy(slope))
    assert ground_normal(far) is None


def test_the_shade_of_a_plate_is_that_of_its_shadows():
    """A shadow of a known ratio on paved ground is measured, and sets the source's strength; a grey plate has none."""
    lin = ground_plate(paved, long_shadow, (0.13, 0.18, 0.28))
    scene = Scene(Plate(linear_to_srgb(lin), lin), TILTED, (placed(simple_asset("sphere"), x=1.0, z=5.0),))
    seen = Shade.of(scene)
    assert seen.believed and seen.ratio == pytest.approx(0.177, rel=0.15) and seen.rest_share > seen.ratio
    light = light_of_plate(scene, "prior", 0, SayingPrior(), commit=True, shade=lambda: Shade.of(scene))
    assert light.share == pytest.approx(1 - seen.rest_share, rel=1e-3) and light.shade == seen
    assert not Shade.of(sphere_scene(size=64)).believed


def test_what_seems_hardly_wider_than_the_sun_is_the_sun():
    """A lamp keeps its size."""
    said = look()
    seeming = replace(said, sources=tuple(replace(s, sigma=w) for s, w in zip(said.sources, (0.008, 0.015, 0.05),
                                                                            strict=True)))
    light = decided(seeming, torch.zeros(16, 32, 3), 3)
    assert [s.sigma for s in light.sources] == [SUN_SIGMA, SUN_SIGMA, 0.05]
    torch.testing.assert_close(light.source.irradiance, said.sources[2].irradiance)
    assert light.describe().startswith("light: a lamp or window")
