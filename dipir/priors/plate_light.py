"""What a plate says about the light that falls into it: the light prior's estimate, the plate itself on the sphere, its
mean colour."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap, Image
from dipir.image import latlong
from dipir.priors.light import Hypothesis, LightPrior
from dipir.priors.light_input import features
from dipir.scene.framing import as_directions
from dipir.scene.scene import Scene

Start = Literal["prior", "mirrored", "ambient"]


@dataclass(frozen=True)
class PlateLight:
    """Light of one plate, radiance with plate white = 1."""

    start: EnvMap
    """(16, 32, 3), where a fit begins."""
    mirrored: EnvMap
    """(16, 32, 3), the plate projected on the sphere, mirrored and filled."""
    guesses: tuple[Hypothesis, ...] = ()
    """Where the light prior thinks that the dominant light may be, likeliest first."""


def light_of_plate(scene: Scene, start: Start, guess: int = 0, light_prior: LightPrior | None = None) -> PlateLight:
    """By the light prior (its ``guess``, see :meth:`LightPrior.estimate`), the mirrored plate or the mean colour.
    Raises PriorError when the weights that ship are wanted and cannot be used."""
    plate, directions = small_plate(scene)
    mirrored = features(plate, directions[None]).base[0].permute(1, 2, 0)
    if start == "prior":
        light_prior = light_prior or LightPrior.load()
    look = light_prior.look(plate, directions) if light_prior else None
    if start == "prior":
        return PlateLight(look.envmap(guess), mirrored, look.guesses)
    return PlateLight(mirrored if start == "mirrored" else ambient_light(scene), mirrored,
                      look.guesses if look else ())


def small_plate(scene: Scene, longest: int = 256) -> tuple[Image, Tensor]:
    """(plate display, pixel directions) at a size that is enough for estimating light."""
    width, height = scene.plate.size
    factor = min(1.0, longest / max(width, height))
    w, h = max(8, round(width * factor)), max(8, round(height * factor))
    plate = functional.interpolate(scene.plate.disp, (h, w), mode="bilinear", antialias=True)
    return plate, as_directions(scene.camera.resized(w, h), plate.device)


def ambient_light(scene: Scene) -> EnvMap:
    """(16, 32, 3): the plate's mean linear colour from everywhere."""
    return scene.plate.lin.mean((0, 2, 3)).expand(16, 32, 3).clone()


def with_plate(light: EnvMap, scene: Scene) -> EnvMap:
    """The map with the plate's own pixels where it shows something, fading out over a twentieth of the plate to its
    edges: what glass refracts. Where the plate is clipped the light stays at least as it was."""
    height, width = light.shape[:2]
    camera = scene.camera
    points = camera.position + latlong.directions(height, width).double().numpy()
    uv, depth = (torch.from_numpy(v).to(light) for v in camera.project(points))
    x, y = uv[..., 0] / camera.width, uv[..., 1] / camera.height
    edge = torch.stack([x, 1 - x, y, 1 - y]).amin(0)
    weight = ((edge / 0.05).clamp(0, 1) * (depth > 1e-3))[..., None]
    grid = torch.stack([2 * x - 1, 2 * y - 1], -1)[None]
    seen = functional.grid_sample(scene.plate.lin, grid, align_corners=False)[0].permute(1, 2, 0)
    clipped = (seen.amax(-1, keepdim=True) >= 0.98).float()
    return light + weight * (torch.lerp(seen, torch.maximum(seen, light), clipped) - light)
