"""Lights that a person edits: physics of lamps and what is around, files, changes."""
from __future__ import annotations

import json
import math

import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.files import write_exr
from dipir.scene.light import EnvironmentMap, SphericalGaussians, azimuth_elevation_deg, towards
from dipir.scene.rig import (
    MAP_NAME,
    Lamp,
    Rig,
    probed,
    scaled,
    sigma_of,
    size_deg,
    turned,
    usual_name,
    with_lamp,
    without,
)
from dipir.scene.source import SUN_SIGMA, Source, ground_irradiance, luminance_of

SKY = SphericalGaussians.uniform(torch.tensor([0.3, 0.4, 0.6]), 12)
SUN = Source(towards(60, 40), torch.tensor([2.0, 1.8, 1.5]))
WINDOW = Source(towards(-90, 20), torch.tensor([0.5, 0.6, 0.9]), 0.06)
RIG = Rig(SKY, (Lamp("sun", SUN), Lamp("window", WINDOW)))


def energy(light, rows: int = 128) -> torch.Tensor:
    """(3,) integral over the sphere."""
    return (light.envmap(rows, 2 * rows) * latlong.solid_angles(rows, 2 * rows)[..., None]).sum((0, 1))


def level(rig: Rig) -> float:
    return float(luminance_of(rig.ground()))


def test_the_map_holds_every_lamp() -> None:
    torch.testing.assert_close(energy(RIG) - energy(SKY), SUN.irradiance + WINDOW.irradiance, rtol=2e-3, atol=0)
    torch.testing.assert_close(energy(RIG.joined()), energy(RIG), rtol=1e-4, atol=0)
    wide, sharp = RIG.split(0.02)
    assert len(sharp.axis) == 1
    torch.testing.assert_close(energy(wide) + sharp.energy[0], energy(RIG), rtol=2e-3, atol=0)
    torch.testing.assert_close(energy(RIG.widened(0.1)), energy(RIG), rtol=2e-3, atol=0)
    assert min(lamp.source.sigma for lamp in RIG.widened(0.1).lamps) == 0.1


def test_a_map_around_keeps_its_energy_when_split() -> None:
    rig = Rig(EnvironmentMap(SKY.envmap(64, 128)), RIG.lamps)
    wide, sharp = rig.split(0.02)
    torch.testing.assert_close(energy(wide) + sharp.energy.sum(0), energy(rig), rtol=2e-3, atol=0)
    bare, none = Rig(rig.around).split(0.02)
    assert none is None and torch.equal(bare.envmap(32, 64), rig.around.envmap(32, 64))
    with pytest.raises(ConfigError, match="light.exr"):
        rig.joined()


