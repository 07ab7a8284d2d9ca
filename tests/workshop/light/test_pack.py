"""One file with all that training reads: what was written comes back, the limit is kept."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.priors.nets.efficientnet import EfficientNetLite
from dipir.workshop.light import pack
from dipir.workshop.light.batches import HEIGHT, WIDTH
from dipir.workshop.light.dressing import pooled
from dipir.workshop.light.framed import about, rolled
from dipir.workshop.light.pack import Dressed, Pack, decoded, encoded, place_towards, read, write
from dipir.workshop.light.places import Places
from dipir.workshop.stored import part
from tests.support.light_sets import told_colours


def plates(count: int, seed: int = 0) -> Dressed:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.rand(count, 3, 6, 8, generator=generator), (HEIGHT, WIDTH),
                                             mode="bilinear")
    place = place_towards(torch.tensor([[0.5, 0.0, 3.0]]).expand(count, -1), torch.full((count,), 1.4))
    return Dressed((smooth + 0.05).half(), torch.tensor([[60.0, 10.0, 1.0]]).expand(count, -1).contiguous(), place,
                   torch.arange(count) % 2, torch.arange(count) * 5, torch.linspace(0.5, 2, count))


@pytest.fixture(scope="module")
def whole(places: Places) -> Pack:
    weights = {k: v * 1.0 for k, v in EfficientNetLite().state_dict().items() if k.startswith("stem")}
    return Pack(places, part(places, torch.tensor([0, 1])), {"train": list("abcd"), "val": list("ab")}, plates(3),
                plates(2, 1), weights)


def test_a_pack_comes_back(whole: Pack, tmp_path: Path) -> None:
    size = write(tmp_path / "a.pack", whole)
    got = read(tmp_path / "a.pack")
    assert size == (tmp_path / "a.pack").stat().st_size < pack.LIMIT and got.names == whole.names
    for name in ("train", "val"):
        ours, theirs = getattr(whole, name), getattr(got, name)
        # What is told of the source is exact, the map without it in half precision.
        for key in ("direction", "irradiance", "sigma", "share", "plain"):
            assert torch.equal(getattr(ours, key), getattr(theirs, key)), key
        torch.testing.assert_close(theirs.rest, ours.rest, rtol=1e-3, atol=1e-4)
        assert theirs.padded.shape == ours.padded.shape and theirs.padded.dtype == torch.half
        assert torch.equal(theirs.padded[..., 0], theirs.padded[..., -2])
    for name in ("dressed", "dressed_val"):
        ours, theirs = getattr(whole, name), getattr(got, name)
        for key in ("camera", "place", "panorama", "turn", "gain"):
            assert torch.equal(getattr(ours, key), getattr(theirs, key)), key
        off = (theirs.plate.float() / ours.plate.float() - 1).abs()
        # Colours are kept at half the size.
        assert off.mean() < 0.03 and off.flatten()[::7].quantile(0.99) < 0.15
    assert set(got.backbone) == set(whole.backbone)
    for key, value in whole.backbone.items():
        torch.testing.assert_close(got.backbone[key], value, rtol=1e-3, atol=1e-4)


def test_without_dressed_plates_and_backbone(whole: Pack, tmp_path: Path) -> None:
    write(tmp_path / "a.pack", replace(whole, dressed=None, dressed_val=None, backbone={}))
    got = read(tmp_path / "a.pack")
    assert got.dressed is got.dressed_val is None and got.backbone == {} and len(got.train) == 4


def test_pictures_keep_radiance_to_three_percent_over_ten_stops() -> None:
    """Smooth radiance from 1/100 to 10 times the unit; what is brighter is limited, what is black stays black."""
    rays = latlong.directions(256, 512)
    level = (2.0 ** (4 * (rays[..., :1] + 0.3 * rays[..., 1:2]) - 3)).expand(-1, -1, 3) * told_colours(rays)
    radiance = level.permute(2, 0, 1).contiguous()
    jpeg, unit = encoded(radiance)
    got = decoded(jpeg, unit).float()
    inside = (radiance > 2.0**pack.DARKEST * unit * 1.1) & (radiance < 2.0**pack.BRIGHTEST * unit * 0.9)
    off = (got / radiance - 1).abs()[inside]
    assert inside.float().mean() > 0.95 and off.mean() < 0.03 and off.quantile(0.99) < 0.08
    assert len(jpeg) < 0.1 * radiance.numel() * 2
    black = decoded(*encoded(torch.cat([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)], 1)))
    assert black[:, 4:28].max() == 0 and float(black[:, 36:].mean()) == pytest.approx(1, rel=0.03)
    sunny = torch.ones(3, 32, 32)
    sunny[:, 8:16, 8:16] = 1e5
    assert float(decoded(*encoded(sunny)).max()) == pytest.approx(2.0**pack.BRIGHTEST, rel=0.03)


def test_the_limit_is_kept_by_fewer_dressed_plates(whole: Pack, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    bare = write(tmp_path / "bare.pack", replace(whole, dressed=None, dressed_val=None))
    each = len(encoded(whole.dressed.plate[0].float())[0])
    monkeypatch.setattr(pack, "LIMIT", bare + 2**17 + 8 * each)
    size = write(tmp_path / "a.pack", replace(whole, dressed=plates(40), dressed_val=None))
    kept = len(read(tmp_path / "a.pack").dressed.gain)
    assert size <= pack.LIMIT and 4 <= kept < 12
    monkeypatch.setattr(pack, "LIMIT", bare // 2)
    with pytest.raises(ConfigError, match="give fewer environments"):
        write(tmp_path / "b.pack", whole)
    assert not (tmp_path / "b.pack").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    with pytest.raises(ConfigError, match="not a readable pack"):
        read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="--pack FILE"):
        read(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match=f"no kind; expected {pack.KIND}"):
        read(path)
    save_file({"x": torch.zeros(1)}, path, {"kind": "another"})
    with pytest.raises(ConfigError, match="another kind; expected"):
        read(path)


def test_a_file_cut_short_is_refused(whole: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    write(path, replace(whole, dressed=None, dressed_val=None))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="not a readable pack"):
        read(path)


def test_dressed_plates_have_the_light_of_their_panorama(whole: Pack, places: Places) -> None:
    raw = whole.dressed.raw(places)
    for k in range(3):
        index, turn, gain = int(whole.dressed.panorama[k]), whole.dressed.turn[k:k + 1].float(), whole.dressed.gain[k]
        rest = pooled(rolled(places.rest[index][None], turn), 16, 32)[0] * gain
        torch.testing.assert_close(raw.rest[k].float(), rest, rtol=2e-3, atol=1e-3)
        torch.testing.assert_close(raw.direction[k], about(places.direction[index][None], turn)[0])
        torch.testing.assert_close(raw.irradiance[k], places.irradiance[index] * gain)
    assert torch.equal(raw.plate, whole.dressed.plate)


def test_places_are_seen_from_their_camera() -> None:
    """Three metres ahead and one to the left, from 1.5 metres."""
    got = place_towards(torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([1.5]))
    torch.testing.assert_close(got * torch.tensor([1.0, -1.5, 3.0]).norm(), torch.tensor([[1.0, -1.5, 3.0]]))
