"""What stands behind scenes: crops of panoramas and of their skies, kept in a file."""
from __future__ import annotations

import pytest
import torch

from dipir.errors import ConfigError
from dipir.workshop import shards
from dipir.workshop.surfaces import backdrops
from dipir.workshop.surfaces.backdrops import EACH, made, stored

SIZE = 16


def _panorama(seed: int = 0) -> torch.Tensor:
    """(64, 128, 3) blue higher than 30 degrees, red below."""
    panorama = torch.zeros(64, 128, 3)
    panorama[:21, :, 2], panorama[21:, :, 0] = 2.0, 1.0
    panorama += 0.1 * torch.rand(64, 128, 3, generator=torch.Generator().manual_seed(seed))
    return panorama


def test_open_panoramas_give_places_and_skies():
    """Skies see nothing below 30 degrees, places what the panorama shows there."""
    found = made([_panorama(), _panorama(1), _panorama(2)], ["farm_road_1k.hdr", "hall_1k.hdr", "x_puresky_1k.hdr"],
                 SIZE)
    assert found.places.shape == (2 * EACH, 3, SIZE, SIZE) and found.skies.shape == (2 * 3 * EACH, 3, SIZE, SIZE)
    assert found.places.dtype == torch.float16
    skies, places = found.skies.float(), found.places.float()
    assert bool((skies[:, 2] > 3 * skies[:, 0]).all())
    red = places[:, 0] > places[:, 2]
    assert float(red[:, -1].float().mean()) > 0.9 and float(red[:, 0].float().mean()) < 0.9


def test_exposure_keeps_nine_pixels_of_ten_below_one():
    found = made([_panorama()], ["goegap_1k.hdr"], SIZE)
    for crop in (*found.places.float(), *found.skies.float()):
        assert 0.87 < float((crop.amax(0) <= 1.001).float().mean()) < 0.97


def test_crops_are_turned_in_many_ways_and_follow_from_the_seed():
    panorama = _panorama()
    panorama[:, :8] *= 3
    a, b, c = (made([panorama], ["spruit_sunrise.hdr"], SIZE, seed) for seed in (0, 0, 1))
    assert torch.equal(a.places, b.places) and torch.equal(a.skies, b.skies)
    assert not torch.equal(a.places, c.places)
    assert len({crop.sum().item() for crop in a.places.float()}) == EACH


def test_made_once_then_read(tmp_path, monkeypatch):
    path, names = tmp_path / "new" / "backdrops.safetensors", ["goegap.hdr"]
    first = stored([_panorama()], names, SIZE, path)
    monkeypatch.setattr(backdrops, "made", lambda *args: pytest.fail("made again"))
    again = stored([], [], SIZE, path)
    assert torch.equal(first.places, again.places) and torch.equal(first.skies, again.skies)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "backdrops.safetensors"
    shards.save(path, {"places": torch.zeros(1)}, {"format": "other"})
    with pytest.raises(ConfigError, match="holds data of another set"):
        stored([_panorama()], ["goegap.hdr"], SIZE, path)
