"""The U-Net that is told in words: what it is before training, sizes, what it hears, attention by hand, gradients."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dipir.priors.nets.text_unet import TextUNet, TextUNetConfig, WordAttention, attend, places

SMALL = TextUNetConfig(vocabulary=9, longest=7, width=16, layers=1, channels=(8, 8, 16), worded=(1, 2), selves=(2,),
                       embedding=16, detail=2, fine=4, sigma_data=0.5)
SAID = torch.tensor([[1, 4, 5, 0, 0, 0, 0], [1, 6, 2, 4, 8, 0, 0]])


def _scrambled(config: TextUNetConfig = SMALL) -> TextUNet:
    net = TextUNet(config)
    torch.manual_seed(2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def _given(size: tuple[int, int] = (16, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 2.0])


# ---- before training -------------------------------------------------------------------------------------------------

def test_starts_as_the_skip_part() -> None:
    """Karras et al. 2022: the best linear estimate of pictures of standard deviation sigma_data."""
    (x, sigma), net = _given(), TextUNet(SMALL)
    share = (0.25 / (sigma**2 + 0.25))[:, None, None, None]
    torch.testing.assert_close(net(x, sigma, net.read(SAID)), share * x)


def test_network_is_scaled_to_unit_variance() -> None:
    """Whatever the network says, the estimate is c_skip x + c_out times it, of c_in x."""
    net, (x, sigma) = _scrambled(), _given()
    seen = {}

    def network(x, sigma, words):
        seen["x"] = x
        return torch.full_like(x, 0.7)

    net._network = network
    s = sigma[:, None, None, None]
    root = (s**2 + 0.25).sqrt()
    estimate = net(x, sigma, torch.zeros(2, 7, 16))
    torch.testing.assert_close(seen["x"], x / root)
    torch.testing.assert_close(estimate, x * 0.25 / root**2 + 0.7 * s * 0.5 / root)


# ---- sizes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("channels, size", [((8, 8, 16), (8, 8)), ((8, 8, 16), (40, 24)), ((8, 16), (4, 12))])
def test_sizes_are_multiples_of_two_to_the_number_of_levels(channels: tuple[int, ...], size: tuple[int, int]) -> None:
    net = _scrambled(TextUNetConfig(9, 7, 16, 1, channels, (1,), (1,), 16, 2, 4))
    x, sigma = _given(size)
    out = net(x, sigma, net.read(SAID))
    assert out.shape == (2, 3, *size) and bool(torch.isfinite(out).all())


def test_places_run_to_the_right_and_down() -> None:
    x, y = places(torch.zeros(1, 5, 2, 3))[0]
    assert x.tolist() == [[-1, 0, 1]] * 2 and y.tolist() == [[-1] * 3, [1] * 3]


# ---- what it hears ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", ["x", "sigma", "words"])
def test_everything_matters_and_stays_in_its_row(which: str) -> None:
    net, (x, sigma) = _scrambled().double(), (t.double() for t in _given())
    words = net.read(SAID).detach()
    before = net(x, sigma, words)
    changed = {"x": x, "sigma": sigma, "words": words}[which]
    changed[1, ...] += 0.5 * (changed[1] != 0)
    after = net(x, sigma, words)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 1e-4


@pytest.mark.parametrize("other", [[1, 6, 2, 4, 7, 0, 0], [1, 6, 4, 2, 8, 0, 0], [1, 6, 2, 4, 8, 8, 0]])
def test_every_word_their_order_and_number_matter(other: list[int]) -> None:
    net, (x, sigma) = _scrambled(), _given()
    def estimate(numbers):
        return net(x, sigma, net.read(numbers))
    before, after = estimate(SAID), estimate(torch.stack([SAID[0], torch.tensor(other)]))
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 1e-4


def test_padding_is_heard_by_nobody() -> None:
    """With or without it: the same words, the same picture."""
    net, (x, sigma) = _scrambled().double(), (t.double() for t in _given())
    long, short = net.read(SAID), net.read(SAID[:, :5])
    assert bool((long[:, 5:] == 0).all()) and bool((long[0, 3:] == 0).all()) and bool((long[1, :5] != 0).any(1).all())
    torch.testing.assert_close(long[:, :5], short)
    torch.testing.assert_close(net(x, sigma, long), net(x, sigma, short))
    net.reader.embed.weight.data[0] += 3
    torch.testing.assert_close(net.read(SAID), long)


def test_words_matter_after_few_steps_of_training() -> None:
    """Last layers start at zero: the first step moves them, the next ones what comes before."""
    net, (x, sigma) = TextUNet(SMALL), _given()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    def told():
        return (net(x, sigma, net.read(SAID)) - net(x, sigma, net.read(SAID.flip(0)))).abs().max()
    assert told() == 0
    wanted, losses = torch.tensor([0.5, -0.5])[:, None, None, None], []
    for _ in range(6):
        loss = (net(x, sigma, net.read(SAID)) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert told() > 1e-4 and losses[-1] < losses[0]


# ---- attention -------------------------------------------------------------------------------------------------------

def test_attention_is_that_of_the_library() -> None:
    q, k, v = (torch.randn(2, 3, n, 8, generator=torch.Generator().manual_seed(n)) for n in (6, 5, 5))
    known = torch.tensor([[True, True, False, False, False], [True, True, True, True, False]])
    expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=known[:, None, None])
    torch.testing.assert_close(attend(q, k, v, known), expected)


def test_attention_weights_are_those_that_it_uses() -> None:
    """With one head: the mixture of the values by the weights, behind the last layer and the shortcut."""
    torch.manual_seed(0)
    layer = WordAttention(8, heads=1, context=16).double()
    torch.nn.init.normal_(layer.to_out.weight)
    x, words = torch.randn(2, 8, 3, 4).double(), torch.randn(2, 5, 16).double()
    known = torch.tensor([[True, False, False, False, False], [True, True, True, True, False]])
    weights = layer.weights(x, words, known)
    assert weights.shape == (2, 5, 3, 4) and bool((weights[~known] == 0).all()) and bool((weights[0, 0] == 1).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 3, 4))
    values = layer.to_v(layer.context_norm(words))
    mixed = layer.to_out(torch.einsum("bthw,btc->bhwc", weights.double(), values)).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x, words, known), x + mixed, atol=1e-5, rtol=1e-4)


def test_attention_weights_are_the_mean_of_the_heads() -> None:
    torch.manual_seed(0)
    layer = WordAttention(8, heads=2, context=16)
    x, words, known = torch.randn(1, 8, 2, 2), torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool)
    q, k = layer.to_q(layer.norm(x).flatten(2).transpose(1, 2)), layer.to_k(layer.context_norm(words))
    heads = [(q[..., p] @ k[..., p].transpose(1, 2) / 2).softmax(-1) for p in (slice(0, 4), slice(4, 8))]
    expected = (sum(heads) / 2).transpose(1, 2).reshape(1, 3, 2, 2)
    torch.testing.assert_close(layer.weights(x, words, known), expected)


# ---- gradients -------------------------------------------------------------------------------------------------------

def test_gradient_reaches_every_parameter_and_input() -> None:
    net, (x, sigma) = _scrambled(), _given()
    x.requires_grad_()
    words = net.read(SAID)
    words.retain_grad()
    (net(x, sigma, words) * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, value in [*net.named_parameters(), ("x", x), ("words", words)]:
        assert value.grad is not None and value.grad.abs().max() > 0, name
    assert bool((net.reader.embed.weight.grad.abs().amax(1) > 0)[[1, 2, 4, 5, 6, 8]].all())
    assert bool((net.reader.embed.weight.grad[[0, 3, 7]] == 0).all())
