"""A small network that reads from which of eight sides a picture is lit, trained on rendered truth alone. It judges
results by what can be seen in them where shape and albedo are known; its own accuracy on truth is reported beside."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dipir.arrays import split_seed
from dipir.image.color import srgb_to_linear
from dipir.priors.nets.blocks import Conv, groups
from dipir.scene.direction import vector_of
from dipir.workshop import trainer as training
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import PairConfig, develop, expose, log_shading

SIDES, ELEVATION_DEG, SIZE = 8, 25.0, 64
NAMES = ("front", "front right", "right", "back right", "back", "back left", "left", "front left")
OPEN_KINDS = (relit.KINDS.index("floor"), relit.KINDS.index("free"))
"""Scenes without a wall: light from behind reaches the objects."""
_MIRROR = torch.tensor([1.0, 1, 1, -1, 1, 1, 1])[:, None, None]


class Reader(nn.Module):
    """(B, 7, 64, 64) of :func:`evidence` -> (B, 8) logits of the sides, counted from the camera to the right."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 48, 64, 96)
        layers: list[nn.Module] = []
        for a, b in zip((7, *widths), widths, strict=False):
            layers += [Conv(a, b, stride=2), nn.GroupNorm(groups(b), b), nn.SiLU(), Conv(b, b), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2),
                                  nn.Linear(4 * widths[-1], SIDES))

    def forward(self, planes: Tensor) -> Tensor:
        return self.body(planes)


def evidence(image: Tensor, normal: Tensor, albedo: Tensor) -> Tensor:
    """(B, 7, S, S): the picture (B, 3, S, S) display, and what is known of a rendered scene: its normals, and the light
    on them, which is what the picture shows over the true albedo (linear)."""
    return torch.cat([image, normal, log_shading(srgb_to_linear(image), albedo)], 1)


def side_of(light: Tensor) -> Tensor:
    """(B, 4) lights -> (B,) index of the nearest side."""
    azimuth = torch.atan2(light[:, 0], light[:, 2])
    return (azimuth / (2 * np.pi / SIDES)).round().long() % SIDES


def asked(side: int) -> Tensor:
    """(4,) the light of a side, at 25 degrees of elevation and medium size."""
    return torch.cat([vector_of(side * 360 / SIDES, ELEVATION_DEG), torch.zeros(1)])


def _batch(rng: np.random.Generator, data: RelitSet, choices: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """What is seen of pictures under one light each, and their sides; ``choices`` (N, 2) scene and light."""

    def number(x):
        return torch.as_tensor(x, dtype=torch.float32).view(count, *[1] * 3)

    config = PairConfig()
    scene, light = choices[torch.from_numpy(rng.integers(len(choices), size=count))].unbind(1)
    ambient = number(np.exp(rng.uniform(*np.log(config.ambient), size=count)))
    linear = relit.decode(data.lit[scene, light]) + ambient * relit.decode(data.sky[scene])
    linear, _ = expose(linear, linear[:, None], number(rng.uniform(*config.level, count)).flatten())
    image = develop(rng, linear[:, None], data.alpha[scene] / 255, False)[:, 0]
    mirrored = number(rng.random(count) < 0.5).bool()
    vector = data.light[scene, light]
    vector = torch.where(mirrored[:, :, 0, 0], vector * torch.tensor([-1.0, 1, 1, 1]), vector)
    planes = evidence(image, data.normal[scene] / 127, data.albedo[scene] / 255)
    planes = torch.where(mirrored, planes.flip(-1) * _MIRROR, planes)
    return planes, side_of(vector)


def candidates(data: RelitSet) -> Tensor:
    """(N, 2) scene and light: scenes without a wall, lights not far above or below the level of the sides."""
    low, high = np.sin(np.deg2rad([0.0, 45.0]))
    fine = (data.light[..., 1] > low) & (data.light[..., 1] < high)
    fine &= torch.isin(data.kind, torch.tensor(OPEN_KINDS))[:, None]
    return fine.nonzero()


def trained(data: RelitSet, steps: int = 1500, batch: int = 48, seed: int = 0) -> Reader:
    """The reader, trained on ``data`` once and kept in the cache folder."""
    path = training.folder("relight_reader") / f"known_{steps}_{len(data)}.safetensors"
    net = Reader()
    if path.is_file():
        net.load_state_dict(load_file(path))
        return net.eval()
    torch.manual_seed(seed)
    net = Reader()
    choices = candidates(data)

    def loss(model, step):
        images, sides = _batch(np.random.default_rng(split_seed(seed, "reader", step)), data, choices, batch)
        return functional.cross_entropy(model(images), sides), {}

    config = training.TrainConfig(steps=steps, rate=1e-3, decay=0.02, warmup=20, ema=0.995)
    done = training.train(net, loss, replace(config, checkpoint_minutes=1), name="relight_reader/known")
    net.load_state_dict(done.best)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path)
    return net.eval()


@torch.no_grad()
def read(net: Reader, image: Tensor, normal: Tensor, albedo: Tensor) -> int:
    """Side of a picture (1, 3, H, W) display, square, with the scene's buffers (1, 3, H, W)."""
    small = (functional.interpolate(x, (SIZE, SIZE), mode="area") for x in (image, normal, albedo))
    return int(net(evidence(*small)).argmax())
