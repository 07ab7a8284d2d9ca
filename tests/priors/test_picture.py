"""The relighting prior: what it is told, its sizes, its file."""
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.errors import PriorError
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import RELIGHT, PicturePrior, relight_condition
from dipir.priors.relit.relighting import DEFAULT_PATH as RELIGHTING
from dipir.priors.weights import PRIORS, write_weights
from dipir.scene.direction import LightDirection
from tests.priors.test_geometry import random_geometry

GEOMETRY = random_geometry()
SMALL = ConditionalUNetConfig(planes=PLANES, vector=4, channels=(8, 8, 16), blocks=1, embedding=16, detail=2)


def _prior(seed: int = 3) -> PicturePrior:
    net = ConditionalUNet(SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return PicturePrior(RELIGHT, net)


def _condition(height: int = 24, width: int = 32, azimuth: float = 60) -> Condition:
    g = torch.Generator().manual_seed(1)
    picture = torch.rand(1, 3, height, width, generator=g)
    return relight_condition(picture, GEOMETRY, LightDirection(azimuth, 20).numbers[None])


# ---- what it is told -------------------------------------------------------------------------------------------------

def test_condition_is_what_geometry_says_and_the_light() -> None:
    picture, light = torch.rand(1, 3, 16, 16), LightDirection(90, 0, 48).numbers[None]
    condition = relight_condition(picture, GEOMETRY, light)
    assert torch.equal(condition.planes, GEOMETRY.planes(picture, light)) and torch.equal(condition.vector, light)
    assert light[0].tolist() == pytest.approx([1, 0, 0, 1], abs=1e-6)


def test_untrained_estimate_of_noise_is_the_first_guess() -> None:
    prior, condition = PicturePrior.untrained(RELIGHT), _condition()
    noise = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
    estimate = prior(40 * noise, torch.full((2,), 40.0), condition)
    torch.testing.assert_close(estimate, condition.planes[:, :3].expand(2, -1, -1, -1), atol=0.02, rtol=0)
    assert prior.hash == "untrained" and prior.net.config == RELIGHT.net
    again = PicturePrior.untrained(RELIGHT).net.state_dict()
    assert all(torch.equal(again[k], v) for k, v in prior.net.state_dict().items())


def test_making_one_does_not_disturb_random_numbers() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    PicturePrior.untrained(RELIGHT)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("size", [(64, 64), (8, 16), (40, 72)])
def test_any_multiple_of_eight(size: tuple[int, int]) -> None:
    prior = _prior()
    assert prior.multiple == 8
    out = prior(torch.zeros(3, 3, *size), torch.full((3,), 1.0), _condition(*size))
    assert out.shape == (3, 3, *size) and bool(torch.isfinite(out).all())


def test_light_changes_the_estimate_and_each_row_has_its_own() -> None:
    prior, x, sigma = _prior(), torch.zeros(2, 3, 24, 32), torch.ones(2)
    left, right = _condition(azimuth=-90), _condition(azimuth=90)
    both = Condition(planes=torch.cat([left.planes, right.planes]), vector=torch.cat([left.vector, right.vector]))
    rows = prior(x, sigma, both)
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    for k, alone in enumerate((left, right)):
        torch.testing.assert_close(rows[k], prior(x, sigma, alone)[k])


def test_gradient_reaches_the_picture_and_no_weight() -> None:
    prior, x = _prior(), torch.zeros(1, 3, 24, 32, requires_grad=True)
    prior(x, torch.ones(1), _condition()).sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert not any(p.requires_grad for p in prior.net.parameters()) and not prior.net.training


def test_encode_and_decode_are_inverse() -> None:
    prior, image = _prior(), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(prior.decode(prior.encode(image)), image)
    assert prior.decode(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]


# ---- its file --------------------------------------------------------------------------------------------------------

def test_file_keeps_the_prior(tmp_path: Path) -> None:
    prior, path = _prior(), tmp_path / "relight.safetensors"
    digest = prior.save(path, {"steps": "7"})
    again = PicturePrior.load(RELIGHT, path)
    state = prior.net.state_dict()
    assert all(torch.equal(v, state[k].half().float()) for k, v in again.net.state_dict().items())
    x, condition = torch.randn(1, 3, 24, 32), _condition()
    before, after = (p(x, torch.ones(1), condition) for p in (prior, again))
    torch.testing.assert_close(after, before, atol=2e-2, rtol=0)
    assert again.hash == digest and again.net.config == SMALL and not again.net.training
    assert again.save(path) == digest and [p.name for p in tmp_path.iterdir()] == ["relight.safetensors"]


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "relight.safetensors"
    with pytest.raises(PriorError, match="no such file.*dipir prior train relight"):
        PicturePrior.load(RELIGHT, path)
    _prior().save(path)
    whole = path.read_bytes()
    for cut in (b"", b"nothing of the kind", whole[:len(whole) // 2]):
        path.write_bytes(cut)
        with pytest.raises(PriorError, match="not a complete safetensors file"):
            PicturePrior.load(RELIGHT, path)
    flipped = bytearray(whole)
    flipped[-101] ^= 64
    path.write_bytes(bytes(flipped))
    with pytest.raises(PriorError, match="checksum"):
        PicturePrior.load(RELIGHT, path)
    state = _prior().net.state_dict()
    write_weights(path, state, "dipir.colour_unet.1", json.dumps(asdict(SMALL)))
    with pytest.raises(PriorError, match="architecture 'dipir.colour_unet.1'; expected 'dipir.relight_unet.2'"):
        PicturePrior.load(RELIGHT, path)
    wider = asdict(SMALL) | {"channels": [8, 8, 24]}
    for config in ("{}", "[1]", "{", json.dumps({"depth": 3}), json.dumps(wider)):
        write_weights(path, state, RELIGHT.architecture, config)
        with pytest.raises(PriorError, match="do not fit together"):
            PicturePrior.load(RELIGHT, path)


def test_names() -> None:
    assert RELIGHT.path == PRIORS / "relight.safetensors" and RELIGHT.command == "dipir prior train relight"


def test_conditions_that_do_not_fit() -> None:
    prior, x, sigma, whole = _prior(), torch.zeros(1, 3, 24, 32), torch.ones(1), _condition()
    for condition in (Condition(), Condition(planes=whole.planes), Condition(vector=whole.vector)):
        with pytest.raises(PriorError, match="relight prior needs Condition.planes and Condition.vector"):
            prior(x, sigma, condition)
    with pytest.raises(PriorError, match=r"\(24, 32\) pixels and a condition of \(16, 32\)"):
        prior(x, sigma, _condition(16, 32))
    with pytest.raises(PriorError, match="multiple of 8"):
        prior(torch.zeros(1, 3, 20, 32), sigma, _condition(20, 32))


@pytest.mark.skipif(not (RELIGHT.path.is_file() and RELIGHTING.is_file()), reason="no weights there")
def test_shipped_weights_light_a_ball_from_the_wanted_side() -> None:
    """The one-step estimate from pure noise of a ball in even light."""
    prior = PicturePrior.load(RELIGHT)
    assert prior.net.config == RELIGHT.net and RELIGHT.path.stat().st_size < 20e6
    row, column = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    inside = row**2 + column**2 < 24**2
    picture = torch.where(inside, 0.6 - 0.002 * row, torch.tensor(0.1)).expand(1, 3, -1, -1)
    noise = 40 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sides = []
    for azimuth in (-80, 80):
        condition = relight_condition(picture, Geometry.load(), LightDirection(azimuth, 15).numbers[None])
        made = prior.decode(prior(noise, torch.full((4,), 40.0), condition)).mean((0, 1))
        sides.append(float(made[inside & (column > 8)].mean() - made[inside & (column < -8)].mean()))
    assert sides[0] < -0.05 and sides[1] > 0.05
