"""One measurement of the part ``gpu`` of the speed benchmark, in a process of its own:
``python -m benchmarks.speed.job NAME FOLDER OUT.json SECONDS [--smoke]``. FOLDER : of the prior that ``folder``
writes; SECONDS : what is left for it. With ``--smoke`` everything is tiny, for the CPU."""
from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import DEMO, timed_process


@dataclass(frozen=True)
class Sizes:
    """Of all measurements."""

    tiny: bool = False  # a tiny prior, a small picture, few steps

    def __call__(self, real, tiny):
        return tiny if self.tiny else real


class Peak:
    """Most GPU memory in use above what was at the start, GiB, by all programs (torch, Dr.Jit, child processes);
    asked ten times a second, since asking disturbs what is measured. None without a GPU."""

    def __enter__(self) -> Peak:
        import torch

        self._used = (lambda: -torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None
        self._start = self._most = self._used() if self._used else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._used and not self._stop.wait(0.1):
            self._most = max(self._most, self._used())

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def gib(self) -> float | None:
        return (self._most - self._start) / 2**30 if self._used else None


def scene(size: tuple[int, int] | None = None):
    """The demo on the run's device. size : (width, height) of its camera, None = the plate's"""
    from dataclasses import replace

    from dipir import device
    from dipir.scene.scene_file import build_scene, load_scene_file

    built = build_scene(load_scene_file(DEMO), str(DEMO))
    if size is not None:
        built = replace(built, camera=built.camera.resized(*size))
    return device.moved(built)


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_s(work: Callable[[], object], repeats: int, warm: int = 3) -> float:
    """Median seconds of ``work()``, each waited for."""
    for _ in range(warm):
        work()
    synchronise()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        synchronise()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


# ------------------------------------------------------------------------------------------------------ measurements
def folder(path: Path, left_s: float, sizes: Sizes) -> dict:
    """Writes the prior."""
    from benchmarks.speed import sd
    from tests.support.tiny_diffusion import build_pipeline

    began = time.perf_counter()
    build_pipeline(path) if sizes.tiny else sd.write_sd15(path)
    return {"seconds": time.perf_counter() - began}


def lds(path: Path, left_s: float, sizes: Sizes, *settings: str, split: bool = True) -> dict:
    from benchmarks.speed.sd import Loop, lds_iteration

    small = ("transport.samples=1", "transport.bsdf_samples=1", "transport.light_samples=1")
    loop = Loop(settings=settings) if not sizes.tiny else Loop(32, 1, 2, 2, (*small, *settings))
    return lds_iteration(scene(), path, loop, split)


def compiled(path: Path, left_s: float, sizes: Sizes) -> dict:
    """With torch.compile; the time that compiling takes is that of the warm-up."""
    return lds(path, left_s, sizes, "memory.compile=true", split=False)


def paper(path: Path, left_s: float, sizes: Sizes) -> dict:
    from benchmarks.speed.sd import whole_run

    tiny = ("personalise.steps=12", "fit.steps=6", "guidance.concepts=1", "guidance.sampled_concepts=1",
            "guidance.sampler_steps=2", "guidance.size=32", "final.size=64", "final.spp=1", "transport.samples=1",
            "transport.bsdf_samples=1", "transport.light_samples=1")
    return whole_run(scene(), path, sizes((), tiny), sizes(50, 4), left_s)


def insert(preset: str, sizes: Sizes) -> dict:
    """Seconds of the second of two fresh processes; the first one fills a kernel cache of their own."""
    from dipir import device

    tiny = ["final.size=64", "final.spp=1", "fit.steps=2", "guidance.samples=1", "guidance.sampler_steps=2",
            "transport.samples=1", "light.start=mirrored"]
    words = [word for s in sizes([], tiny) for word in ("--set", s)]
    asked = "cpu" if sizes.tiny else device.current().asked
    with tempfile.TemporaryDirectory() as out:
        for variable in ("DRJIT_CACHE_DIR", "OPTIX_CACHE_PATH"):
            os.environ[variable] = str(Path(out) / variable)
            (Path(out) / variable).mkdir()
        command = [sys.executable, "-m", "dipir", "insert", str(DEMO), "--preset", preset, "--device", asked, "--out",
                   f"{out}/result", "--quiet", *words]
        cold = timed_process(command)[0]
        seconds = timed_process(command)[0]
        times = json.loads((Path(out) / "result" / "result.json").read_text())["provenance"]["times"]
    return {"seconds": seconds, "cold_s": cold, "inside": times}


def insert_default(path: Path, left_s: float, sizes: Sizes) -> dict:
    return insert("default", sizes)


def insert_fast(path: Path, left_s: float, sizes: Sizes) -> dict:
    return insert("fast", sizes)


def path_traced(path: Path, left_s: float, sizes: Sizes) -> dict:
    """Object pass of the demo; samples are those of the rectangle around the objects, which is all that is traced."""
    import torch

    from dipir import device
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings

    size, spp = sizes(((1280, 960), 256), ((64, 48), 4))
    tracer = PathTracer(scene(size), settings=RenderSettings(spp, 4), gbuffer_samples=1)
    light = torch.full((16, 32, 3), 0.5, device=device.current().torch)
    seeds = iter(range(1000))
    with torch.no_grad():
        seconds = median_s(lambda: tracer.object_pass(light, seed=next(seeds), spp=spp), sizes(5, 1), sizes(2, 1))
    samples = tracer.region.width * tracer.region.height * spp
    return {"seconds": seconds, "spp": spp, "size": list(size), "mega_per_s": samples / seconds / 1e6}


def transport(path: Path, left_s: float, sizes: Sizes) -> dict:
    """A light update (forward, composite, backward) at 64 pixels; a relighting preview at 512."""
    import torch

    from dipir.insert.config import load_config
    from dipir.insert.problem import composite, prepare

    config = load_config("fast" if sizes.tiny else "default", None, ["light.start=mirrored"])
    where = scene()
    works = {size: prepare(where, config, size, None) for size in sizes((64, 512), (16, 32))}
    small, large = works.values()
    light = small.start.clone().requires_grad_()
    gradient = torch.ones_like(small.plate_disp)

    def update() -> None:
        light.grad = None
        composite(small, small.transport.passes(light), None, None).backward(gradient)

    @torch.no_grad()
    def preview() -> None:
        composite(large, large.transport.passes(large.start), None, None)
    return {"update_ms": 1e3 * median_s(update, sizes(100, 2)), "preview_per_s": 1 / median_s(preview, sizes(100, 2)),
            "update_pixels": small.size, "preview_pixels": large.size}


def training(path: Path, left_s: float, sizes: Sizes) -> dict:
    """Steps a second of the light prior's training: bare and dressed plates of drawn environments, made there while it
    trains; no files."""
    import numpy as np

    from dipir import device
    from dipir.priors.nets.light_unet import LightUNet, LightUNetConfig
    from dipir.workshop.light.pool import drawn_places
    from dipir.workshop.light.sources import LightPriorConfig, sources_of, staged
    from dipir.workshop.trainer import speed

    where = device.current().torch
    batch, steps = sizes((96, 200), (2, 1))
    net = sizes(LightUNetConfig(), LightUNetConfig(widths=(8, 8, 16), tokens=16, heads=2, embedding=8, hidden=16))
    config = LightPriorConfig(net=net, batch=batch, pool=sizes(1024, 1))
    places = device.moved(drawn_places(np.random.default_rng(0), sizes(12, 2), sizes(512, 64)), where)
    per_s = speed(LightUNet(net).to(where), staged(config, sources_of(config, places)), config.train, steps,
                  warm=sizes(30, 1))
    return {"per_s": per_s, "batch": batch, "steps": steps}


JOBS: dict[str, Callable[[Path, float, Sizes], dict]] = {
    f.__name__: f for f in (folder, lds, insert_default, insert_fast, path_traced, transport, training, paper,
                            compiled)}


def main(arguments: list[str]) -> None:
    """See the module's text."""
    name, path, out, left = arguments[:4]
    with Peak() as peak:
        found = JOBS[name](Path(path), float(left), Sizes("--smoke" in arguments[4:]))
    Path(out).write_text(json.dumps({**found, "peak_gib": peak.gib}))


if __name__ == "__main__":
    main(sys.argv[1:])
