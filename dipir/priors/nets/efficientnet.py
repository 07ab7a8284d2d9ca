"""EfficientNet-Lite0 without its classifier (Tan and Le 2019; Lite: Google 2020): features of a photo at three strides.

Every convolution carries the batch norm that followed it in the published weights, folded into weight and bias: frozen
statistics, and nothing that depends on the batch.
"""
from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))
"""Expansion, kernel, stride, channels, blocks of each stage of Lite0."""
CHANNELS = (40, 112, 320)
"""Of the features at strides 8, 16, 32."""
FINE_CHANNELS = (16, 24)
"""Of those at strides 2, 4."""
_EPSILON = 1e-3  # of the published batch norms


class SameConv(nn.Conv2d):
    """Convolution with bias, padded as TensorFlow does: with stride 2 one more pixel below and to the right."""

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, size, stride, groups=groups,
                         padding=size // 2 if stride == 1 else 0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), H and W multiples of the stride."""
        if self.stride[0] > 1:
            total = self.kernel_size[0] - self.stride[0]
            before = total // 2
            x = functional.pad(x, (before, total - before, before, total - before))
        return super().forward(x)


class Inverted(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, before: int, after: int, expand: int, size: int, stride: int) -> None:
        super().__init__()
        wide = before * expand
        self.expand = SameConv(before, wide, 1) if expand > 1 else None
        self.depthwise = SameConv(wide, wide, size, stride, groups=wide)
        self.project = SameConv(wide, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        h = x if self.expand is None else functional.relu6(self.expand(x))
        h = self.project(functional.relu6(self.depthwise(h)))
        return x + h if self.shortcut else h


class EfficientNetLite(nn.Module):
    """Photo (B, 3, H, W) in [0, 1], sizes multiples of 32 -> features at strides 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks, before = [], 32
        for expand, size, stride, channels, count in STAGES:
            for k in range(count):
                blocks.append(Inverted(before, channels, expand, size, stride if k == 0 else 1))
                before = channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, photo: Tensor) -> list[Tensor]:
        """[(B, 40, H / 8, W / 8), (B, 112, H / 16, W / 16), (B, 320, H / 32, W / 32)]."""
        found = self._features(photo)
        return [found[c] for c in CHANNELS]

    def pyramid(self, photo: Tensor) -> list[Tensor]:
        """The same after those at strides 2 and 4: [(B, 16, H / 2, W / 2), (B, 24, H / 4, W / 4), ...]."""
        found = self._features(photo)
        return [found[c] for c in (*FINE_CHANNELS, *CHANNELS)]

    def _features(self, photo: Tensor) -> dict[int, Tensor]:
        """The last features of each number of channels."""
        h = functional.relu6(self.stem((photo - 127 / 255) * (255 / 128)))
        found = {}
        for block in self.blocks:
            h = block(h)
            found[h.shape[1]] = h
        return found


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dictionary (key names of the ``efficientnet_pytorch`` family) as one of
    :class:`EfficientNetLite`: batch norms folded in, the classifier left out."""
    out: dict[str, Tensor] = {}

    def put(name: str, convolution: str, norm: str) -> None:
        gain = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + _EPSILON).sqrt()
        out[f"{name}.weight"] = published[f"{convolution}.weight"] * gain[:, None, None, None]
        out[f"{name}.bias"] = published[f"{norm}.bias"] - gain * published[f"{norm}.running_mean"]

    put("stem", "_conv_stem", "_bn0")
    for k in range(sum(stage[-1] for stage in STAGES)):
        for name, convolution, norm in (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"),
                                        ("project", "_project_conv", "_bn2")):
            if f"_blocks.{k}.{convolution}.weight" in published:
                put(f"blocks.{k}.{name}", f"_blocks.{k}.{convolution}", f"_blocks.{k}.{norm}")
    return out
