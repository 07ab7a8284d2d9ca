"""Engine ``net``: an untrained network changes nothing, sizes, its file."""
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from dipir.errors import PriorError
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.priors.relit.relighting import DEFAULT_PATH as RELIGHTING
from dipir.priors.weights import write_weights
from dipir.relight.net import ARCHITECTURE, DEFAULT_PATH, NET, load_net, net_planes, relight_with, save_net
from dipir.scene.direction import LightDirection
from tests.priors.test_geometry import random_geometry

SMALL = IllumiNetConfig(planes=PLANES, light=4, channels=(4, 6, 8, 8), embedding=8, stem=2)
LIGHT = LightDirection(60, 30).numbers[None]
BLIND = Geometry.untrained()


def _net(head: float = 0.0) -> IllumiNet:
    torch.manual_seed(1)
    net = IllumiNet(SMALL).eval().requires_grad_(False)
    if head:
        nn.init.normal_(net.head.weight, std=head)
    return net




def _photo(height: int, width: int) -> torch.Tensor:
    """Soft colours, with black, white and nearly so."""
    torch.manual_seed(2)
    photo = nn.functional.interpolate(torch.rand(1, 3, 4, 5), (height, width), mode="bicubic").clamp(0, 1)
    photo[..., :4, :4], photo[..., :4, 4:8], photo[..., 4:8, :4], photo[..., 4:8, 4:8] = 0.0, 1.0, 5e-4, 0.9995
    return photo


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (100, 50), (33, 41), (32, 300)])
def test_untrained_network_changes_nothing(size: tuple[int, int]) -> None:
    photo = _photo(*size)
    torch.testing.assert_close(relight_with(_net(), BLIND, photo, LIGHT, 64), photo, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (40, 50), (33, 300)])
def test_any_size_also_below_what_the_network_sees(size: tuple[int, int]) -> None:
    net, photo = _net(20.0), _photo(*size)
    relit = relight_with(net, BLIND, photo, LIGHT, 64)
    assert relit.shape == photo.shape and bool(torch.isfinite(relit).all())
    assert 0 <= float(relit.min()) and float(relit.max()) <= 1
    assert (relit - photo).abs().max() > 0.02
    other = relight_with(net, BLIND, photo, LightDirection(-60, 30).numbers[None], 64)
    assert (relit - other).abs().max() > 1e-3


@pytest.mark.parametrize("shift", [-3.0, 2.0])
def test_an_even_shift_of_the_logit_by_hand(shift: float) -> None:
    """A network that shifts every logit alike, at its own size and at another: so does the engine."""
    class Shifting(nn.Module):
        def forward(self, planes, light):
            return torch.sigmoid(torch.logit(planes[:, :3].clamp(1e-3, 1 - 1e-3)) + shift)

    photo = _photo(96, 128) * 0.8 + 0.1
    for longest in (128, 64):
        relit = relight_with(Shifting(), BLIND, photo, LIGHT, longest)
        expected = torch.sigmoid(torch.logit(photo) + shift)
        inside = (expected > 2e-3) & (expected < 1 - 2e-3)
        torch.testing.assert_close(relit[inside], expected[inside], atol=2e-3, rtol=0)


def test_at_its_own_size_it_is_the_network() -> None:
    net, photo = _net(5.0), _photo(64, 96) * 0.9 + 0.05
    told = BLIND.planes(photo, LIGHT)
    planes = net_planes(told)
    torch.testing.assert_close(planes[:, :3], photo)
    assert torch.equal(planes[:, 3:], told[:, 3:])
    torch.testing.assert_close(relight_with(net, BLIND, photo, LIGHT, 96), net(planes, LIGHT), atol=2e-3, rtol=0)


def test_surfaces_matter() -> None:
    net, photo = _net(20.0), _photo(64, 64)
    seen, unseen = (relight_with(net, guess, photo, LIGHT, 64) for guess in (random_geometry(), BLIND))
    assert (seen - unseen).abs().max() > 1e-3


# ---- its file --------------------------------------------------------------------------------------------------------

def test_file_keeps_the_network(tmp_path: Path) -> None:
    net, path = _net(0.5), tmp_path / "net.safetensors"
    digest = save_net(net, path, {"steps": "7"})
    again, known = load_net(path)
    assert known == digest and again.config == SMALL and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    state = net.state_dict()
    assert all(torch.equal(v.float(), state[k].half().float()) for k, v in again.state_dict().items())
    photo = _photo(64, 64)
    before, after = (relight_with(x, BLIND, photo, LIGHT, 64) for x in (net, again))
    torch.testing.assert_close(after, before, atol=5e-3, rtol=0)
    assert save_net(again, path) == digest


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(PriorError, match="no such file.*dipir prior train illuminet"):
        load_net(path)
    save_net(_net(), path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        load_net(path)
    write_weights(path, _net().state_dict(), "dipir.relight_unet.1", json.dumps(asdict(SMALL)))
    with pytest.raises(PriorError, match="expected 'dipir.illuminet.2'"):
        load_net(path)
    for config in ({}, {"depth": 3}, asdict(SMALL) | {"channels": [4, 6, 8]}):
        write_weights(path, _net().state_dict(), ARCHITECTURE, json.dumps(config))
        with pytest.raises(PriorError, match="do not fit together"):
            load_net(path)


@pytest.mark.skipif(not (DEFAULT_PATH.is_file() and RELIGHTING.is_file()), reason="no weights there")
def test_shipped_weights_light_a_ball_from_the_wanted_side() -> None:
    net, _ = load_net()
    assert net.config == NET and DEFAULT_PATH.stat().st_size < 20e6
    row, column = torch.meshgrid(torch.arange(128) - 63.5, torch.arange(128) - 63.5, indexing="ij")
    inside = row**2 + column**2 < 48**2
    picture = torch.where(inside, 0.6 - 0.001 * row, torch.tensor(0.1)).expand(1, 3, -1, -1)
    made = [relight_with(net, Geometry.load(), picture, LightDirection(a, 15).numbers[None], 128).mean((0, 1))
            for a in (-80, 80)]
    sides = [float(x[inside & (column > 16)].mean() - x[inside & (column < -16)].mean()) for x in made]
    assert sides[0] < -0.05 and sides[1] > 0.05
