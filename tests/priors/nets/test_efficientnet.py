"""EfficientNet-Lite0 with folded batch norms against convolution, batch norm and TensorFlow's padding."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dipir.priors.nets.efficientnet import CHANNELS, STAGES, EfficientNetLite, SameConv, folded

Published = dict[str, torch.Tensor]


def published(seed: int = 0) -> Published:
    """A state dictionary with the names of the published one and random statistics."""
    generator = torch.Generator().manual_seed(seed)
    state: Published = {}

    def add(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        fan = shape[1] * shape[2] * shape[3]
        state[f"{convolution}.weight"] = torch.randn(shape, generator=generator) * fan**-0.5
        for key, scale, middle in (("weight", 0.2, 1.0), ("bias", 0.3, 0.2), ("running_mean", 0.3, 0.0)):
            state[f"{norm}.{key}"] = middle + scale * torch.randn(shape[0], generator=generator)
        state[f"{norm}.running_var"] = 0.3 + torch.rand(shape[0], generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    before, k = 32, 0
    for expand, size, _, channels, count in STAGES:
        for _ in range(count):
            wide, block = before * expand, f"_blocks.{k}"
            if expand > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", (wide, before, 1, 1))
            add(f"{block}._depthwise_conv", f"{block}._bn1", (wide, 1, size, size))
            add(f"{block}._project_conv", f"{block}._bn2", (channels, wide, 1, 1))
            before, k = channels, k + 1
    state |= {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.weight": torch.zeros(1000, 1280)}
    return state


def same_padded(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """TensorFlow's SAME: ceil(size / stride) outputs, the larger half of the padding below and to the right."""
    def sides(length: int) -> tuple[int, int]:
        total = max((-(-length // stride) - 1) * stride + weight.shape[-1] - length, 0)
        return total // 2, total - total // 2
    return functional.conv2d(functional.pad(x, (*sides(x.shape[3]), *sides(x.shape[2]))), weight, None, stride,
                             groups=groups)


def unfolded(state: Published, photo: torch.Tensor) -> list[torch.Tensor]:
    """The network as published: every convolution followed by its batch norm."""
    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.batch_norm(x, *(state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight",
                                                                             "bias")), eps=1e-3)

    h = norm(same_padded((photo * 255 - 127) / 128, state["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    k, found = 0, {}
    for expand, _, stride, channels, count in STAGES:
        for first in [True] + [False] * (count - 1):
            block, x = f"_blocks.{k}", h
            if expand > 1:
                x = norm(same_padded(x, state[f"{block}._expand_conv.weight"], 1), f"{block}._bn0").clamp(0, 6)
            x = same_padded(x, state[f"{block}._depthwise_conv.weight"], stride if first else 1, x.shape[1])
            x = norm(same_padded(norm(x, f"{block}._bn1").clamp(0, 6), state[f"{block}._project_conv.weight"], 1),
                     f"{block}._bn2")
            h = x + h if x.shape == h.shape else x
            k += 1
        found[channels] = h
    return [found[c] for c in CHANNELS]


def test_folded_norms_are_convolution_and_norm() -> None:
    state, net = published(), EfficientNetLite()
    net.load_state_dict(folded(state))  # All names, nothing left over.
    photo = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    got, expected = net(photo), unfolded(state, photo)
    assert [tuple(x.shape) for x in got] == [(2, 40, 8, 12), (2, 112, 4, 6), (2, 320, 2, 3)]
    for a, b in zip(got, expected, strict=True):
        assert b.std() > 0.1
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.std()))


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows(size: int, stride: int) -> None:
    convolution = SameConv(3, 3, size, stride, groups=3)
    x = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    expected = same_padded(x, convolution.weight, stride, 3) + convolution.bias[:, None, None]
    if size >= stride:
        torch.testing.assert_close(convolution(x), expected)


def test_stride_two_pads_below_and_to_the_right() -> None:
    """A kernel of ones counts the pixels under it: all nine in the first corner, four in the last one."""
    convolution = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(convolution.weight)
    torch.nn.init.zeros_(convolution.bias)
    counted = convolution(torch.ones(1, 1, 8, 8))[0, 0]
    assert (counted[0, 0], counted[0, -1], counted[-1, 0], counted[-1, -1]) == (9, 6, 6, 4)


def test_a_whole_photo_of_one_colour_is_where_the_range_puts_it() -> None:
    """127 of 255 is the network's zero: behind the stem only its bias is left."""
    net = EfficientNetLite()
    seen = []
    net.stem.register_forward_hook(lambda module, given, out: seen.append(out))
    net(torch.full((1, 3, 32, 32), 127 / 255))
    torch.testing.assert_close(seen[0], net.stem.bias[None, :, None, None].expand_as(seen[0]), atol=1e-6, rtol=0)
