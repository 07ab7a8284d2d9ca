"""A small network that reads from which of eight sides a picture is lit, trained on rendered truth alone (the things of
the set ``surfaces``). It judges results by what can be seen in them where shape and albedo are known; its own accuracy
on truth is reported beside."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dipir import disk
from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.image.color import srgb_to_linear
from dipir.priors.nets.blocks import Conv, groups
from dipir.priors.relit.depth_shadows import in_camera
from dipir.scene.direction import vector_of
from dipir.workshop import trainer as training
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import PairConfig, develop, expose, log_shading
from dipir.workshop.stored import join
from dipir.workshop.surfaces import data as surfaces
from dipir.workshop.surfaces.data import SurfaceSet, SurfaceSettings

SIDES, ELEVATION_DEG, SIZE = 8, 25.0, 64
STEPS = 1200
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


# ------------------------------------------------------------------------------------------------------ training set
def training_scenes(count: int) -> RelitSet:
    """The things without a wall among the first ``count`` scenes (rounded up to whole files) of the set ``surfaces``,
    as :func:`small` has them. ConfigError when the set has fewer scenes."""
    read = surfaces.SET.load(None, _counted, -(-count // SurfaceSettings().shard))
    there = sum(number for number, _ in read)
    if there < count:
        raise ConfigError(f"the reader of directions: {count} training scenes were asked for, the set in the cache "
                          f"folder has {there}. Make the others with `dipir synth surfaces --count {count}`, or ask "
                          "for fewer with --training-scenes.")
    return join([one for _, things in read for one in things])


def _counted(tensors: Mapping[str, Tensor]) -> tuple[int, list[RelitSet]]:
    """Scenes in a file, and what is kept of it, if anything: the large pictures of one file are in memory at a time."""
    data = SurfaceSet(**tensors)
    things = data.part(torch.isin(data.kind, torch.tensor(OPEN_KINDS)))
    return len(data), [small(things)] if len(things) else []


def small(data: SurfaceSet) -> RelitSet:
    """Scenes at 64 pixels, by area; normals turned from the camera's frame into that of its heading, in which lights
    are given and in which those of the cases are."""
    normal = functional.normalize(to_heading(data.normal / 127, data.up), dim=1)
    return RelitSet(data.lit, data.sky, data.light, data.alpha, data.subject, data.albedo,
                    (normal * 127).round().to(torch.int8), data.kind).at(SIZE)


def to_heading(normal: Tensor, up: Tensor) -> Tensor:
    """(B, 3, H, W) in the camera's frame, in which the vertical is ``up`` (B, 3) -> the same in the frame of its
    heading: +x the picture's right, +y the vertical, +z level towards the camera."""
    # The rows of the turn are the axes of the heading, seen in the camera's frame.
    turn = torch.stack([in_camera(axis.expand(len(up), 3), up) for axis in torch.eye(3)], 1)
    return torch.einsum("bij,bjhw->bihw", turn, normal)


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
    image = develop(rng, linear[:, None], data.alpha[scene] / 255)[:, 0]
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


def stored(count: int) -> Reader:
    """The reader that :func:`trained` makes of :func:`training_scenes`, once; then from the cache folder."""
    name = f"relight_reader/surfaces_v{surfaces.VERSION}_{count}"
    path = training.folder(name) / "reader.safetensors"
    if path.is_file():
        net = Reader()
        net.load_state_dict(load_file(path))
        return net.eval()
    net = trained(training_scenes(count), name)
    with disk.atomic_path(path, ConfigError) as temporary:
        save_file(net.state_dict(), temporary)
    return net


def trained(data: RelitSet, name: str, steps: int = STEPS, batch: int = 48, seed: int = 0) -> Reader:
    """The reader after ``steps`` on ``data``; a run of this name that was stopped goes on."""
    torch.manual_seed(seed)
    net = Reader()
    choices = candidates(data)

    def loss(model, step):
        images, sides = _batch(np.random.default_rng(split_seed(seed, "reader", step)), data, choices, batch)
        return functional.cross_entropy(model(images), sides), {}

    config = training.TrainConfig(steps=steps, rate=1e-3, decay=0.02, warmup=20, ema=0.995, checkpoint_minutes=1)
    net.load_state_dict(training.train(net, loss, config, name=name).best)
    return net.eval()


@torch.no_grad()
def read(net: Reader, image: Tensor, normal: Tensor, albedo: Tensor) -> int:
    """Side of a picture (1, 3, H, W) display, square, with the scene's buffers (1, 3, H, W)."""
    small = (functional.interpolate(x, (SIZE, SIZE), mode="area") for x in (image, normal, albedo))
    return int(net(evidence(*small)).argmax())