def test_what_the_ground_receives() -> None:
    """Against the sum over a fine map."""
    torch.testing.assert_close(RIG.ground(), ground_irradiance(RIG.envmap(512, 1024)), rtol=5e-3, atol=0)
    own = SUN.irradiance * math.sin(math.radians(40))
    assert RIG.share("sun") == pytest.approx(float(luminance_of(own)) / level(RIG), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_lamps_strength_is_its_share_and_the_ground_stays_as_bright(share: float) -> None:
    before = level(RIG)
    for name, source in (("sun", SUN), ("new", Source(towards(170, 60), torch.tensor([1.0, 0.5, 0.2])))):
        rig = with_lamp(RIG, name, source, share)
        assert rig.share(name) == pytest.approx(share, abs=1e-5) and level(rig) == pytest.approx(before, rel=1e-4)
    assert [lamp.name for lamp in with_lamp(RIG, "sun", SUN, 0.5).lamps] == ["sun", "window"], "in its place"
    assert [lamp.name for lamp in rig.lamps] == ["sun", "window", "new"]


def test_a_lamp_below_the_horizon_is_finite() -> None:
    rig = with_lamp(RIG, "sun", Source(towards(0, -10), torch.ones(3)), 0.5)
    assert bool(torch.isfinite(rig.lamps[0].source.irradiance).all()) and rig.share("sun") == 0


def test_removing_a_lamp_keeps_the_ground_as_bright() -> None:
    rig = without(RIG, "sun")
    assert [lamp.name for lamp in rig.lamps] == ["window"] and level(rig) == pytest.approx(level(RIG), rel=1e-4)
    assert rig.share("window") == pytest.approx(RIG.share("window") / (1 - RIG.share("sun")), rel=1e-3)
    with pytest.raises(ConfigError, match="no lamp 'sn'.*sun, window.*sun"):
        RIG.lamp("sn")


def test_turning_adds_to_every_azimuth() -> None:
    rig = turned(RIG, 75)
    for old, new in zip(RIG.lamps, rig.lamps, strict=True):
        before, after = (azimuth_elevation_deg(lamp.source.direction) for lamp in (old, new))
        assert (after[0] - before[0]) % 360 == pytest.approx(75, abs=1e-3)
        assert after[1] == pytest.approx(before[1], abs=1e-3)
    as_map = turned(Rig(EnvironmentMap(RIG.envmap(64, 128))), 90)
    torch.testing.assert_close(as_map.envmap(64, 128), turned(RIG, 90).envmap(64, 128), rtol=0.02, atol=1e-3)


def test_scaling() -> None:
    rig = scaled(RIG, 0.5, 4.0)
    torch.testing.assert_close(energy(rig), 0.5 * energy(SKY) + 4 * (SUN.irradiance + WINDOW.irradiance), rtol=2e-3,
                               atol=0)


def test_sizes_are_diameters() -> None:
    assert size_deg(SUN_SIGMA) == pytest.approx(0.53, abs=0.01)
    assert sigma_of(size_deg(0.1)) == pytest.approx(0.1) and sigma_of(0.1) == SUN_SIGMA
    for bad in (0, -1, 121, math.nan):
        with pytest.raises(ConfigError, match="0.53"):
            sigma_of(bad)


def test_a_probe_is_as_bright_as_the_ground() -> None:
    rig = probed(100 * RIG.envmap(64, 128), 1.25)
    assert level(rig) == pytest.approx(1.25, rel=1e-4) and not rig.lamps


def test_names() -> None:
    assert usual_name(SUN, ()) == "sun" and usual_name(SUN, ["sun"]) == "sun 2" and usual_name(WINDOW, ()) == "lamp"
    assert Rig.of(SKY, None).sun is None and Rig.of(SKY, WINDOW).sun.name == "lamp"


# ---- files -----------------------------------------------------------------------------------------------------------

def test_round_trip_of_lobes() -> None:
    again = Rig.from_dict(json.loads(json.dumps(RIG.to_dict())))
    assert [lamp.name for lamp in again.lamps] == ["sun", "window"] and len(again.around.axis) == 12
    torch.testing.assert_close(energy(again), energy(RIG), rtol=1e-3, atol=0)
    torch.testing.assert_close(again.lamps[0].source.irradiance, SUN.irradiance, rtol=2e-3, atol=0)


def test_files_without_names_have_their_sharp_lobes_as_lamps() -> None:
    data = RIG.to_dict()
    for lobe in data["lobes"]:
        lobe.pop("name", None)
    again = Rig.from_dict(data)
    assert [lamp.name for lamp in again.lamps] == ["sun"] and len(again.around.axis) == 13


@pytest.mark.parametrize("lamps", [RIG.lamps, ()])
def test_round_trip_of_a_map(tmp_path, lamps) -> None:
    rig = Rig(EnvironmentMap(SKY.envmap(32, 64)), lamps)
    write_exr(tmp_path / MAP_NAME, dict(zip("RGB", rig.around.data.unbind(-1), strict=True)))
    again = Rig.from_dict(json.loads(json.dumps(rig.to_dict())), tmp_path)
    assert [lamp.name for lamp in again.lamps] == [lamp.name for lamp in lamps]
    torch.testing.assert_close(energy(again), energy(rig), rtol=2e-3, atol=0)
    assert rig.to_dict()["dominant"]["elevation_deg"] > 0


def test_files_that_are_no_lights(tmp_path) -> None:
    data = RIG.to_dict()
    with pytest.raises(ConfigError, match="beside the file"):
        Rig.from_dict({**data, "map": "../other.exr"}, tmp_path)
    with pytest.raises(ConfigError, match="missing"):
        Rig.from_dict({**data, "map": MAP_NAME}, tmp_path)
    with pytest.raises(ConfigError, match="nothing is around"):
        Rig.from_dict({**data, "lobes": data["lobes"][-2:]})
    for bad in ({}, {"lobes": 3}, {"lobes": [3]}, {"lobes": []}):
        with pytest.raises(ConfigError, match="not a light of ours"):
            Rig.from_dict(bad)
