"""The light prior: what it reads, its symmetries, its file."""
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir import device
from dipir.errors import PriorError
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.image.files import read_envmap
from dipir.priors.light import (
    DEFAULT_PATH,
    LightPrior,
    _project,
    compose,
    decided,
    facing,
    features,
    fill,
    hypotheses,
    sunlike,
)
from dipir.priors.nets.light_unet import LightEstimate, LightUNet, LightUNetConfig
from dipir.scene.camera import Camera
from dipir.scene.scene_file import build_scene, load_scene_file
from tests.support.far import KIND, far_device

ROOT = Path(__file__).resolve().parents[2]
SMALL = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), plate_blocks=(0, 1, 1, 1), heads=2, embedding=8)


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
    assert inputs.sphere.shape == (1, 12, 32, 64) and inputs.plate.shape == (1, 7, 96, 128)
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


def test_composed_map_holds_the_energy_of_the_dominant_light() -> None:
    torch.manual_seed(0)
    estimate = LightEstimate(torch.full((2, 3, 16, 32), -30.0), torch.randn(2, 16, 32), torch.randn(2, 3))
    share = latlong.solid_angles(16, 32)[..., None] / (4 * torch.pi)
    known, unknown = torch.rand(2, 16, 32), torch.zeros(2)
    total = (compose(estimate, known, unknown) * share).sum((1, 2))
    torch.testing.assert_close(total, estimate.energy.exp() + math.exp(-9), rtol=1e-4, atol=1e-5)
    sharp = replace(estimate, direction=8 * estimate.direction)
    brightest = compose(sharp, known, unknown)[0].sum(-1).flatten().argmax()
    assert brightest == estimate.direction[0].flatten().argmax()


def test_composed_with_a_known_direction_the_light_is_there() -> None:
    estimate = LightEstimate(torch.full((1, 3, 16, 32), -30.0), torch.randn(1, 16, 32), torch.zeros(1, 3))
    known = torch.zeros(1, 16, 32)
    known[0, 5, 7] = 1
    share = latlong.solid_angles(16, 32)[..., None] / (4 * torch.pi)
    for weight in (0.0, 0.4, 1.0):
        there = float((compose(estimate, known, torch.tensor([weight]))[0] * share)[5, 7, 0])
        chance = float(estimate.direction.flatten().softmax(0).reshape(16, 32)[5, 7])
        assert there == pytest.approx(weight + (1 - weight) * chance, rel=1e-3, abs=1e-5)


def test_a_chosen_guess_is_where_the_light_is() -> None:
    """Whichever of the guesses is asked for, the map gains most light there."""
    torch.manual_seed(3)
    prior, plate, ahead = _prior(), torch.rand(1, 3, 60, 80), _directions(Camera.looking(80, 60, 60, yaw_deg=70))
    guesses = prior.hypotheses(plate, ahead)
    even = prior.estimate(plate, ahead)
    for number, guess in enumerate(guesses, 1):
        added = (prior.estimate(plate, ahead, number) - even).mean(-1)
        brightest = latlong.directions(16, 32).reshape(-1, 3)[int(added.argmax())]
        assert float(brightest @ guess.direction) > math.cos(math.radians(12))


@pytest.mark.parametrize("share, expected", [(0.2, 0.0), (0.5, 0.0), (0.575, 0.5), (0.65, 1.0), (0.9, 1.0)])
def test_sunlike_is_a_ramp_over_the_dominant_share(share: float, expected: float) -> None:
    """A smooth map of radiance 1 - share and a dominant light of mean radiance share, in any unit."""
    for unit in (0.1, 30.0):
        got = sunlike(torch.full((1, 16, 32, 3), unit * (1 - share)), torch.full((1, 3), unit * share))
        assert float(got) == pytest.approx(expected, abs=1e-3)


def test_decided_stands_by_the_first_guess() -> None:
    """60 % about one direction, 40 % about the opposite one."""
    rays = latlong.directions(16, 32)
    share = latlong.solid_angles(16, 32)
    first, second = (torch.nn.functional.normalize(torch.tensor(v), dim=0) for v in ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0)))
    def lobe(axis):
        return (20 * (rays @ axis - 1)).exp() * share / ((20 * (rays @ axis - 1)).exp() * share).sum()
    chance = (0.6 * lobe(first) + 0.4 * lobe(second))[None]
    def near(x, axis, degrees):
        return float(x[0][rays @ axis > math.cos(math.radians(degrees))].sum())
    torch.testing.assert_close(decided(chance, first[None], 1.0, torch.zeros(1)), chance)
    half = decided(chance, first[None], 0.5, torch.zeros(1))
    assert half.sum() == pytest.approx(1, abs=1e-5)
    assert near(half, second, 40) / near(half, first, 40) == pytest.approx(0.5 * 0.4 / 0.6, rel=0.05)
    assert near(decided(chance, first[None], 0.0, torch.zeros(1)), second, 40) < 0.01
    focused = decided(chance, first[None], 1.0, torch.tensor([0.7]))
    assert focused.sum() == pytest.approx(1, abs=1e-5)
    assert near(focused, first, 25) == pytest.approx(0.7 * 0.98 + 0.3 * near(chance, first, 25), abs=0.03)


