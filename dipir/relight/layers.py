"""Engine ``layers`` of relight(): a network that makes editing layers is fitted to one picture, guided by a prior."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.arrays import Image, split_seed
from dipir.fit.checkpoint import Checkpoint
from dipir.fit.loop import Event, minimise
from dipir.fit.parameters import Parameters
from dipir.guidance.guidance import Guidance
from dipir.image import editing
from dipir.image.guided import guided_upsample
from dipir.priors.nets.shading import LayerUNet
from dipir.relight.config import RelightConfig

_BLOCK = 16
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class LayerKind:
    """How layers come from the network and act on the picture."""

    channels: tuple[int, ...]  # of each layer
    shape: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]  # raw outputs of the network -> layers
    compose: Callable[[Image, tuple[Tensor, ...]], Image]  # (picture, layers) -> picture


def _bounded(raw: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Smoothly into (0.1, 1), 0.55 at first; the original clips a sigmoid, which has no slope below 0.1."""
    return tuple(editing.LEAST + (1 - editing.LEAST) * torch.sigmoid(x) for x in raw)


def _gain(raw: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(2 * torch.sigmoid(x) for x in raw)


KINDS = {
    "multiply_divide": LayerKind((1, 1), _bounded, lambda x, layers: editing.multiply_divide(x, *layers)),
    "gain": LayerKind((1,), _gain, lambda x, layers: x * layers[0]),
    "luminosity": LayerKind((1,), _gain, lambda x, layers: editing.luminosity(x, *layers)),
    "additive": LayerKind((1,), lambda raw: tuple(torch.tanh(x) for x in raw),
                          lambda x, layers: editing.additive(x, *layers)),
    "colour": LayerKind((3, 1), _bounded, lambda x, layers: editing.multiply_divide(x, *layers)),
}
"""``colour``: multiply with a colour, divide evenly, for drawings."""


def working_size(height: int, width: int, longest: int, multiple: int = _BLOCK) -> tuple[int, int]:
    """(height, width) near the picture's aspect, the longer side ``longest``, both multiples of ``multiple``."""
    scale = longest / max(height, width)
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))


def shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture at another size, by area where it becomes smaller."""
    return functional.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)


def fit_layers(image: Image, guidance: Guidance, config: RelightConfig, kind: LayerKind, *,
               checkpoint: Checkpoint | None,
               on_event: OnEvent | None) -> tuple[tuple[Tensor, ...], list[dict[str, float]]]:
    """(layers at the picture's size, history), on the picture's device, where the prior must be too.
    image : (1, 3, H, W) display. FitError as :func:`minimise`."""
    size = working_size(*image.shape[2:], config.layers.size)
    small = shrink(image, size).clamp(0, 1)
    net = LayerUNet(kind.channels)
    # Begun on the CPU, so that a seed means the same on every device.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split_seed(config.seed, "layers"))
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and float(module.weight.detach().abs().max()) > 0:
                module.reset_parameters()
    net, parameters = net.to(image.device), Parameters()
    for name, value in net.named_parameters():
        parameters.add(name, value, rate=config.layers.rate)
    seen = seen_size(image, config.guidance.size)
    objective = _Objective(net, small, seen, guidance, config, kind, parameters)
    fit = replace(config.fit, seed=split_seed(config.seed, "fit"))
    history = minimise(objective, parameters, fit, on_event=on_event, checkpoint=checkpoint)
    with torch.no_grad():
        layers = objective.layers()
        return tuple(enlarge(layer, small, image) for layer in layers), history


def enlarge(layer: Tensor, small: Image, image: Image) -> Tensor:
    """A layer at full size with the picture's edges, within the range that it had. ``small`` is the picture at the
    layer's size; where that is larger than the picture, the layer is shrunk."""
    if any(s > full for s, full in zip(small.shape[2:], image.shape[2:], strict=True)):
        return shrink(layer, tuple(image.shape[2:]))
    return guided_upsample(layer, small, image).clamp(float(layer.min()), float(layer.max()))


@dataclass(frozen=True)
class _Objective:
    """``objective(step)`` for fit.minimise: distance or score of the relit picture, and the cost of the layers."""

    net: LayerUNet
    small: Image
    seen: tuple[int, int]
    guidance: Guidance
    config: RelightConfig
    kind: LayerKind
    parameters: Parameters

    def layers(self) -> tuple[Tensor, ...]:
        values = {name: self.parameters[name] for name in self.parameters}
        raw = torch.func.functional_call(self.net, values, (self.small,))
        return self.kind.shape(raw)

    def __call__(self, step: int) -> tuple[Tensor, Mapping[str, float | Tensor], Callable[[], Mapping[str, Image]]]:
        layers = self.layers()
        relit = self.kind.compose(self.small, layers)
        progress = step / max(self.config.fit.steps - 1, 1)
        pull, numbers = self.guidance.pull(shrink(relit, self.seen), progress, step)
        cost = self.config.layers.keep * editing.layer_cost(layers)
        # As tensors: read where they are logged, not here, where a GPU would have to be waited for.
        logged = {"guidance": pull.detach(), "layers": cost.detach(), **numbers}
        return pull + cost, logged, lambda: {"composite": relit.detach().clamp(0, 1).cpu()}


def seen_size(image: Image, longest: int) -> tuple[int, int]:
    """(height, width) at which the prior sees a picture: multiples of 8."""
    return working_size(*image.shape[2:], longest, 8)
