"""The light prior: what it reads, its symmetries, its file."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.diffusion.light_prior import DEFAULT_PATH, LightPrior, _project, facing, features, fill
from dipir.errors import PriorError
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.nets.light_unet import LightUNet, LightUNetConfig
from dipir.scene.camera import Camera

SMALL = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), heads=2, embedding=8)


def _directions(camera: Camera) -> torch.Tensor:
    return torch.from_numpy(camera.directions().astype(np.float32))


def _prior(scramble: bool = True) -> LightPrior:
    net = LightUNet(SMALL)
    torch.manual_seed(4)
    for parameter in net.parameters() if scramble else ():
        torch.nn.init.normal_(parameter, std=0.1)
    return LightPrior(net)


def test_projection_puts_each_colour_in_its_direction() -> None:
    camera = Camera.looking(160, 120, 75, pitch_deg=25)
    rays = _directions(camera).permute(2, 0, 1)[None]
    colour, visible = _project(0.5 + 0.5 * rays, rays)
    expected = 0.5 + 0.5 * latlong.directions(32, 64).permute(2, 0, 1)
    seen = visible[0, 0] > 0
    assert 0.04 < float((latlong.solid_angles(32, 64) * seen).sum()) / 12.566 < 0.12
    assert ((colour[0] - expected)[:, seen]).abs().max() < 0.06
    assert (visible[0, 0, :, :16].sum(), visible[0, 0, :, 48:].sum()) == (0, 0)  # nothing behind the camera


def test_fill_keeps_what_is_known_and_invents_no_colour() -> None:
    torch.manual_seed(0)
    colour, weight = torch.rand(2, 3, 32, 64), (torch.rand(2, 1, 32, 64) > 0.9).float()
    out = fill(colour * weight, weight)
    torch.testing.assert_close(out * weight, colour * weight)
    assert out.min() >= colour.min() - 1e-6 and out.max() <= colour.max() + 1e-6
    turned = fill(torch.roll(colour * weight, 16, -1), torch.roll(weight, 16, -1))
    torch.testing.assert_close(turned, torch.roll(out, 16, -1))


def test_base_of_a_uniform_plate_is_its_colour() -> None:
    colour = torch.tensor([0.5, 0.2, 0.1])
    plate = linear_to_srgb(colour)[None, :, None, None].expand(1, 3, 60, 80)
    inputs = features(plate, _directions(Camera.looking(80, 60, 60))[None])
    torch.testing.assert_close(inputs.base, colour[None, :, None, None].expand(1, 3, 16, 32), atol=1e-4, rtol=1e-3)
    assert inputs.sphere.shape == (1, 12, 32, 64) and inputs.plate.shape == (1, 7, 80, 80)
    assert torch.isfinite(inputs.sphere).all()


def test_base_is_mirrored_behind_the_camera() -> None:
    """A plate red on its left (+X) and blue on its right: behind, red is still on the side of +X."""
    plate = torch.zeros(1, 3, 60, 80)
    plate[:, 0, :, :40], plate[:, 2, :, 40:] = 0.8, 0.8
    base = features(plate, _directions(Camera.looking(80, 60, 80))[None]).base[0]
    for column, channel in ((14, 0), (17, 2), (1, 0), (30, 2)):  # u < 0.5 is the side of +X
        assert base[channel, 8, column] > 3 * base[2 - channel, 8, column]


def test_resolution_and_clipping_reach_the_features_alike() -> None:
    torch.manual_seed(0)
    small = torch.nn.functional.interpolate(0.9 * torch.rand(1, 3, 6, 8), (120, 160), mode="bilinear")
    large = torch.nn.functional.interpolate(small, (480, 640), mode="bilinear")
    a = features(small, _directions(Camera.looking(160, 120, 60))[None])
    b = features(large, _directions(Camera.looking(640, 480, 60))[None])
    assert (a.plate - b.plate).abs().mean() < 0.01 and (a.base - b.base).abs().mean() < 0.01
    white = features(torch.ones(1, 3, 60, 80), _directions(Camera.looking(80, 60, 60))[None])
    assert white.plate[:, 3].min() == 1 and a.plate[:, 3].max() == 0


def test_estimate_is_equivariant_to_azimuth_and_mirroring() -> None:
    torch.manual_seed(1)
    prior, plate = _prior(), torch.rand(1, 3, 60, 80)
    ahead = _directions(Camera.looking(80, 60, 60, pitch_deg=10))
    env = prior.estimate(plate, ahead)
    assert env.shape == (16, 32, 3) and env.min() >= 0 and env.std() > 1e-3
    turned = prior.estimate(plate, _directions(Camera.looking(80, 60, 60, pitch_deg=10, yaw_deg=90)))
    torch.testing.assert_close(turned, latlong.rotate_yaw(env, 90), atol=1e-3, rtol=1e-3)
    mirrored = prior.estimate(plate.flip(-1), ahead)
    torch.testing.assert_close(mirrored, env.flip(1), atol=1e-4, rtol=1e-3)


def test_facing() -> None:
    camera = Camera.looking(80, 60, 60, pitch_deg=15, yaw_deg=-130)
    yaw, ahead = facing(_directions(camera))
    assert yaw == pytest.approx(-130, abs=1e-3)
    torch.testing.assert_close(ahead, _directions(Camera.looking(80, 60, 60, pitch_deg=15)), atol=1e-5, rtol=0)
    down = _directions(Camera.looking(80, 60, 60, pitch_deg=90))
    assert facing(down)[0] == 0.0


def test_saved_prior_loads_the_same(tmp_path: Path) -> None:
    prior, path = _prior(), tmp_path / "a.safetensors"
    digest = prior.save(path, {"steps": "7"})
    loaded = LightPrior.load(path)
    assert loaded.hash == digest and loaded.net.config == SMALL
    plate, ahead = torch.rand(1, 3, 60, 80), _directions(Camera.looking(80, 60, 60))
    torch.testing.assert_close(loaded.estimate(plate, ahead), prior.estimate(plate, ahead), rtol=0.05, atol=0.02)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(PriorError, match="no such file"):
        LightPrior.load(path)
    _prior().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PriorError, match="not a complete"):
        LightPrior.load(path)
    path.write_bytes(b"")
    with pytest.raises(PriorError, match="not a complete"):
        LightPrior.load(path)
    damaged = bytearray(whole)
    damaged[-101] ^= 64
    path.write_bytes(bytes(damaged))
    with pytest.raises(PriorError, match="checksum"):
        LightPrior.load(path)
    from safetensors.torch import save_file
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(PriorError, match="architecture"):
        LightPrior.load(path)


def test_shapes_that_do_not_agree() -> None:
    with pytest.raises(PriorError, match="same H and W"):
        _prior().estimate(torch.rand(1, 3, 60, 80), _directions(Camera.looking(60, 80, 60)))


@pytest.mark.skipif(not DEFAULT_PATH.is_file(), reason="weights not in the tree")
def test_shipped_weights_are_small_and_see_where_light_comes_from() -> None:
    assert DEFAULT_PATH.stat().st_size <= 6 * 2**20
    prior = LightPrior.load()
    plate = torch.full((1, 3, 60, 80), 0.4)
    plate[..., :30] = 1.0  # the left third is clipped: the light is on the side of +X
    env = prior.estimate(plate, _directions(Camera.looking(80, 60, 60, pitch_deg=5)))
    assert torch.isfinite(env).all()
    weight = env.sum(-1) * latlong.solid_angles(16, 32)
    assert float((latlong.directions(16, 32)[..., 0] * weight).sum() / weight.sum()) > 0.05
