"""The conditional U-Net: what it is before training, sizes, what it is told, gradients."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig

SMALL = ConditionalUNetConfig(planes=5, vector=4, channels=(8, 8, 16), blocks=1, embedding=16, detail=2, sigma_data=0.3)


def _scrambled(config: ConditionalUNetConfig = SMALL) -> ConditionalUNet:
    net = ConditionalUNet(config)
    torch.manual_seed(2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def _given(batch: int = 2, size: tuple[int, int] = (16, 24), planes: int = 5) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    def draw(*shape):
        return torch.randn(shape, generator=g)
    return draw(batch, 3, *size), torch.tensor([0.3, 2.0])[:batch], draw(batch, planes, *size).tanh(), draw(batch, 4)


# ---- before training -------------------------------------------------------------------------------------------------

def test_starts_as_guess_and_skip_part() -> None:
    """Karras et al. 2022: the best linear estimate of a residual of standard deviation sigma_data."""
    x, sigma, planes, vector = _given()
    share = (0.09 / (sigma**2 + 0.09))[:, None, None, None]
    expected = planes[:, :3] + share * (x - planes[:, :3])
    torch.testing.assert_close(ConditionalUNet(SMALL)(x, sigma, planes, vector), expected)


def test_first_estimate_of_pure_noise_is_the_guess() -> None:
    x, _, planes, vector = _given()
    estimate = ConditionalUNet(SMALL)(40 * x, torch.full((2,), 40.0), planes, vector)
    torch.testing.assert_close(estimate, planes[:, :3], atol=0.02, rtol=0)
    nearly_clean = ConditionalUNet(SMALL)(x, torch.full((2,), 1e-3), planes, vector)
    torch.testing.assert_close(nearly_clean, x, atol=1e-3, rtol=0)


# ---- sizes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("channels, size", [((8, 8, 16), (8, 8)), ((8, 8, 16), (40, 24)), ((8, 8), (4, 12)),
                                            ((8,), (2, 6))])
def test_sizes_are_multiples_of_two_to_the_number_of_levels(channels: tuple[int, ...], size: tuple[int, int]) -> None:
    config = ConditionalUNetConfig(5, 4, channels, 1, 16, 2)
    out = _scrambled(config)(*_given(size=size))
    assert out.shape == (2, 3, *size) and bool(torch.isfinite(out).all())


def test_without_numbers_it_needs_none() -> None:
    net = _scrambled(ConditionalUNetConfig(planes=3, channels=(8, 8), blocks=1, embedding=16, detail=2))
    x, sigma, planes, _ = _given(planes=3)
    assert net.describe is None and net(x, sigma, planes).shape == x.shape


# ---- what it is told -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", ["x", "sigma", "guess", "other plane", "vector"])
def test_everything_matters_and_stays_in_its_row(which: str) -> None:
    net, (x, sigma, planes, vector) = _scrambled().double(), (t.double() for t in _given())
    before = net(x, sigma, planes, vector)
    x, sigma, planes, vector = (t.clone() for t in (x, sigma, planes, vector))
    changed = {"x": x, "sigma": sigma, "guess": planes[:, :3], "other plane": planes[:, 4:], "vector": vector}[which]
    changed[1] += 0.5
    after = net(x, sigma, planes, vector)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 1e-4


def test_numbers_matter_after_two_steps_of_training() -> None:
    """The last layers start at zero: the first step moves them, the second what comes before."""
    net, (x, sigma, planes, vector) = ConditionalUNet(SMALL), _given()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    def told():
        return (net(x, sigma, planes, vector) - net(x, sigma, planes, vector.flip(0))).abs().max()
    assert told() == 0
    losses = []
    for _ in range(4):
        loss = (net(x, sigma, planes, vector) - 0.2 * vector[:, :3, None, None]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert told() > 1e-4 and losses[-1] < losses[0]


def test_gradient_reaches_every_parameter_and_input() -> None:
    net, (x, sigma, planes, vector) = _scrambled(), _given()
    for t in (x, planes, vector):
        t.requires_grad_()
    (net(x, sigma, planes, vector) * torch.randn(x.shape)).sum().backward()
    for name, value in [*net.named_parameters(), ("x", x), ("planes", planes), ("vector", vector)]:
        # The keys' offset is one number for all places, which softmax does not see.
        assert value.grad is not None and (value.grad.abs().max() > 0 or name.endswith("to_k.bias")), name
