"""The part ``sphere``: how far pictures of a matt grey sphere that are lit from opposite sides differ."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import markdown
from benchmarks.relight.cases import AMBIENT, Case
from benchmarks.relight.methods import Method
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.files import write_png
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material
from dipir.scene.camera import Camera
from dipir.scene.direction import parse_words
from dipir.scene.framing import grounded
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop.relight.pairs import expose
from dipir.workshop.relight.scenes import light_map
from dipir.workshop.things.objects import rectangle, simple_asset

PAIRS = {"left, right": ("left", "right"), "front left, back right": ("front left", "back right")}
"""Two opposite lights each, in the words of ``dipir relight``."""
SIZE, SPP = 256, 64
_FOV_DEG, _HEIGHT, _PITCH_DEG, _DISTANCE = 35.0, 1.1, 10.6, 3.2
_GREY, _FLOOR, _BEHIND = 0.5, 0.25, 0.5
_LEVEL = 0.45  # linear, of the brightest: twice as much light clips nothing


@dataclass(frozen=True)
class Ball:
    """A matt sphere on a floor: pictures (1, 3, S, S) display, and what is true of them."""

    image: Tensor  # in even light from all around
    lit: dict[str, Tensor]  # by the word for the light, as bright in the mean
    normal: Tensor  # (1, 3, S, S) +x the picture's right, +y up, +z level towards the camera
    albedo: Tensor  # (1, 3, S, S)
    inside: Tensor  # (1, 1, S, S) bool, the sphere without its outline


def rendered(size: int = SIZE, spp: int = SPP) -> Ball:
    """The sphere and its truth, path traced."""
    # ---- a sphere on a floor ----
    camera = Camera.looking(size, size, _FOV_DEG, _HEIGHT, _PITCH_DEG)
    matt, ground = (Material("matt", (grey,) * 3, roughness=1.0, specular=0.01) for grey in (_GREY, _FLOOR))
    corners = np.array([[-25, 0, -25], [-25, 0, 25], [25, 0, 25], [25, 0, -25]], np.float32)
    ball = PlacedAsset(simple_asset("sphere", matt), grounded(1.0, 1.0, np.array([0, 0, _DISTANCE]), 0.0), "ball")
    floor = PlacedAsset(rectangle("floor", corners, (0, 1, 0), (1, 1), ground), np.eye(4), "floor")
    blank = torch.zeros(1, 3, size, size)
    tracer = PathTracer(Scene(Plate(blank, blank), camera, (ball, floor)), camera, RenderSettings(spp, 3, 0))
    words = [word for pair in PAIRS.values() for word in pair]
    # ---- light ----
    with torch.no_grad():
        maps = [torch.ones(64, 128, 3), *(light_map(parse_words(word)) for word in words)]
        sky, *each = (tracer.object_pass(light, seed=k, spp=spp)[0][0].cpu() for k, light in enumerate(maps))
    g = tracer.gbuffers
    before, after = expose(sky[None], torch.stack([one + AMBIENT * sky for one in each])[None], torch.tensor([_LEVEL]))
    shown = [linear_to_srgb((x + _BEHIND * (1 - g.alpha.cpu())).clamp(0, 1)) for x in (before, *after.split(1, 1))]
    inside = (g.object_id == 1) & (g.alpha > 0.99)
    # The outline's pixels show both the sphere and what is behind it.
    inside = -torch.nn.functional.max_pool2d(-inside.float(), 3, 1, 1) > 0
    normal = torch.cat([-g.normal[:, :1], g.normal[:, 1:2], -g.normal[:, 2:]], 1)
    lit = {word: picture.reshape(1, 3, size, size) for word, picture in zip(words, shown[1:], strict=True)}
    return Ball(shown[0], lit, normal.cpu(), g.albedo.cpu(), inside.cpu())


def apart(first: Tensor, second: Tensor, facing: Tensor, inside: Tensor) -> float:
    """Stops by which the half of a sphere that faces a light is brighter (mean linear light) in the picture lit by it,
    ``first``, than in that lit from the opposite side, ``second``; the mean of the two halves, so that a factor for a
    whole picture counts for nothing. first, second : (1, 3, S, S) display
    facing : (1, 1, S, S) larger on the first light's side; halves are told by its median over ``inside``, (1, 1, S, S)
    bool"""
    one, other = (srgb_to_linear(x).mean(1, keepdim=True).clamp_min(1e-4) for x in (first, second))
    near = inside & (facing > facing[inside].median())
    far = inside & ~near
    ratio = (one[near].mean() / other[near].mean()) * (other[far].mean() / one[far].mean())
    return float(ratio.log2() / 2)


def measured(by_name: Mapping[str, Method], out: Path, ball: Ball | None = None) -> dict:
    """Stops of every method for every pair; a sheet of the pictures in ``out``."""
    ball = ball or rendered()
    rows, stops = [], {name: {} for name in by_name}
    for name, method in by_name.items():
        shown = {word: method(_case(ball, word)) for pair in PAIRS.values() for word in pair}
        for pair, (one, other) in PAIRS.items():
            way = parse_words(one).vector - parse_words(other).vector
            facing = (ball.normal * way[None, :, None, None]).sum(1, keepdim=True)
            stops[name][pair] = apart(shown[one], shown[other], facing, ball.inside)
        rows.append(torch.cat([ball.image, *shown.values()], -1))
    write_png(out / "sphere.png", torch.cat(rows, -2))
    return {"stops": stops, "size": ball.image.shape[-1]}


def _case(ball: Ball, word: str) -> Case:
    asked = parse_words(word)
    return Case(f"ball from the {word}", 0, round(asked.azimuth_deg / 45) % 8, True, ball.image, ball.lit[word], asked,
                ball.normal, ball.albedo)


def text(data: Mapping) -> str:
    """The Markdown of :func:`measured`."""
    rows = [["method", *(f"{pair} (stops)" for pair in PAIRS)]]
    rows += [[name, *(f"{stops[pair]:.2f}" for pair in PAIRS)] for name, stops in data["stops"].items()]
    return (f"A matt grey sphere on a floor in even light, {data['size']}x{data['size']} pixels, lit from two opposite "
            "sides: by how much the halves differ between the two pictures. `truth` is rendered.\n\n" + markdown(rows))
