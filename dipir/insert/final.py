"""The final picture of an insertion: path traced at full size, denoised, put on the plate."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dipir.arrays import Image, split_seed
from dipir.event import Event
from dipir.image.composite import Layers, flatten_disp, insert_layers
from dipir.image.tone import ToneCurve
from dipir.insert.config import FinalSettings, InsertConfig
from dipir.insert.problem import with_plate
from dipir.render import denoise as denoising
from dipir.render.path_traced import PathTracer
from dipir.render.region import Region
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.camera import Camera
from dipir.scene.light import SphericalGaussians
from dipir.scene.scene import Scene

_MOST_OBJECT, _OBJECT_SAMPLES = 4, 2**25
_SPP_WITHOUT = 4  # Times the samples of a final render that is to be denoised and cannot.
OnEvent = Callable[[Event], None]


def final_passes(scene: Scene, light: SphericalGaussians, config: InsertConfig, on_event: OnEvent,
                 materials: dict[str, Tensor] | None = None) -> tuple[Passes, Camera]:
    """Path-traced passes at final quality, one map for object and shadow."""
    camera, final = scene.camera, config.final
    if final.size and final.size != max(camera.width, camera.height):
        factor = final.size / max(camera.width, camera.height)
        camera = camera.resized(max(1, round(camera.width * factor)), max(1, round(camera.height * factor)))
    on_event(Event("render", 0, 1))
    spp, denoise, _ = final_quality(final)
    tracer = PathTracer(scene, camera, RenderSettings(spp, final.depth, config.seed, even=True),
                        gbuffer_samples=32 if denoise else 16)
    with torch.no_grad():
        radiance = light.envmap(final.env_height, 2 * final.env_height)
        glass = any(part.material.transmission > 0 for o in scene.objects for part in o.asset.parts)
        if final.plate == "always" or (final.plate == "auto" and glass):
            radiance = with_plate(radiance, scene)
        passes = tracer.passes(radiance, seed=split_seed(config.seed, "final"), spp=spp,
                               object_spp=object_samples(spp, tracer.region), materials=materials)
    if denoise:
        passes = denoising.denoise_passes(passes, camera)
    on_event(Event("render", 1, 1))
    return passes, camera


def final_quality(final: FinalSettings) -> tuple[int, bool, list[str]]:
    """(samples a pixel, whether they are denoised, remarks for the user) of the final render on this machine."""
    if not final.denoise or denoising.available() is not None:
        return final.spp, final.denoise, []
    spp = final.spp * _SPP_WITHOUT
    return spp, False, [f"no denoiser on this machine: the final picture takes {spp} samples a pixel instead of "
                        f"{final.spp}. `pip install pyoidn` brings one; --no-denoise stays at {final.spp}."]


def object_samples(spp: int, region: Region) -> int:
    """Samples a pixel of the object pass: up to _MOST_OBJECT times those of the shadow (outlines and textures need
    more), as far as the objects' rectangle is small: of a large one the denoiser sees more pixels of everything."""
    return max(spp, min(_MOST_OBJECT * spp, _OBJECT_SAMPLES // (region.width * region.height)) // 16 * 16)


def finish(scene: Scene, passes: Passes, camera: Camera, tone_fg: ToneCurve,
           tone_shadow: ToneCurve) -> tuple[Layers, Image, Image]:
    """(layers, composite display, plate display) at the camera's resolution."""
    disp, lin = scene.plate.disp, scene.plate.lin
    if disp.shape[-2:] != (camera.height, camera.width):
        shrink = lambda x: torch.nn.functional.interpolate(x, (camera.height, camera.width), mode="bilinear",
                                                           antialias=True)
        disp, lin = shrink(disp), shrink(lin)
    with torch.no_grad():
        layers = insert_layers(lin, disp, passes.object_rgb, passes.alpha, passes.shadow_ratio, tone_fg, tone_shadow)
        return layers, flatten_disp(layers), disp
