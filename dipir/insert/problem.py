"""The working problem of an insertion: the scene at the prior's resolution, its light at the start, its composites."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.device import moved
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.image.composite import flatten_disp, flatten_lin, insert_layers
from dipir.image.files import read_envmap
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.priors.light import DEFAULT_PATH as LIGHT_WEIGHTS
from dipir.priors.light import LightPrior
from dipir.priors.light_input import features
from dipir.priors.plate_light import PlateLight, Shade, ambient_light, ground_normal, light_of_plate, small_plate
from dipir.render.mitsuba_scene import build
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.render.transport import SourceColumn, Transport
from dipir.scene.framing import Window, working_window
from dipir.scene.rig import Rig, probed
from dipir.scene.scene import Scene
from dipir.scene.source import ground_irradiance, luminance_of
from dipir.settings.yaml import load_yaml

LEAK = 0.05  # Slope beyond [0, 1]: a blown-out object must still feel that it is too bright.


@dataclass(frozen=True)
class Work:
    """Everything at the working resolution S."""

    window: Window
    size: int
    plate_disp: Image
    """(1, 3, S, S), as ``plate_lin``."""
    plate_lin: Image
    transport: Transport
    """Recorded in the window's camera."""
    light: PlateLight
    """What the plate says about the light; the fit begins with it."""
    tracer: PathTracer | None = None
    """Of the materials, when they are fitted."""

    @property
    def start(self) -> EnvMap:
        """(16, 32, 3) radiance, all but the source: what the spherical Gaussians begin with."""
        return self.light.rest

    def region(self) -> Tensor:
        """(1, 1, S, S) weights: the object, and less so the ground that its shadow can touch or the source's does."""
        alpha = self.transport.gbuffers.alpha
        shadow = alpha.new_zeros(self.size * self.size)
        shadow[self.transport.shadow_pixels] = self.transport.blocked.float().sum(1)
        shadow = shadow / shadow.max().clamp_min(1e-6)
        if self.transport.column is not None:
            shadow = shadow.maximum(self.transport.column.shade(len(shadow)))
        shadow = shadow.reshape(1, 1, self.size, self.size)
        return alpha + 0.5 * (1 - alpha) * shadow


def prepare(scene: Scene, config: InsertConfig, size: int, light_prior: LightPrior | None,
            light: PlateLight | None = None) -> Work:
    """Estimate the starting light from the whole plate (unless ``light`` is known), frame the objects, record the
    transport."""
    light = light or start_of(scene, config, light_prior)
    window = working_window(scene.objects, scene.camera)
    near = window.camera(scene.camera, size)
    transport = Transport.record(scene, near, config.transport, light.source)
    tracer = None
    if {"material", "emission"} & set(config.optimize):
        settings = RenderSettings(config.material.spp, config.transport.depth, config.seed)
        tracer = PathTracer(scene, near, settings, gbuffer_samples=4)
    return Work(window, size, window.cut(scene.plate.disp, size), window.cut(scene.plate.lin, size), transport, light,
                tracer)


def start_of(scene: Scene, config: InsertConfig, light_prior: LightPrior | None) -> PlateLight:
    """The light that the settings say a fit begins with."""
    light = config.light
    return light_of_plate(scene, light.start, light.guess, light_prior, commit=light.commit,
                          shade=(lambda: Shade.of(scene)) if light.shadows else None)


def given_light(scene: Scene, path: Path, say: Callable[[str], None]) -> Rig:
    """The light of a file: a light.json as it is; a latlong .exr or .hdr so bright that the level ground receives what
    the plate's light is thought to give it. ``say`` hears of the latter. ConfigError or ImageError for other files."""
    if path.suffix.lower() == ".json":
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; accepted are a light.json, or a latlong .exr or .hdr.")
        return moved(Rig.from_dict(load_yaml(path), path.parent))
    envmap = read_envmap(path).to(scene.plate.lin)
    seen = light_of_plate(scene, "prior", commit=False).start if LIGHT_WEIGHTS.is_file() else ambient_light(scene)
    ground = float(luminance_of(ground_irradiance(seen)))
    say(f"{path.name}: made as bright as the plate's ground is thought to be ({ground / math.pi:.2g} of plate white); "
        "--exposure corrects it")
    return probed(envmap, ground)


def light_as_given(scene: Scene, rig: Rig, say: Callable[[str], None]) -> PlateLight:
    """What a fit begins with: the first lamp as the source, which keeps its direction and size, and the rest; other
    lamps join the rest, as wide as its texels (``say`` hears of it)."""
    others = Rig(rig.around, rig.lamps[1:])
    if others.lamps:
        say(f"{', '.join(lamp.name for lamp in others.lamps)}: a fit takes them as part of the soft light")
    rest = others.envmap(16, 32)
    source = rig.sun.source if rig.sun else None
    whole = rest if source is None else rest + source.lobe().envmap(16, 32)
    plate, directions = small_plate(scene)
    mirrored = features(plate, directions[None]).base[0].permute(1, 2, 0)
    return PlateLight(whole, mirrored, source=source, up=ground_normal(scene), around=rest, told=rig.describe())


def with_light(work: Work, scene: Scene, config: InsertConfig, light: PlateLight) -> Work:
    """The same problem begun with another light; what its source needs is recorded anew."""
    camera = work.window.camera(scene.camera, work.size)
    column = light.source and SourceColumn.record(build(scene), camera, config.transport, light.source)
    return replace(work, light=light, transport=replace(work.transport, column=column))


def composite(work: Work, passes: Passes, tone_fg: ToneCurve | None, tone_shadow: ToneCurve | None) -> Image:
    """(1, 3, S, S) display; with a small slope beyond [0, 1]."""
    layers = insert_layers(work.plate_lin, work.plate_disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                           tone_fg=tone_fg, tone_shadow=tone_shadow)
    display = linear_to_srgb(flatten_lin(layers))
    clipped = display.clamp(0, 1)
    return clipped + LEAK * (display - clipped)


def concept_renders(work: Work, count: int, generator: torch.Generator) -> Image:
    """(count, 3, S, S) display composites for personalisation: the asset under random light."""
    lights = random_lights(work, count, generator)
    with torch.no_grad():
        made = [work.transport.passes(env) for env in lights]
        return torch.cat([flatten_disp(insert_layers(work.plate_lin, work.plate_disp, p.object_rgb, p.alpha,
                                                     p.shadow_ratio)) for p in made])


def random_lights(work: Work, count: int, generator: torch.Generator) -> Tensor:
    """(count, 16, 32, 3): the start turned about the vertical and re-exposed at random, for concept images."""
    yaw = torch.rand(count, generator=generator, device="cpu") * 360
    stops = torch.randn(count, generator=generator, device="cpu") * 0.5
    return torch.stack([latlong.rotate_yaw(work.light.start, float(y)) * 2.0 ** float(s)
                        for y, s in zip(yaw, stops, strict=True)])
