"""Blocks: wrapping in azimuth, start values, conditioning."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, groups, upsample


def _scramble(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight random, so that nothing passes because it starts at zero."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.double()


@pytest.mark.parametrize("stride", [1, 2])
def test_wrapping_convolution_commutes_with_turning(stride: int) -> None:
    conv = _scramble(Conv(3, 4, 3, stride, wrap=True))
    x = torch.randn(2, 3, 8, 16, dtype=torch.float64)
    assert conv(x).shape == (2, 4, 8 // stride, 16 // stride)
    torch.testing.assert_close(conv(torch.roll(x, 3 * stride, -1)), torch.roll(conv(x), 3, -1))


def test_plain_convolution_does_not_wrap() -> None:
    conv = _scramble(Conv(1, 1))
    x = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    x[..., 0] = 1
    torch.testing.assert_close(conv(x)[..., -1], conv(torch.zeros_like(x))[..., -1])


def test_fresh_blocks_are_their_shortcut() -> None:
    x, context, e = torch.randn(2, 16, 4, 8), torch.randn(2, 5, 12), torch.randn(2, 6)
    torch.testing.assert_close(ResBlock(16, 16, 6)(x, e), x)
    torch.testing.assert_close(Attention(16, 4, 12)(x, context), x)


def test_embedding_and_context_reach_each_item_alone() -> None:
    block, cross = _scramble(ResBlock(8, 12, 6, wrap=True)), _scramble(Attention(12, 3, 10))
    x = torch.randn(2, 8, 4, 8, dtype=torch.float64)
    e, context = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 5, 10, dtype=torch.float64)
    other_e, other_context = e.clone(), context.clone()
    other_e[1] += 1
    other_context[1] += torch.randn(5, 10, dtype=torch.float64)
    a, b, c = cross(block(x, e), context), cross(block(x, other_e), context), cross(block(x, e), other_context)
    for changed in (b, c):
        torch.testing.assert_close(a[0], changed[0])
        assert (a[1] - changed[1]).abs().max() > 1e-3


def test_attention_equals_the_formula() -> None:
    attention = _scramble(Attention(8, 2))
    x = torch.randn(1, 8, 2, 3, dtype=torch.float64)
    tokens = attention.norm(x).flatten(2).transpose(1, 2)[0]
    q, k, v = attention.to_q(tokens), attention.to_k(tokens), attention.to_v(tokens)
    heads = [((q[:, s] @ k[:, s].T) / 2).softmax(-1) @ v[:, s] for s in (slice(0, 4), slice(4, 8))]
    expected = attention.to_out(torch.cat(heads, 1)).T.reshape(1, 8, 2, 3)
    torch.testing.assert_close(attention(x), x + expected)


def test_small_values() -> None:
    assert [groups(n) for n in (3, 8, 12, 48)] == [3, 8, 6, 8]
    assert upsample(torch.tensor([[[[1.0, 2.0]]]])).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]
    with pytest.raises(ValueError, match="heads"):
        Attention(10, 4)
