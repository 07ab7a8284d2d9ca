"""Changes to a light that a person asks for."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.errors import ConfigError
from dipir.scene.light import azimuth_elevation_deg
from dipir.scene.light_edit import USUAL_SHARE, LampEdit, LightEdit, changed_lamp, colour_of, edited, lamp_of, new_name
from dipir.scene.rig import Rig, size_deg
from dipir.scene.source import luminance_of
from tests.scene.test_rig import RIG, SKY, SUN, WINDOW, level


def test_nothing_asked_for_changes_nothing() -> None:
    assert LightEdit().empty and not LightEdit(rotate_deg=1).empty
    assert torch.equal(edited(RIG, LightEdit()).envmap(16, 32), RIG.envmap(16, 32))


def test_a_sun_that_moves_keeps_its_strength_size_and_colour() -> None:
    rig = edited(RIG, LightEdit(sun=LampEdit(-120, 25)))
    azimuth, elevation = azimuth_elevation_deg(rig.sun.source.direction)
    assert (azimuth, elevation) == (pytest.approx(-120, abs=1e-3), pytest.approx(25, abs=1e-3))
    assert rig.share("sun") == pytest.approx(RIG.share("sun"), abs=1e-4) and rig.sun.source.sigma == SUN.sigma
    colour, before = rig.sun.source.irradiance, SUN.irradiance
    torch.testing.assert_close(colour / luminance_of(colour), before / luminance_of(before))


def test_each_part_by_itself() -> None:
    rig = edited(RIG, LightEdit(sun=LampEdit(share=0.2, size_deg=8.0, colour=torch.tensor([0.0, 3.0, 0.0]))))
    assert rig.share("sun") == pytest.approx(0.2, abs=1e-4) and size_deg(rig.sun.source.sigma) == pytest.approx(8)
    assert rig.sun.source.irradiance[0] == 0 and torch.equal(rig.sun.source.direction, SUN.direction)
    assert edited(RIG, LightEdit(sun=LampEdit(azimuth_deg=10.0))).sun.source.direction[1] == pytest.approx(
        float(SUN.direction[1]), abs=1e-5), "the elevation stays"


def test_a_sun_is_made_where_there_is_none_and_that_is_said() -> None:
    said: list[str] = []
    rig = edited(Rig(SKY), LightEdit(sun=LampEdit(10, 50)), said.append)
    assert rig.sun.name == "sun" and rig.share("sun") == pytest.approx(USUAL_SHARE, abs=1e-4)
    assert len(said) == 1 and "70 %" in said[0] and level(rig) == pytest.approx(level(Rig(SKY)), rel=1e-4)
    edited(Rig(SKY), LightEdit(sun=LampEdit(10, 50, 0.4)), said.append)
    assert len(said) == 1, "nothing was assumed"


def test_stops() -> None:
    rig = edited(RIG, LightEdit(exposure_stops=1, ambient_stops=-2))
    torch.testing.assert_close(rig.sun.source.irradiance, 2 * SUN.irradiance)
    torch.testing.assert_close(rig.rest(), 0.5 * RIG.rest())


def test_lamps_are_added_replaced_and_removed() -> None:
    rig = edited(RIG, LightEdit(remove=("window",), add=(lamp_of("lamp:20,30,0.25"),)), lambda note: None)
    assert [lamp.name for lamp in rig.lamps] == ["sun", "lamp"] and rig.share("lamp") == pytest.approx(0.25, abs=1e-4)
    again = edited(rig, LightEdit(add=(lamp_of("lamp:20,30,0.5,10,3000"),)))
    assert again.share("lamp") == pytest.approx(0.5, abs=1e-4) and len(again.lamps) == 2
    assert again.lamp("lamp").source.irradiance[0] > again.lamp("lamp").source.irradiance[2], "warm"
    with pytest.raises(ConfigError, match="no lamp"):
        edited(RIG, LightEdit(remove=("moon",)))
    assert new_name(RIG, WINDOW) == "lamp" and new_name(RIG, SUN) == "sun 2"


def test_a_lamp_that_rises_from_below_the_horizon_is_seen_again() -> None:
    sunk = changed_lamp(RIG, "sun", LampEdit(elevation_deg=-20.0))
    assert sunk.share("sun") == 0
    assert changed_lamp(sunk, "sun", LampEdit(elevation_deg=30.0)).share("sun") == pytest.approx(USUAL_SHARE, abs=1e-4)


@pytest.mark.parametrize("given", [dict(azimuth_deg=math.nan), dict(elevation_deg=91.0), dict(elevation_deg=-90.5)])
def test_directions_out_of_range(given) -> None:
    with pytest.raises(ConfigError, match="azimuth"):
        LampEdit(**given)


@pytest.mark.parametrize("given", [dict(rotate_deg=math.inf), dict(ambient_stops=21.0), dict(exposure_stops=math.nan)])
def test_stops_out_of_range(given) -> None:
    with pytest.raises(ConfigError, match="stops"):
        LightEdit(**given)


def test_strengths_out_of_range() -> None:
    for bad in (-0.1, 0.99, math.nan):
        with pytest.raises(ConfigError, match="0.98"):
            changed_lamp(RIG, "sun", LampEdit(share=bad))


def test_colours_in_words() -> None:
    assert torch.equal(colour_of("1,0.5,0"), torch.tensor([1.0, 0.5, 0.0]))
    assert torch.equal(colour_of("3200K"), colour_of("3200")) and colour_of("3200")[0] > 2 * colour_of("3200")[2]
    for bad in ("", "red", "1,2", "0,0,0", "inf,1,1", "500", "30000K", "1,2,3,4"):
        with pytest.raises(ConfigError, match="kelvin"):
            colour_of(bad)
