"""A whole light on surfaces: against integrals over its map, its directions in a picture's frame, what is its key."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.priors.relit.relighting import FILL, planned
from dipir.priors.relit.whole_light import WholeLight
from dipir.scene.light import EnvironmentMap, SphericalGaussians, towards
from dipir.scene.rig import Lamp, Rig
from dipir.scene.source import Source, luminance_of
from tests.support.spheres import smooth_map
from tests.support.surface_sets import frame, true_ball

SKY = SphericalGaussians.uniform(torch.tensor([0.5, 0.5, 0.5]))
WHITE = torch.ones(3)


def sun(azimuth: float, elevation: float, strength: float = 3.0, sigma: float = 0.01) -> Source:
    return Source(towards(azimuth, elevation), WHITE * strength, sigma)


def world(normal: torch.Tensor) -> torch.Tensor:
    """(3, H, W) of a level camera at yaw 0 in the world: +X is the picture's left, +Z what it looks at."""
    return torch.stack([-normal[0], normal[1], -normal[2]])


def integral(envmap: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """(H, W) irradiance of luminance on world normals (3, H, W), texel by texel."""
    height, width = envmap.shape[:2]
    energy = (luminance_of(envmap) * latlong.solid_angles(height, width)).flatten()
    cosine = normal.flatten(1).T @ latlong.directions(height, width).reshape(-1, 3).T
    return (cosine.clamp_min(0) @ energy).view(normal.shape[1:])


# ---- physics ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", [3, 4, 5])
def test_light_on_a_ball_is_the_integral_over_the_map(seed):
    """Up to one unit. The key, which is wide here, is one direction: surfaces near its horizon are left out."""
    envmap, seen = smooth_map(128, seed), true_ball(24)
    light = WholeLight.of(Rig(EnvironmentMap(envmap)))
    cosine = torch.einsum("c,chw->hw", light.direction.vector, seen.normal[0])
    made = light.fill(seen)[0, 0] + light.key * cosine.clamp_min(0)
    ratio = (made / integral(envmap, world(seen.normal[0]))).log2()
    clear = (cosine.abs() > 0.5) if light.key else torch.ones_like(cosine) > 0
    assert int(clear.sum()) > 50
    assert float((ratio[clear] - ratio[clear].median()).abs().max()) < 0.15


def test_what_is_not_the_key_is_exact_at_every_normal():
    """A second sharp lamp among it, with a bend at its horizon."""
    rig = Rig(EnvironmentMap(smooth_map(128)), (Lamp("sun", sun(-50, 40, 60.0)), Lamp("lamp", sun(80, 10, 5.0))))
    light, seen = WholeLight.of(rig), true_ball(24)
    normal = world(seen.normal[0])
    lamp = 5 * torch.einsum("c,chw->hw", towards(80, 10), normal).clamp_min(0)
    expected = integral(smooth_map(128), normal) + lamp
    ratio = light.fill(seen)[0, 0] / expected
    assert float((ratio / ratio.median() - 1).abs().max()) < 1e-2
    assert float(ratio.median()) == pytest.approx(light.key / 60, rel=5e-3)


def test_the_surface_that_faces_the_key_has_as_much_as_with_the_usual_fill():
    light = WholeLight.of(Rig.of(SKY, sun(30, 20)))
    faces = (light.rest @ light.direction.vector).clamp_min(0).sum()
    assert light.key + float(faces) == pytest.approx(1 + FILL, rel=1e-3)
    assert light.key_share == pytest.approx(3 / (3 + math.pi / 2), rel=0.02)
    assert light.key_to_fill == pytest.approx(3 / (math.pi / 2), rel=0.02)
    assert light.mean_fill == pytest.approx(light.key / light.key_to_fill)


def test_even_light_is_even_on_surfaces_seen_and_unsure():
    """Short normals too: the mean over all of them is the same."""
    light, seen = WholeLight.of(Rig(SKY)), true_ball(24)
    for part in (1.0, 0.4):
        made = light.fill(replace(seen, normal=seen.normal * part))
        assert float(made.max() / made.min()) < 1.03 and float(made.mean()) == pytest.approx(1 + FILL, rel=0.02)


@pytest.mark.parametrize("pitch", [-20, 25])
def test_pitched_cameras_see_the_same_light(pitch):
    light, seen = WholeLight.of(Rig(EnvironmentMap(smooth_map(128)))), true_ball(24, pitch)
    level = torch.einsum("kc,chw->khw", frame(pitch), seen.normal[0])[None]
    made = light.fill(seen)
    torch.testing.assert_close(made, light.fill(replace(true_ball(24), normal=level)), atol=1e-4, rtol=1e-4)
    assert float(made.max() / made.min()) > 1.1


def test_planned_takes_a_fill_for_each_pixel_and_a_weaker_key():
    seen, light = true_ball(48), WholeLight.of(Rig.of(SKY, sun(60, 20)))
    numbers, fill = light.direction.numbers[None], light.fill(seen)
    plan = planned(seen, numbers, fill, light.key, shadows=False)
    torch.testing.assert_close(plan.gain, (light.key * plan.cosine + fill).log2().clamp(-4, 4))
    even = planned(seen, numbers, 0.3, shadows=False).gain
    torch.testing.assert_close(planned(seen, numbers, torch.full_like(fill, 0.3), shadows=False).gain, even)
    assert float((planned(seen, numbers, 1.0, 0.0, shadows=False).gain).abs().max()) == 0


# ---- directions ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("azimuth, yaw, seen", [(-90, 0, -90), (90, 0, 90), (0, 0, 0), (-60, 25, -85), (-90, 90, 180),
                                                (170, -40, -150)])
