"""The insertion prior's network: at first its answer is the hint, and the wide view has a say."""
from __future__ import annotations

import torch

from dipir.priors.nets.composite_unet import PLANES, CompositeUNet, CompositeUNetConfig

TINY = CompositeUNetConfig(channels=(8, 16), blocks=1, embedding=16)


def planes(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, PLANES, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_fresh_it_answers_with_the_best_linear_estimate_around_the_hint():
    net, given = CompositeUNet(TINY), planes()
    x, sigma = torch.randn(2, 3, 64, 64), torch.tensor([0.25, 2.0])
    hint, data = given[:, 3:6], TINY.sigma_data**2
    share = (data / (data + sigma**2))[:, None, None, None]
    with torch.no_grad():
        torch.testing.assert_close(net(x, sigma, given), hint + share * (x - hint), atol=1e-5, rtol=1e-5)


def test_the_wide_view_is_heard():
    net, given = CompositeUNet(TINY), planes()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        x, sigma = torch.zeros(2, 3, 64, 64), torch.ones(2)
        other = given.clone()
        other[:, 6:9] = -given[:, 6:9]
        assert float((net(x, sigma, given) - net(x, sigma, other)).abs().max()) > 1e-4
