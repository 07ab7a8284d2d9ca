"""dipir.scene.wavefront.unread: every statement without an effect is said, and no other."""
from __future__ import annotations

import pytest

from dipir.scene.wavefront.unread import UNREAD_MAPS, unread


@pytest.mark.parametrize("entry, word", [
    ({"kd": "spectral a.rfl"}, "spectral"), ({"kd": "xyz 0.3 0.3 0.3"}, "xyz"), ({"kd": "0,5 0 0"}, "0,5"),
    ({"kd": "255 0 0"}, "beyond 1"), ({"ks": "2 2 2"}, "beyond 1"), ({"ke": "nan 1 1"}, "Ke"),
    ({"d": "much"}, "no number"), ({"tf": "0 1 0"}, None), ({"tf": "0.5 0.5 0.5"}, "(Tf)"), ({"illum": "6"}, "glass"),
    ({"illum": "7"}, "glass"), ({"aniso": "0.5"}, "anisotropy"), ({"map_orm": "a.png"}, "map_orm"),
    ({"map_ka": "a.png"}, "map_ka"), *(({key: "a.png"}, what) for key, what in UNREAD_MAPS.items())])
def test_what_has_no_effect_is_said(entry, word):
    said = unread(entry, (), 1.0)
    assert [word in line for line in said] == [True] if word else said == []


def test_what_is_read_is_not_said():
    entry = {"kd": "1 0.5 0", "ks": "1", "ke": "9 9 9", "ns": "300", "d": "-halo 0.5", "tr": "0.5", "pr": "0.1",
             "tf": "1 1 1", "illum": "2", "aniso": "0", "ka": "5 5 5", "map_ka": "a.png", "map_kd": "a.png",
             "map_aat": "on", "sharpness": "60"}
    assert unread(entry, ("map_kd",), 1.0) == []
    assert unread({"illum": "6"}, (), 0.5) == []