def test_directions_become_those_of_the_picture(azimuth, yaw, seen):
    """A camera that is turned to the left by 90 degrees looks where light from the picture's left came from."""
    light = WholeLight.of(Rig.of(SKY, sun(azimuth, 30)), "light", yaw)
    off = (light.direction.azimuth_deg - seen + 180) % 360 - 180
    assert abs(off) < 0.01 and light.direction.elevation_deg == pytest.approx(30, abs=0.01)


def test_the_rest_turns_with_the_camera():
    lobe = SphericalGaussians.of(towards(-90, 0)[None], torch.full((1, 3), 2.0), torch.tensor([1.2]))
    light = WholeLight.of(Rig.of(lobe, sun(0, 90, 20.0)), "light", -90)
    mean = torch.nn.functional.normalize(light.rest.sum(0), dim=0)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)


# ---- the key ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sigma, half", [(0.0023, 1.0), (0.1, 6.7), (0.3, 20.2)])
def test_a_lamp_is_found_in_a_map_as_it_is_by_name(sigma, half):
    rig = Rig.of(SKY, sun(-40, 35, 6.0, sigma))
    named, found = WholeLight.of(rig), WholeLight.of(Rig(EnvironmentMap(rig.envmap(256, 512))))
    assert named.direction.size_deg == pytest.approx(half, rel=0.02)
    assert float(named.direction.vector @ found.direction.vector) > math.cos(math.radians(1.0))
    assert found.key_share == pytest.approx(named.key_share, abs=0.1)
    assert found.direction.size_deg == pytest.approx(half, rel=0.3, abs=1.5)


def test_the_strongest_lamp_is_the_key():
    lamps = (Lamp("lamp", sun(70, 20, 1.0)), Lamp("sun", sun(-30, 50, 4.0)))
    light = WholeLight.of(Rig(SKY, lamps))
    assert light.direction.azimuth_deg == pytest.approx(-30, abs=0.01)
    strong = Rig(EnvironmentMap(Rig.of(SKY, sun(120, 10, 9.0, 0.05)).envmap(128, 256)), lamps)
    assert WholeLight.of(strong).direction.azimuth_deg == pytest.approx(120, abs=1)


