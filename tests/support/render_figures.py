"""What the renderer gives for small scenes, as arrays, computed in a process of its own: Mitsuba's variant is chosen
once a process, so that two devices can only be compared across processes.

``python -m tests.support.render_figures OUT.npz [FIRST_SEED]`` writes them; the device is DIPIR_DEVICE's.
``python -m tests.support.render_figures --reference`` makes tests/gpu/reference/render.npz anew, on the CPU: it stands
in for the CPU's figures where there is no LLVM for the renderer (to be done when the renderer's results change).
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "gpu" / "reference" / "render.npz"
RUNS = 6
Figures = dict[str, np.ndarray]


def llvm_is_there() -> bool:
    """Whether the renderer can run on the CPU of this machine."""
    from dipir.errors import RenderError
    from dipir.render.backend import require_llvm

    try:
        require_llvm()
        return True
    except RenderError:
        return False


def in_child(out: Path, asked: str, first_seed: int = 0, variant: str | None = None) -> Figures:
    """The figures of a fresh process on the device ``asked``."""
    environment = {k: v for k, v in os.environ.items() if k != "DIPIR_VARIANT"} | {"DIPIR_DEVICE": asked}
    if variant is not None:
        environment["DIPIR_VARIANT"] = variant
    run = subprocess.run([sys.executable, "-m", "tests.support.render_figures", str(out), str(first_seed)], cwd=ROOT,
                         env=environment, capture_output=True, text=True, timeout=540)
    if run.returncode:
        raise AssertionError(f"figures on {asked}: exit code {run.returncode}\n{run.stderr[-3000:]}")
    return load(out)


def load(path: Path) -> Figures:
    with np.load(path) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def figures(first: int = 0) -> Figures:
    """All of them on this process's device. first : added to every seed"""
    from dipir import device

    where = device.current().torch
    found: Figures = {}
    for part in (_passes, _transport, _environment_gradient, _material_gradients, _denoised, _memory):
        found |= {name: np.asarray(value.detach().float().cpu() if isinstance(value, torch.Tensor) else value)
                  for name, value in part(where, first).items()}
    found["device"] = np.array([ord(c) for c in f"{where.type} {device.current().variant}"])
    return found


def _scene(size: int = 24):
    """A glossy sphere beside a green box: interreflection and mutual shadows."""
    from dipir.scene.assets.asset import Material
    from dipir.workshop.things.objects import simple_asset
    from tests.support.scenes import MATERIALS, placed, scene_of

    box = simple_asset("box", Material(base_color=(0.15, 0.6, 0.2), roughness=0.6))
    return scene_of(placed(simple_asset("sphere", MATERIALS["glossy"]), x=-0.2, name="s"),
                    placed(box, x=0.5, z=3.1, name="b"), size=size)


def _sun(where: torch.device):
    from tests.support.scenes import sunny

    return sunny((0.6, 0.5, -0.6)).to(where)


