"""The final render beside plain ``mi.render``, its noise, and the relighting preview (``benchmarks.speed.full``)."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.common import DEMO

PLAIN_BAR, NOISE_BAR, PREVIEW_BAR = 1.5, 0.5, 30.0
TRUTH_SPP, BEFORE_SPP = 4096, 64


class Demo:
    """The demo at full size under the light that the default finds."""

    def __init__(self, result: Path) -> None:
        from dipir import device
        from dipir.insert.config import load_config
        from dipir.insert.result import load_result
        from dipir.scene.scene_file import build_scene, load_scene_file

        saved = load_result(result)
        self.config = load_config("default").final
        self.scene = device.moved(build_scene(load_scene_file(DEMO), str(DEMO)))
        self.light, self.tone, self.tone_shadow = device.moved((saved.light, saved.tone_fg, saved.tone_shadow))
        self.map = self.light.envmap(self.config.env_height, 2 * self.config.env_height)

    def tracer(self, spp: int, even: bool = True):
        from dipir.render.path_traced import PathTracer
        from dipir.render.renderer import RenderSettings

        return PathTracer(self.scene, settings=RenderSettings(spp, self.config.depth, 0, even), gbuffer_samples=16)

    def composite(self, passes):
        """(1, 3, H, W) display."""
        from dipir.image.composite import flatten_disp, insert_layers

        plate = self.scene.plate
        return flatten_disp(insert_layers(plate.lin, plate.disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                                          tone_fg=self.tone, tone_shadow=self.tone_shadow))


def median_seconds(work: Callable[[int], object], repeats: int = 5) -> float:
    """Median wall time; the first call, which compiles, is not counted."""
    import drjit as dr

    times = []
    for k in range(repeats + 1):
        began = time.perf_counter()
        work(k)
        dr.sync_thread()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def plain_part(result: Path) -> dict:
    """Seconds of our passes and of plain ``mi.render`` at equal samples a pixel."""
    import torch

    from dipir.render.gbuffer import record_gbuffers

    demo = Demo(result)
    tracer = demo.tracer(BEFORE_SPP)
    ours = {}
    with torch.no_grad():
        ours["G-buffers"] = median_seconds(lambda k: record_gbuffers(tracer.built, tracer.camera, 16, k))
        ours["object"] = median_seconds(lambda k: tracer.object_pass(demo.map, seed=k, spp=BEFORE_SPP))
        ours["shadow"] = median_seconds(lambda k: tracer.shadow_pass(demo.map, seed=k, spp=BEFORE_SPP))
        plain = plain_seconds(demo)
        final = median_seconds(lambda k: default_passes(demo))
    return {"ours": ours, "plain_s": plain, "ratio": sum(ours.values()) / plain, "bar": PLAIN_BAR, "spp": BEFORE_SPP,
            "final_s": final, "final_ratio": final / plain}


def plain_seconds(demo: Demo) -> float:
    """One ``mi.render`` of the whole frame: objects on a grey ground under the map."""
    import drjit as dr
    import numpy as np

    from dipir.render.backend import mitsuba
    from dipir.render.bridge import padded_envmap, to_drjit
    from dipir.render.mitsuba_scene import make_mesh, sensor_dict

    mi = mitsuba()
    content = {"type": "scene", "environment": {"type": "envmap", "bitmap": mi.Bitmap(np.ones((8, 16, 3), np.float32))},
               "ground": {"type": "rectangle", "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], -90).scale(1e3)}}
    for i, placed in enumerate(demo.scene.objects):
        content |= {f"o{i}_{j}": make_mesh(part, f"o{i}_{j}") for j, part in enumerate(placed.parts)}
    scene = mi.load_dict(content)
    params = mi.traverse(scene)
    params["environment.data"] = to_drjit(padded_envmap(demo.map))
    params.update()
    sensor = mi.load_dict(sensor_dict(demo.scene.camera, BEFORE_SPP))
    path = mi.load_dict({"type": "path", "max_depth": demo.config.depth + 1})
    return median_seconds(lambda k: dr.eval(mi.render(scene, integrator=path, sensor=sensor, spp=BEFORE_SPP, seed=k)))


def default_passes(demo: Demo):
    """Final passes as the default makes them, scene loading and denoiser included."""
    from dipir.insert.config import load_config
    from dipir.insert.final import final_picture

    tones = demo.tone, demo.tone_shadow
    return final_picture(demo.scene, demo.light, tones, load_config("default"), lambda event: None).passes


def noise_part(result: Path) -> dict:
    """Errors of the default and of 64 plain samples against the truth."""
    import torch

    demo = Demo(result)
    tracer = demo.tracer(BEFORE_SPP)
    with torch.no_grad():
        true, judged = truth(demo, tracer)
        wanted = demo.composite(true)
        thing = true.alpha > 0
        shade = ((1 - true.shadow_ratio).amax(1, keepdim=True) > 0.002) & ~thing & judged
        parts = {"all": thing | shade, "object": thing, "outline": thing & (true.alpha < 0.999), "shadow": shade}

        def errors(passes) -> dict[str, float]:
            gap = (demo.composite(passes) - wanted).square().mean(1, keepdim=True)
            weight = torch.where(shade, 4.0, 1.0)  # Each of the shadow stands for four.
            return {name: float(((gap * weight)[where].sum() / weight[where].sum()).sqrt())
                    for name, where in parts.items()}

        before = errors(tracer.passes(demo.map, seed=1, spp=BEFORE_SPP))
        now = errors(default_passes(demo))
    return {"before": before, "now": now, "ratio": now["all"] / before["all"], "bar": NOISE_BAR, "spp": TRUTH_SPP,
            "final_spp": demo.config.spp}


def truth(demo: Demo, tracer):
    """(passes of TRUTH_SPP samples, each of another seed than what is judged; (1, 1, H, W) bool where their shadow is
    known: at the objects, and at every fourth pixel that can have one)."""
    import torch

    from dipir.render.proxy_pass import Sites, Traced, trace
    from dipir.render.proxy_sites import possible

    runs = TRUTH_SPP // BEFORE_SPP
    shots = [tracer.object_pass(demo.map, seed=1000 + k, spp=BEFORE_SPP) for k in range(runs)]
    colour, alpha = (sum(s[k] for s in shots) / runs for k in (0, 1))
    pixels = possible(tracer.built, tracer.camera, demo.map, 1).flatten().nonzero()[:, 0]
    pixels = pixels[(alpha.flatten()[pixels] > 0) | (torch.arange(len(pixels), device=pixels.device) % 4 == 0)]
    lit = blocked = 0.0
    for k in range(runs):
        one = trace(tracer.built, tracer.camera, Sites(pixels), demo.map, seed=1000 + k, spp=BEFORE_SPP)
        lit, blocked = lit + one.lit, blocked + one.blocked
    width, height = demo.scene.camera.width, demo.scene.camera.height
    ratio = torch.ones(height * width, 3, device=colour.device).index_put((pixels,), Traced(lit, blocked).ratio)
    ground = (tracer.gbuffers.ground > 0).float()
    known = torch.zeros_like(ground, dtype=torch.bool).flatten().index_fill(0, pixels, True).reshape(ground.shape)
    from dipir.render.renderer import Passes

    return Passes(colour, ground.expand(-1, 3, -1, -1), ratio.T.reshape(1, 3, height, width) * ground,
                  replace(tracer.gbuffers, alpha=alpha)), known


# ----------------------------------------------------------------------------------------------------------- preview
def preview_part(size: int = 512) -> dict:
    """Pictures a second: light in, composite out."""
    import torch

    from dipir import device
    from dipir.image.composite import flatten_disp, insert_layers
    from dipir.insert.config import load_config
    from dipir.render.transport import Transport
    from dipir.scene.framing import working_window
    from dipir.scene.scene_file import build_scene, load_scene_file

    scene = device.moved(build_scene(load_scene_file(DEMO), str(DEMO)))
    window = working_window(scene.objects, scene.camera)
    began = time.perf_counter()
    whole = Transport.record(scene, window.camera(scene.camera, size), load_config("fast").transport)
    small = whole.compact()
    seconds = time.perf_counter() - began
    lin, disp = window.cut(scene.plate.lin, size), window.cut(scene.plate.disp, size)
    lights = torch.rand(8, 16, 32, 3, generator=torch.Generator().manual_seed(0)).to(lin.device)

    def shot(k: int):
        passes = small.passes(lights[k % 8])
        return flatten_disp(insert_layers(lin, disp, passes.object_rgb, passes.alpha, passes.shadow_ratio))

    with torch.no_grad():
        each = median_seconds(shot, 60)
    return {"size": size, "a_second": 1 / each, "bar": PREVIEW_BAR, "record_s": seconds,
            "mib": small.nbytes / 2**20, "mib_dense": whole.nbytes / 2**20}
