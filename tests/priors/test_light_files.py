"""The light prior: its file, the weights that ship, another device."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dipir import device
from dipir.errors import PriorError
from dipir.image import latlong
from dipir.image.files import read_envmap
from dipir.priors.light import (
    DEFAULT_PATH,
    LightPrior,
    spread,
)
from dipir.priors.nets import efficientnet
from dipir.priors.plate_light import small_plate
from dipir.scene.camera import Camera
from dipir.scene.scene_file import build_scene, load_scene_file
from tests.support.far import KIND, far_device
from tests.support.light_sets import NET, WHOLE, angle_deg, rays_of, same_light, scrambled, short_backbone

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _short():
    with short_backbone():
        yield


def _prior(**settings: float) -> LightPrior:
    return LightPrior(scrambled(), **settings)


def test_saved_prior_loads_the_same(tmp_path: Path) -> None:
    prior, path = _prior(sharpness=1.5, trust=0.8, lean=-0.3), tmp_path / "a.safetensors"
    digest = prior.save(path, {"steps": "7"})
    loaded = LightPrior.load(path)
    assert loaded.hash == digest and loaded.net.config == NET
    assert (loaded.sharpness, loaded.trust, loaded.lean) == (1.5, 0.8, -0.3)
    plate, ahead = torch.rand(1, 3, 60, 80), rays_of(Camera.looking(80, 60, 60))
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
        _prior().estimate(torch.rand(1, 3, 60, 80), rays_of(Camera.looking(60, 80, 60)))


@pytest.mark.skipif(not DEFAULT_PATH.is_file(), reason="weights not in the tree")
def test_shipped_weights_are_small_and_know_the_demo_better_than_its_mean_colour(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's plate is our own picture: never trained on, true light beside it."""
    monkeypatch.setattr(efficientnet, "STAGES", WHOLE)
    assert DEFAULT_PATH.stat().st_size <= 20 * 2**20
    scene = build_scene(load_scene_file(ROOT / "scenes/demo.yaml"), "demo")
    plate, directions = small_plate(scene)
    measured = read_envmap(ROOT / "assets/demo/true_light.exr")
    true = latlong.resize(measured, 16, 32)
    look = LightPrior.load().look(plate, directions)
    estimate = look.envmap()
    assert estimate.shape == (16, 32, 3) and torch.isfinite(estimate).all()
    ambient = scene.plate.lin.mean((0, 2, 3)).expand(16, 32, 3)
    share = latlong.solid_angles(16, 32).expand(16, 32).reshape(-1)
    cosine = (latlong.directions(8, 16).reshape(-1, 3) @ latlong.directions(16, 32).reshape(-1, 3).T).clamp_min(0)

    def off(a: torch.Tensor, b: torch.Tensor) -> float:
        """Irradiance error after the best scale."""
        return float(((a * b).sum() / a.square().sum() * a - b).norm())
    want, got, even = ((cosine * share) @ env.reshape(-1, 3) for env in (true, estimate, ambient))
    assert off(got, want) < 0.5 * off(even, want)
    brightest = latlong.directions(*measured.shape[:2])[measured.sum(-1) == measured.sum(-1).max()][0]
    assert look.hard > 0.5 and angle_deg(look.guesses[0].direction, brightest) < 20
    chances = [guess.chance for guess in look.guesses]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1.001


def test_another_device() -> None:
    """Looks where the plate is: the same values as on the CPU; guesses and sources are there."""
    camera = Camera.looking(128, 96, 60, pitch_deg=8)
    generator = torch.Generator().manual_seed(0)
    plate, other = torch.rand(2, 1, 3, 96, 128, generator=generator)
    rays = rays_of(camera)
    prior = _prior()
    here = [prior.look(plate, rays, rays[80, 30]), prior.look_together([plate, other], [rays, rays])]
    with far_device() as chosen:
        far_plate, far_other, far_rays = (x.to(chosen.torch) for x in (plate, other, rays))
        there = [prior.look(far_plate, far_rays, rays[80, 30]),
                 prior.look_together([far_plate, far_other], [far_rays, far_rays])]
        assert all(x.device.type == KIND for look in there for x in (look.rest, look.soft, look.envmap(1)))
        assert all(s.irradiance.device == CPU and s.direction.device == CPU for s in there[0].sources)
        there = device.moved(there, CPU)
    for a, b in zip(there, here, strict=True):
        same_light(a, b)


def test_spread_keeps_the_mean() -> None:
    chance = torch.rand(2, 16, 32, generator=torch.Generator().manual_seed(0))
    chance = chance / chance.sum((1, 2), keepdim=True)
    energy = torch.tensor([[1.0, 2, 3], [0.5, 0.5, 0.1]])
    share = latlong.solid_angles(16, 32)[..., None] / (4 * math.pi)
    torch.testing.assert_close((spread(energy, chance) * share).sum((1, 2)), energy)