def _grey(image: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) -> (H W,)"""
    return image[0].mean(0).flatten()


def _passes(where: torch.device, first: int) -> dict:
    """Object, shadow and ratio of several seeds (runs, pixels); G-buffers."""
    from dipir import device
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings

    tracer = PathTracer(device.moved(_scene()), settings=RenderSettings(depth=4), gbuffer_samples=64)
    with torch.no_grad():
        runs = [tracer.passes(_sun(where), seed=100 + first + s, spp=64) for s in range(RUNS)]
    found = {name: torch.stack([_grey(getattr(p, field)) for p in runs]) for name, field in
             (("object", "object_rgb"), ("shadowed", "ground_shadowed"), ("ratio", "shadow_ratio"))}
    g = tracer.gbuffers
    names = ("alpha", "ground", "depth", "normal", "albedo", "roughness", "metallic", "position", "object_id")
    return {**found, **{f"gbuffer_{name}": getattr(g, name)[0] for name in names}}


def _transport(where: torch.device, first: int) -> dict:
    """Recordings of several seeds (runs, pixels); the exactness of its gradient (two numbers that must be equal)."""
    from dipir import device
    from dipir.render.transport import Transport, TransportSettings

    scene, sun = device.moved(_scene()), _sun(where)
    maps = [Transport.record(scene, settings=TransportSettings(samples=8, seed=first + s)) for s in range(RUNS)]
    with torch.no_grad():
        runs = [m.passes(sun) for m in maps]
    weight = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1)).to(where)
    direction = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(2)).to(where)

    def loss(env: torch.Tensor) -> torch.Tensor:
        passes = maps[0].passes(env)
        return ((passes.object_rgb + passes.ground_shadowed) * weight).sum()
    leaf = sun.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    with torch.no_grad():
        both = [float((gradient * direction).sum()), float(loss(sun + direction) - loss(sun))]
    return {"transport_object": torch.stack([_grey(p.object_rgb) for p in runs]),
            "transport_shadowed": torch.stack([_grey(p.ground_shadowed) for p in runs]), "transport_slope": both}


def _environment_gradient(where: torch.device, first: int) -> dict:
    """Path replay: gradient maps of several seeds (runs, texels), and its slope beside a central difference."""
    from dipir import device
    from dipir.render.path_traced import PathTracer
    from tests.support.scenes import sphere_scene, sunny

    tracer = PathTracer(device.moved(sphere_scene("glossy")), gbuffer_samples=1)
    weight = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(5)).to(where)
    direction = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(6)).to(where)
    env = sunny((0.5, 0.6, -0.6), peak=20.0).to(where)

    def loss(light: torch.Tensor, seed: int) -> torch.Tensor:
        passes = tracer.passes(light, seed=first + seed, spp=64)
        return ((passes.object_rgb + passes.ground_shadowed) * weight).sum()
    gradients, slopes = [], []
    for seed in range(RUNS):
        leaf = env.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, seed), leaf)
        gradients.append(gradient.mean(-1).flatten())
        slopes.append(float((gradient * direction).sum()))
    with torch.no_grad():
        differences = [float(loss(env + direction, s) - loss(env - direction, s)) / 2 for s in range(RUNS)]
    return {"environment_gradient": torch.stack(gradients),
            "environment_slope": [np.mean(slopes), np.mean(differences)]}


def _material_gradients(where: torch.device, first: int) -> dict:
    """A base colour and a roughness texture: slope and central difference."""
    from dipir import device
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings
    from dipir.scene.assets.asset import Material
    from dipir.workshop.things.objects import simple_asset
    from tests.support.scenes import placed, scene_of, sunny

    grid = np.random.default_rng(1).random((8, 8)).astype(np.float32)
    material = Material(base_color=(0.5, 0.4, 0.3), roughness=0.5, metallic=0.4, roughness_texture=grid * 0.4 + 0.3)
    tracer = PathTracer(device.moved(scene_of(placed(simple_asset("sphere", material)))),
                        settings=RenderSettings(depth=3), gbuffer_samples=1)
    weight = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(5)).to(where)
    soft = (sunny((0.5, 0.6, -0.6), peak=0.0)
            + torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(9))).to(where)
    found = {}
    for name, step in (("base_color", 0.05), ("roughness", 0.04)):
        (value_of,) = [n for n in tracer.material_names() if n.kind == name]
        key, start = value_of.key, tracer.material_start(value_of)

        def loss(value: torch.Tensor, seed: int, key: str = key) -> torch.Tensor:
            return (tracer.object_pass(soft, seed=first + seed, spp=512, materials={key: value})[0] * weight).sum()
        slopes = []
        for seed in range(4):
            leaf = start.clone().requires_grad_()
            slopes.append(float(torch.autograd.grad(loss(leaf, seed), leaf)[0].sum()))
        with torch.no_grad():
            differences = [float(loss(start + step, s) - loss(start - step, s)) / (2 * step) for s in range(4)]
        found[f"{name}_slope"] = [np.mean(slopes), np.mean(differences)]
    return found


def _denoised(where: torch.device, first: int) -> dict:
    """Root mean square distance to a picture of many samples: of a noisy one, and of the same denoised; empty where
    no denoiser is there."""
    from dipir import device
    from dipir.render import denoise
    from dipir.render.path_traced import PathTracer

    if denoise.available() is None:
        return {}
    scene = device.moved(_scene(96))
    tracer = PathTracer(scene, gbuffer_samples=64)
    with torch.no_grad():
        truth = tracer.passes(_sun(where), seed=900 + first, spp=1024)
        noisy = tracer.passes(_sun(where), seed=901 + first, spp=8)
        smooth = denoise.denoise_passes(noisy, scene.camera)
    kept = ~noisy.sampled.expand(-1, 3, -1, -1)  # Where the shadow has no samples it has no noise either.
    def off(p, field):
        return float((getattr(p, field) - getattr(truth, field)).square().mean().sqrt())
    return {"denoise_object": [off(noisy, "object_rgb"), off(smooth, "object_rgb")],
            "denoise_ratio": [off(noisy, "shadow_ratio"), off(smooth, "shadow_ratio")],
            "denoise_keeps": [float(torch.equal(noisy.alpha, smooth.alpha)),
                              float(torch.equal(smooth.shadow_ratio[kept], noisy.shadow_ratio[kept]))]}


def _memory(where: torch.device, first: int) -> dict:
    """What is handed out does not change when the renderer goes on, nor does a seed's picture: two times 1."""
    from dipir import device
    from dipir.render.path_traced import PathTracer

    tracer, sun = PathTracer(device.moved(_scene()), gbuffer_samples=1), _sun(where)
    with torch.no_grad():
        one = tracer.passes(sun, seed=1, spp=16)
        kept = one.object_rgb.clone(), one.ground_shadowed.clone()
        for seed in range(2, 6):
            tracer.passes(sun * seed, seed=seed, spp=16)
        again = tracer.passes(sun, seed=1, spp=16)
    stays = torch.equal(kept[0], one.object_rgb) and torch.equal(kept[1], one.ground_shadowed)
    off = (again.object_rgb - kept[0]).abs().max() + (again.ground_shadowed - kept[1]).abs().max()
    return {"stays": [float(stays), float(off < 1e-3)]}  # Sums on a GPU come in any order.


def main(arguments: list[str]) -> None:
    """See the module's text."""
    if arguments == ["--reference"]:
        os.environ["DIPIR_DEVICE"] = "cpu"
        found = figures()
        REFERENCE.parent.mkdir(parents=True, exist_ok=True)
        # Half floats are finer than the noise of 64 samples.
        keep = {name: value.astype(np.float16) if value.ndim == 2 else value.astype(np.float32)
                for name, value in found.items()}
        np.savez_compressed(REFERENCE, **keep)
        return
    np.savez_compressed(arguments[0], **figures(int(arguments[1]) if len(arguments) > 1 else 0))


if __name__ == "__main__":
    main(sys.argv[1:])
