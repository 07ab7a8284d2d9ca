"""The best picture short of a final render, made when nobody drags: path traced in a preview's loaded scene."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from dipir.arrays import Image, split_seed
from dipir.image.composite import flatten_disp, insert_layers
from dipir.image.tone import ToneCurve
from dipir.insert.final import final_map
from dipir.insert.preview import Preview
from dipir.render import denoise as denoising
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene

LONGEST = 1280
"""Longer side, pixels."""
SPP, CHUNK = 16, 4
"""Samples a pixel; it can be given up after each chunk of the object's."""
MAP_ROWS, SUN_ROWS, DEPTH = 128, 512, 4
Tones = tuple[ToneCurve | None, ToneCurve | None]


@torch.no_grad()
def traced(scene: Scene, preview: Preview, light: Rig, tones: Tones, go_on: Callable[[], None]) -> Image:
    """(1, 3, H, W) display: the composite by the path tracer in the loaded scene of a preview, denoised. ``go_on``
    raises between two chunks of samples when it shall end."""
    width, height = scene.plate.size
    factor = min(1.0, LONGEST / max(width, height))
    plate = scene.plate.resized(max(1, round(width * factor)), max(1, round(height * factor)))
    camera = scene.camera.resized(*plate.size)
    radiance = final_map(light, MAP_ROWS, SUN_ROWS)
    tracer = PathTracer(scene, camera, RenderSettings(CHUNK, DEPTH, 0, even=True), gbuffer_samples=8,
                        built=preview.built)
    go_on()
    # ---- object and shadow, chunk by chunk ----
    chunks = []
    for k in range(SPP // CHUNK):
        chunks.append(tracer.object_pass(radiance, seed=split_seed(0, "traced", k), spp=CHUNK))
        go_on()
    rgb, alpha = (torch.stack(parts).mean(0) for parts in zip(*chunks, strict=True))
    shadow = tracer.shadow_pass(radiance, seed=split_seed(0, "shadow"), spp=SPP)
    go_on()
    passes = Passes(rgb, shadow.lit, shadow.shadowed, replace(tracer.gbuffers, alpha=alpha), shadow.sampled)
    if denoising.available() is not None:
        passes = denoising.denoise_passes(passes, camera)
    # ---- on the plate ----
    layers = insert_layers(plate.lin, plate.disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                           tone_fg=tones[0], tone_shadow=tones[1])
    return flatten_disp(layers)