def test_sharpness_gathers_the_dominant_light_and_keeps_its_energy() -> None:
    torch.manual_seed(1)
    net, plate, ahead = _prior().net, torch.rand(1, 3, 60, 80), _directions(Camera.looking(80, 60, 60))
    share = latlong.solid_angles(16, 32)[..., None]
    maps = [LightPrior(net, sharpness=s).estimate(plate, ahead) for s in (0.0, 1.0, 4.0)]
    means = [float((m * share).sum()) for m in maps]
    assert means == pytest.approx([means[0]] * 3, rel=1e-4)
    assert maps[0].max() < maps[1].max() < maps[2].max()


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


def test_hypotheses_turn_with_the_camera() -> None:
    torch.manual_seed(1)
    prior, plate = _prior(), torch.rand(1, 3, 60, 80)
    straight, turned = (prior.hypotheses(plate, _directions(Camera.looking(80, 60, 60, yaw_deg=yaw)))[0]
                        for yaw in (0, 90))
    x, y, z = straight.direction.tolist()
    assert turned.direction.tolist() == pytest.approx([z, y, -x], abs=0.02)
    assert turned.chance == pytest.approx(straight.chance, abs=0.01) and 0 < straight.chance < 1


def test_facing() -> None:
    camera = Camera.looking(80, 60, 60, pitch_deg=15, yaw_deg=-130)
    yaw, ahead = facing(_directions(camera))
    assert yaw == pytest.approx(-130, abs=1e-3)
    torch.testing.assert_close(ahead, _directions(Camera.looking(80, 60, 60, pitch_deg=15)), atol=1e-5, rtol=0)
    down = _directions(Camera.looking(80, 60, 60, pitch_deg=90))
    assert facing(down)[0] == 0.0


def test_saved_prior_loads_the_same(tmp_path: Path) -> None:
    prior, path = LightPrior(_prior().net, sharpness=1.5), tmp_path / "a.safetensors"
    digest = prior.save(path, {"steps": "7"})
    loaded = LightPrior.load(path)
    assert loaded.hash == digest and loaded.net.config == SMALL and loaded.sharpness == 1.5
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
def test_shipped_weights_are_small_and_know_the_demo_better_than_its_mean_colour() -> None:
    """The demo's plate is our own picture: never trained on, true light beside it."""
    assert DEFAULT_PATH.stat().st_size <= 20 * 2**20
    scene = build_scene(load_scene_file(ROOT / "scenes/demo.yaml"), "demo")
    size = (240, 320)
    plate = torch.nn.functional.interpolate(scene.plate.disp, size, mode="bilinear", antialias=True)
    directions = _directions(scene.camera.resized(size[1], size[0]))
    true = latlong.resize(read_envmap(ROOT / "assets/demo/true_light.exr"), 16, 32)
    prior = LightPrior.load()
    estimate = prior.estimate(plate, directions)
    assert estimate.shape == (16, 32, 3) and torch.isfinite(estimate).all()
    ambient = scene.plate.lin.mean((0, 2, 3)).expand(16, 32, 3)
    share = latlong.solid_angles(16, 32).expand(16, 32).reshape(-1)
    cosine = (latlong.directions(8, 16).reshape(-1, 3) @ latlong.directions(16, 32).reshape(-1, 3).T).clamp_min(0)

    def off(a: torch.Tensor, b: torch.Tensor) -> float:
        """Irradiance error after the best scale."""
        return float(((a * b).sum() / a.square().sum() * a - b).norm())
    want, got, even = ((cosine * share) @ env.reshape(-1, 3) for env in (true, estimate, ambient))
    assert off(got, want) < 0.8 * off(even, want)
    chances = [guess.chance for guess in prior.hypotheses(plate, directions)]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1.001


def test_another_device() -> None:
    """Features, the network, maps and guesses where the plate is: the same values as on the CPU."""
    camera = Camera.looking(128, 96, 60, pitch_deg=8)
    generator = torch.Generator().manual_seed(0)
    plate, rays = torch.rand(1, 3, 96, 128, generator=generator), _directions(camera)
    prior = _prior()
    prior.focus = 0.4
    here = [features(plate, rays[None]), prior.estimate(plate, rays), prior.estimate(plate, rays, guess=2),
            prior.estimate_together([plate, plate.flip(-1)], [rays, rays]), prior.hypotheses(plate, rays)]
    with far_device() as chosen:
        far_plate, far_rays = plate.to(chosen.torch), rays.to(chosen.torch)
        there = [features(far_plate, far_rays[None]), prior.estimate(far_plate, far_rays),
                 prior.estimate(far_plate, far_rays, guess=2),
                 prior.estimate_together([far_plate, far_plate.flip(-1)], [far_rays, far_rays]),
                 prior.hypotheses(far_plate, far_rays)]
        assert all(x.device.type == KIND for x in (there[0].sphere, *there[1:4]))
        there = device.moved(there, torch.device("cpu"))
    for key in ("sphere", "plate", "base"):
        assert torch.equal(getattr(there[0], key), getattr(here[0], key)), key
    # Attention is computed in another order there.
    for a, b in zip(there[1:4], here[1:4], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    for a, b in zip(there[4], here[4], strict=True):
        torch.testing.assert_close(a.direction, b.direction, rtol=0, atol=1e-4)
        assert a.chance == pytest.approx(b.chance, abs=1e-4)
