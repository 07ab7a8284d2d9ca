"""The working problem of an insertion: the scene at the prior's resolution, its light at the start, its composites."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.image.composite import flatten_lin, insert_layers
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig, LightSettings
from dipir.priors.insertion import gbuffer_planes, insertion_planes, light_stage
from dipir.priors.light import LightPrior, features
from dipir.render.renderer import Passes
from dipir.render.transport import Transport
from dipir.scene.framing import Window, as_directions, wide_view, working_window
from dipir.scene.scene import Scene

LEAK = 0.05  # Slope beyond [0, 1]: a blown-out object must still feel that it is too bright.


@dataclass(frozen=True)
class Work:
    """Everything at the working resolution S.

    plate_disp, plate_lin : (1, 3, S, S);  transport : recorded in the window's camera;  start : (16, 32, 3) radiance;
    mirrored : (16, 32, 3) the plate projected on the sphere, mirrored and filled
    """

    window: Window
    size: int
    plate_disp: Image
    plate_lin: Image
    transport: Transport
    start: EnvMap
    mirrored: EnvMap

    def region(self) -> Tensor:
        """(1, 1, S, S) weights: the object, and less so the ground that its shadow can touch."""
        alpha = self.transport.gbuffers.alpha
        shadow = alpha.new_zeros(self.size * self.size)
        shadow[self.transport.shadow_pixels] = self.transport.blocked.float().sum(1)
        shadow = (shadow / shadow.max().clamp_min(1e-6)).reshape(1, 1, self.size, self.size)
        return alpha + 0.5 * (1 - alpha) * shadow


def prepare(scene: Scene, config: InsertConfig, size: int, light_prior: LightPrior | None) -> Work:
    """Frame the objects, record the transport, estimate the starting light from the whole plate."""
    window = working_window(scene.objects, scene.camera)
    transport = Transport.record(scene, window.camera(scene.camera, size), config.transport)
    mirrored = mirrored_light(scene)
    start = starting_light(scene, config.light, light_prior, mirrored)
    return Work(window, size, window.cut(scene.plate.disp, size), window.cut(scene.plate.lin, size), transport, start,
                mirrored)


def small_plate(scene: Scene, longest: int = 256) -> tuple[Image, Tensor]:
    """(plate display, pixel directions) at a size that is enough for estimating light."""
    width, height = scene.plate.size
    factor = min(1.0, longest / max(width, height))
    w, h = max(8, round(width * factor)), max(8, round(height * factor))
    plate = torch.nn.functional.interpolate(scene.plate.disp, (h, w), mode="bilinear", antialias=True)
    return plate, as_directions(scene.camera.resized(w, h), plate.device)


def mirrored_light(scene: Scene) -> EnvMap:
    """(16, 32, 3): the plate projected on the sphere, mirrored behind the camera and filled smoothly."""
    plate, directions = small_plate(scene)
    return features(plate, directions[None]).base[0].permute(1, 2, 0)


def ambient_light(scene: Scene) -> EnvMap:
    """(16, 32, 3): the plate's mean linear colour from everywhere."""
    return scene.plate.lin.mean((0, 2, 3)).expand(16, 32, 3).clone()


def starting_light(scene: Scene, settings: LightSettings, light_prior: LightPrior | None, mirrored: EnvMap) -> EnvMap:
    """(16, 32, 3) by the light prior, the mirrored plate or the plate's mean colour."""
    if settings.start == "prior":
        return (light_prior or LightPrior.load()).estimate(*small_plate(scene), settings.guess)
    return mirrored if settings.start == "mirrored" else ambient_light(scene)


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
    seen = torch.nn.functional.grid_sample(scene.plate.lin, grid, align_corners=False)[0].permute(1, 2, 0)
    clipped = (seen.amax(-1, keepdim=True) >= 0.98).float()
    return light + weight * (torch.lerp(seen, torch.maximum(seen, light), clipped) - light)


def composite(work: Work, passes: Passes, tone_fg: ToneCurve | None, tone_shadow: ToneCurve | None) -> Image:
    """(1, 3, S, S) display; with a small slope beyond [0, 1]."""
    layers = insert_layers(work.plate_lin, work.plate_disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                           tone_fg, tone_shadow)
    display = linear_to_srgb(flatten_lin(layers))
    clipped = display.clamp(0, 1)
    return clipped + LEAK * (display - clipped)


def embedded_planes(work: Work, scene: Scene, size: int) -> Tensor:
    """(1, 21, 64, 64) condition of the embedded prior."""
    hint = light_stage(work.transport, work.plate_disp, work.mirrored)
    return insertion_planes(work.plate_disp, hint, wide_view(scene.plate.disp, size),
                            gbuffer_planes(work.transport.gbuffers))


def random_lights(work: Work, count: int, generator: torch.Generator) -> Tensor:
    """(count, 16, 32, 3): the start turned about the vertical and re-exposed at random, for concept images."""
    yaw = torch.rand(count, generator=generator, device="cpu") * 360
    stops = torch.randn(count, generator=generator, device="cpu") * 0.5
    return torch.stack([latlong.rotate_yaw(work.start, float(y)) * 2.0 ** float(s)
                        for y, s in zip(yaw, stops, strict=True)])
