"""Photographed detail on described scenes: what is kept of photograph and scene, repeatability, broken files."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.workshop import photo_textures
from dipir.workshop.worlds import views
from dipir.workshop.worlds.lights import scene_lights


@pytest.fixture(scope="module")
def panorama() -> torch.Tensor:
    """Stripes and a lamp, lit from one side: brightness falls by 8 around the horizon."""
    u = torch.linspace(0, 1, 256)
    stripes = 1 + 0.5 * torch.sign(torch.sin(2 * torch.pi * 60 * u))
    rows = (stripes * torch.exp2(-3 * u)).expand(128, 256)
    image = rows[..., None] * torch.tensor([1.0, 0.8, 0.5])
    image[10:14, 30:34] = 5000.0
    return image.contiguous()


@pytest.fixture(scope="module")
def bank(panorama) -> np.ndarray:
    return photo_textures.patches([panorama], each=6)


def part(texture: np.ndarray, radiance=None) -> dict:
    return {"name": "thing", "texture": texture.astype(np.float32), "radiance": radiance, "roughness": None}


def test_patches_keep_texture_and_lose_shading_lamps_and_colour(bank):
    values = bank.astype(np.float32)
    assert values.shape == (6, photo_textures.SIZE_PX, photo_textures.SIZE_PX, 3)
    assert 0.6 < values.mean() < 1.4 and values.max() <= 3.5
    # Stripes of 3 : 1 stay visible, in all channels alike.
    grey = values.mean(-1)
    assert np.median(grey.std((1, 2)) / grey.mean((1, 2))) > 0.2
    means = values.mean((1, 2))
    assert np.abs(means / means.mean(1, keepdims=True) - 1).max() < 0.12


def test_a_surface_keeps_its_mean_albedo_and_gets_detail(bank):
    drawn = np.full((64, 64, 3), (0.3, 0.2, 0.1))
    for seed in range(8):
        got = photo_textures.add_detail(np.random.default_rng(seed), [part(drawn)], bank, share=1.0)[0]["texture"]
        assert got.mean() == pytest.approx(0.2, rel=0.15)
        assert got.std((0, 1)).min() > 0.005 and got.min() >= 0.0 and got.max() <= 0.9


def test_lamps_and_plain_things_are_left_alone(bank):
    rng = np.random.default_rng(0)
    lamp, plain = part(np.full((64, 64, 3), 0.5), radiance=np.ones(3)), part(np.full((2, 2, 3), 0.5))
    for before, after in zip((lamp, plain), photo_textures.add_detail(rng, [lamp, plain], bank, 1.0), strict=True):
        assert np.array_equal(before["texture"], after["texture"])


def test_share_none_and_repeatability(bank):
    scene, _, _ = scene_lights(np.random.default_rng(3), "indoor", 1)
    none = photo_textures.add_detail(np.random.default_rng(0), scene["parts"], bank, share=0.0)
    assert all(a["texture"] is b["texture"] for a, b in zip(none, scene["parts"], strict=True))
    one, two = (photo_textures.add_detail(np.random.default_rng(1), scene["parts"], bank) for _ in range(2))
    assert all(np.array_equal(a["texture"], b["texture"]) for a, b in zip(one, two, strict=True))
    changed = [not np.array_equal(a["texture"], b["texture"]) for a, b in zip(one, scene["parts"], strict=True)]
    assert any(changed) and not all(changed)


def test_a_set_knows_its_patches(panorama, tmp_path):
    """Views with and without patches do not mix, and a folder's patches are made once."""
    tiny = views.ViewSettings(height=24, width=32, spp=2, env_height=16, env_spp=2, lights=1, cameras=1, shard=1)
    views.generate(1, tmp_path, settings=tiny, panoramas=[panorama])
    path = next(tmp_path.glob("photographed_patches_*"))
    made = path.stat().st_mtime_ns
    views.generate(1, tmp_path, settings=tiny, panoramas=[panorama])
    assert path.stat().st_mtime_ns == made and len(views.load(tmp_path)["plate"]) == 1
    with pytest.raises(ConfigError, match="another set"):
        views.generate(1, tmp_path, settings=tiny)


def test_broken_patches_are_named(tmp_path):
    path = tmp_path / "photographed_patches_x.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="photographed_patches_x"):
        photo_textures.load(path)
