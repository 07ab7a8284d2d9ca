"""IllumiNet's body: sizes, the start, independence of the batch, gradients."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.illuminet import GatedAttention, IllumiNet, IllumiNetConfig, light_features

SMALL = IllumiNetConfig(planes=5, light=4, channels=(4, 6, 8, 8), embedding=8)


def scrambled(config: IllumiNetConfig = SMALL) -> IllumiNet:
    """A network whose zero-initialised layers are not zero."""
    torch.manual_seed(1)
    net = IllumiNet(config)
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def inputs(batch: int = 2, height: int = 32, width: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(batch, 5, height, width), torch.randn(batch, 4)


def test_call_of_the_publication():
    """IllumiNet()(B x 3 x H x W, B x 3) -> B x 3 x H x W in [0, 1] (docs/method.md 4.1)."""
    out = IllumiNet().eval()(torch.rand(2, 3, 32, 32), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    assert out.shape == (2, 3, 32, 32) and bool(((out >= 0) & (out <= 1)).all())


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (33, 20), (1, 5)])
@pytest.mark.parametrize("stem", [1, 2])
def test_any_size(size, stem):
    net = scrambled(IllumiNetConfig(planes=5, light=4, channels=(4, 6, 8, 8), embedding=8, stem=stem)).eval()
    image, light = inputs(2, *size)
    out = net(image, light)
    assert out.shape == (2, 3, *size) and bool(torch.isfinite(out).all())


def test_an_untrained_network_returns_the_picture():
    image, light = inputs()
    out = IllumiNet(SMALL).eval()(image, light)
    torch.testing.assert_close(out, image[:, :3].clamp(1e-3, 1 - 1e-3), atol=1e-6, rtol=0)


def test_without_the_picture_it_starts_grey():
    image, light = inputs()
    net = IllumiNet(IllumiNetConfig(planes=5, light=4, channels=(4, 6, 8, 8), embedding=8, residual=False)).eval()
    assert torch.equal(net(image, light), torch.full((2, 3, 32, 48), 0.5))


def test_pictures_of_a_batch_do_not_see_each_other():
    image, light = inputs(3)
    net = scrambled().eval()
    together = net(image, light)
    for i in range(3):
        torch.testing.assert_close(net(image[i:i + 1], light[i:i + 1]), together[i:i + 1], atol=1e-6, rtol=1e-5)


def test_the_light_matters():
    image, light = inputs(2)
    net = scrambled().eval()
    a, b = net(image[:1], light[:1]), net(image[:1], light[1:])
    assert float((a - b).detach().abs().mean()) > 1e-4


def test_gradients_reach_every_parameter():
    image, light = inputs()
    net = scrambled()
    net(image, light).square().mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not without


def test_gradient_of_the_inputs():
    net = scrambled(IllumiNetConfig(planes=3, light=3, channels=(2, 2, 2, 2), embedding=2)).double().eval()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64) * 0.8 + 0.1
    light = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: net(image, d).sum((2, 3)), light, eps=1e-7, atol=1e-5)


def test_light_features_by_hand():
    out = light_features(torch.tensor([[0.5, 0.0, 1.0, 7.0]]))
    assert out.shape == (1, 4 + 18)
    # x = 1/2 at one, two and four half turns: sines 1, 0, 0 and cosines 0, -1, 1; y = 0: sines 0, cosines 1.
    torch.testing.assert_close(out[0, :4], torch.tensor([0.5, 0.0, 1.0, 7.0]))
    torch.testing.assert_close(out[0, 4:10], torch.tensor([1.0, 0, 0, 0, 0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[0, 13:19], torch.tensor([0.0, -1, 1, 1, 1, 1]), atol=1e-6, rtol=0)


def test_attention_scales_down_only():
    torch.manual_seed(3)
    x = torch.randn(2, 8, 12, 12)
    ratio = (GatedAttention(8)(x) / x).detach()
    assert 0 < float(ratio.min()) and float(ratio.max()) < 1


def test_four_levels_are_needed():
    with pytest.raises(ValueError, match="4 levels, 3 widths"):
        IllumiNet(IllumiNetConfig(channels=(4, 4, 4)))