def test_an_overcast_sky_has_no_key():
    """Moon and Spencer's sky over dark ground: light from above, on the side half of it, nothing is refused."""
    up = latlong.directions(64, 128)[..., 1:2]
    light = WholeLight.of(Rig(EnvironmentMap(torch.where(up > 0, (1 + 2 * up) / 3, 0.1).expand(-1, -1, 3))))
    assert light.key == 0 and light.key_share == 0 and light.direction.elevation_deg > 85
    normal = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, -1, 0]]).T[None, :, :, None]
    seen = replace(true_ball(3), normal=normal.expand(-1, -1, -1, 3), up=torch.tensor([[0.0, 1, 0]]))
    above, side, below = light.fill(seen)[0, 0, :, 0].tolist()
    assert above == pytest.approx(1 + FILL, rel=1e-2) and below == pytest.approx(above * 0.1 * 9 / 7, rel=0.05)
    assert 0.3 * above < side < 0.6 * above
    plan = planned(seen, light.direction.numbers[None], light.fill(seen), light.key, shadows=False)
    torch.testing.assert_close(plan.gain, light.fill(seen).log2())
    assert "no lamp stands out" in light.describe()
    with pytest.raises(ConfigError, match="no lamp stands out.*Leave --key-to-fill out"):
        light.with_key_to_fill(5)


def test_key_to_fill_as_asked():
    light = WholeLight.of(Rig(EnvironmentMap(smooth_map(128)), (Lamp("sun", sun(-50, 40, 60.0)),)))
    asked = light.with_key_to_fill(3.0)
    assert asked.key_to_fill == pytest.approx(3, rel=1e-4) and asked.direction == light.direction
    ratio = asked.rest.norm(dim=1) / light.rest.norm(dim=1)
    assert float(ratio.max() / ratio.min()) == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(light.with_key_to_fill(light.key_to_fill).rest, light.rest, rtol=1e-4, atol=1e-6)


# ---- what is said ----------------------------------------------------------------------------------------------------

def test_colour_that_is_left_out_is_said_once():
    grey = WholeLight.of(Rig.of(SKY, sun(-40, 35)), "light.json")
    assert len(grey.notes) == 1 and "light.json: key from azimuth -40, elevation 35" in grey.notes[0]
    warm = Source(towards(-40, 35), torch.tensor([3.0, 2.4, 1.5]), 0.01)
    notes = WholeLight.of(Rig.of(SKY, warm), "light.json").notes
    assert len(notes) == 2 and "its colour is left out (key 1.00, 0.80, 0.50, rest 1.00, 1.00, 1.00" in notes[1]
    blue = WholeLight.of(Rig(SphericalGaussians.uniform(torch.tensor([0.4, 0.6, 1.0]))))
    assert "all of it 0.40, 0.60, 1.00" in blue.notes[1]


def test_luminance_alone_counts():
    """Green light of the luminance of a white one is the same."""
    green = torch.tensor([0.0, 1.0, 0.0])
    white, other = (WholeLight.of(Rig.of(SKY, Source(towards(20, 30), c * (3 / float(luminance_of(c))), 0.01)))
                    for c in (WHITE, green))
    assert other.key == pytest.approx(white.key, rel=1e-5)
    torch.testing.assert_close(other.rest, white.rest)


def test_other_lights_have_other_digests():
    lights = [WholeLight.of(Rig.of(SKY, sun(a, 35, s))) for a, s in ((-40, 3), (-41, 3), (-40, 3.1), (-40, 3))]
    assert len({light.digest for light in lights}) == 3 and lights[0].digest == lights[3].digest


def test_darkness_is_refused():
    with pytest.raises(ConfigError, match="dark.exr: there is no light in it; accepted"):
        WholeLight.of(Rig(EnvironmentMap(torch.zeros(32, 64, 3))), "dark.exr")
