"""The final picture of an insertion: path traced at full size, denoised, put on the plate."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image, split_seed
from dipir.event import Event
from dipir.image.composite import Layers, flatten_disp, insert_layers
from dipir.image.tone import ToneCurve
from dipir.insert.config import FinalSettings, InsertConfig
from dipir.insert.redistort import bent_view
from dipir.priors.plate_light import with_plate
from dipir.render import denoise as denoising
from dipir.render.gbuffer import PixelBox
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap, SphericalGaussians
from dipir.scene.plate import PlateKind
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene

_MOST_OBJECT, _OBJECT_SAMPLES = 4, 2**25
_SPP_WITHOUT = 4  # Times the samples of a final render that is to be denoised and cannot.
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, eq=False)
class FinalPicture:
    """What the final render gives, at ``camera``'s resolution."""

    camera: Camera
    passes: Passes
    layers: Layers
    composite_disp: Image
    """(1, 3, H, W) sRGB."""
    plate_disp: Image
    """(1, 3, H, W) sRGB."""
    plate_kind: PlateKind = PlateKind()
    """Depth and kind of its file."""


@torch.no_grad()
def final_picture(scene: Scene, light: Rig, tones: Sequence[ToneCurve], config: InsertConfig,
                  on_event: OnEvent, materials: dict[str, Tensor] | None = None) -> FinalPicture:
    """Path traced at final quality under one map for object and shadow, denoised, put on the plate; of a scene with
    ``redistort`` on the photo itself, its lens put back.
    tones : of the object and of the shadow"""
    on_event(Event("render", 0, 1))
    final, camera = config.final, _final_camera(scene.camera, config.final.size)
    spp, denoise, _ = final_quality(final)
    bent = bent_view(scene, camera) if scene.redistort else None
    view = camera if bent is None else bent.camera

    # ---- the light ----
    radiance = final_map(light, final.env_height, final.sun_rows)
    glass = any(part.material.transmission > 0 for o in scene.objects for part in o.asset.parts)
    if final.plate == "always" or (final.plate == "auto" and glass):
        radiance = with_plate(radiance, scene)

    # ---- its passes ----
    tracer = PathTracer(scene, view, RenderSettings(spp, final.depth, config.seed, even=True),
                        gbuffer_samples=32 if denoise else 16)
    passes = tracer.passes(radiance, seed=split_seed(config.seed, "final"), spp=spp,
                           object_spp=object_samples(spp, tracer.region), materials=materials)
    if denoise:
        passes = denoising.denoise_passes(passes, view)
    on_event(Event("render", 1, 1))

    # ---- on the plate ----
    plate = scene.plate.resized(camera.width, camera.height) if bent is None else bent.photo
    passes = passes if bent is None else bent.bent(passes)
    layers = insert_layers(plate.lin, plate.disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                           tone_fg=tones[0], tone_shadow=tones[1])
    return FinalPicture(camera, passes, layers, flatten_disp(layers), plate.disp, plate.kind)


def final_map(light: Rig | SphericalGaussians, rows: int, sun_rows: int) -> EnvMap:
    """(H, 2 H, 3) of ``rows`` rows; or, where lobes are sharper than its texels, as many times that as ``sun_rows``
    need, and only those lobes as fine as that. A map is as fine as it is, up to ``sun_rows``."""
    if isinstance(light, Rig) and isinstance(light.around, EnvironmentMap):
        fine = min(sun_rows, len(light.around.data))
        rows *= max(1, fine // rows)
    wide, sharp = light.split(math.pi / rows)
    if sharp is None:
        return light.envmap(rows, 2 * rows)
    times = max(1, -(-sun_rows // rows))
    fine = sharp.envmap(times * rows, 2 * times * rows)
    if wide is None:
        return fine
    return fine + wide.envmap(rows, 2 * rows).repeat_interleave(times, 0).repeat_interleave(times, 1)


def _final_camera(camera: Camera, size: int) -> Camera:
    """The plate's camera with a longer side of ``size`` pixels, 0 = its own."""
    if not size or size == max(camera.width, camera.height):
        return camera
    factor = size / max(camera.width, camera.height)
    return camera.resized(max(1, round(camera.width * factor)), max(1, round(camera.height * factor)))


def final_quality(final: FinalSettings) -> tuple[int, bool, list[str]]:
    """(samples a pixel, whether they are denoised, remarks for the user) of the final render on this machine."""
    if not final.denoise or denoising.available() is not None:
        return final.spp, final.denoise, []
    spp = final.spp * _SPP_WITHOUT
    return spp, False, [f"no denoiser on this machine: the final picture takes {spp} samples a pixel instead of "
                        f"{final.spp}. `pip install pyoidn` brings one; --no-denoise stays at {final.spp}."]


def object_samples(spp: int, region: PixelBox) -> int:
    """Samples a pixel of the object pass: up to _MOST_OBJECT times those of the shadow (outlines and textures need
    more), as far as the objects' rectangle is small: of a large one the denoiser sees more pixels of everything."""
    return max(spp, min(_MOST_OBJECT * spp, _OBJECT_SAMPLES // (region.width * region.height)) // 16 * 16)
