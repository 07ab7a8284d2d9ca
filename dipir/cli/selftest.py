"""``python -m dipir.cli.selftest renderer|network``: a tiny render or a tiny network step on the run's device, for
``dipir doctor``, which runs it in a child process: an abort of Dr.Jit or of a driver ends the child alone.

The last line of the output is JSON: ``seconds`` of the work itself (start and imports left out), ``said`` what was
found. Exit code 0 when the result is right, 2 for anything else, with one line on stderr.
"""
from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dipir import child
from dipir.cli import terminal
from dipir.errors import DipirError, RenderError

LIMIT_S = 180.0  # Of a child: imports from a cold disk and the first kernels take most of it.
_SIZE = 32


@dataclass(frozen=True)
class Tried:
    """How a self-test ended."""

    said: str
    """what the child found, or how it ended"""
    seconds: float | None
    """of the work, None when it failed"""
    fine: bool
    """it is right"""


# ------------------------------------------------------------------------------------------------------ in the child
def renderer() -> str:
    """A sphere on the ground, path traced. Raises RenderError when the picture cannot be right."""
    import math

    import numpy as np
    import torch

    from dipir import device
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings
    from dipir.scene.assets.asset import Material
    from dipir.scene.camera import Camera
    from dipir.scene.framing import grounded
    from dipir.scene.plate import Plate
    from dipir.scene.proxy import PlacedAsset, Proxy
    from dipir.scene.scene import Scene
    from dipir.workshop.things.objects import simple_asset

    asset = simple_asset("sphere", Material(base_color=(0.7, 0.4, 0.2), roughness=0.6))
    low, high = asset.bounds
    placed = PlacedAsset(asset, grounded(float((high - low)[1]), 0.8, np.array([0.0, 0.0, 3.0]), 0.0), "sphere")
    where = device.current().torch
    grey = torch.full((1, 3, _SIZE, _SIZE), 0.5, device=where)
    scene = Scene(Plate(grey, grey**2.2), Camera.looking(_SIZE, _SIZE, 36.0, 1.2, 17.0), (placed,), Proxy())
    light = torch.full((16, 32, 3), 0.3, device=where)
    light[3, 10] = 40.0  # A sun, for a shadow.
    with torch.no_grad():
        passes = PathTracer(scene, settings=RenderSettings(depth=3), gbuffer_samples=4).passes(light, seed=1, spp=16)
        share, colour, shade = torch.stack([passes.alpha.mean(), passes.object_rgb.sum() / passes.alpha.sum() / 3,
                                            passes.shadow_ratio.amin()]).tolist()
    found = f"object on {share:.0%} of the pixels, its mean {colour:.2f}, darkest shadow {shade:.2f}"
    finite = all(map(math.isfinite, (share, colour, shade)))
    if not (finite and 0.03 < share < 0.6 and 0.02 < colour < 5 and shade < 0.9):
        raise RenderError(f"the picture of the self-test is wrong: {found}.")
    return f"rendered by {device.current().variant}"


def network() -> str:
    """A step of a small convolutional network, forward and backward; on a GPU its gradient is compared with that of the
    CPU. Raises RuntimeError when it is off."""
    import torch

    from dipir import device

    where = device.current().torch
    there = _gradient(where)
    off = (there - _gradient(torch.device("cpu"))).norm() / there.norm()
    if not (bool(torch.isfinite(there).all()) and float(there.norm()) > 0 and float(off) < 0.02):
        raise RuntimeError(f"the gradient of the self-test is wrong: {float(off):.2g} from that of the CPU")
    return f"trained on {where}"


def _gradient(where):
    """Of a small network's loss, flat, on the CPU."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.GroupNorm(4, 16), nn.Conv2d(16, 3, 3, padding=1))
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    net.to(where)
    image = torch.rand((2, 3, _SIZE, _SIZE), generator=generator).to(where)
    (net(image) - image).square().mean().backward()
    return torch.cat([value.grad.flatten() for value in net.parameters()]).cpu()


TESTS: dict[str, Callable[[], str]] = {"renderer": renderer, "network": network}


def main(arguments: Sequence[str]) -> int:
    """See the module's text."""
    if len(arguments) != 1 or arguments[0] not in TESTS:
        terminal.say(f"selftest: {' '.join(arguments) or 'nothing'} given; accepted is one of {', '.join(TESTS)}.")
        return 2
    try:
        _load(arguments[0])
        began = time.perf_counter()
        said = TESTS[arguments[0]]()
    # Whatever a driver or a library raises belongs in the report.
    except Exception as problem:
        text = " ".join(str(problem).split())
        terminal.say(text if isinstance(problem, DipirError) else f"{type(problem).__name__}: {text}")
        return 2
    print(json.dumps({"seconds": round(time.perf_counter() - began, 2), "said": said}))
    return 0


def _load(name: str) -> None:
    import torch  # noqa: F401

    if name == "renderer":
        from dipir.render import backend

        backend.mitsuba()


# ----------------------------------------------------------------------------------------------------- in the parent
def tried(name: str, limit_s: float = LIMIT_S, command: Sequence[str] | None = None) -> Tried:
    """Run the self-test ``name`` in a child process. command : another child, for tests"""
    words = list(command or child.command("dipir.cli.selftest", name))
    try:
        run = subprocess.run(words, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Tried(f"no answer within {limit_s:.0f} s", None, False)
    except OSError as problem:
        return Tried(f"could not be started ({problem})", None, False)
    said = (run.stderr.strip().splitlines() or ["nothing on stderr"])[-1][:400]
    if run.returncode < 0:
        return Tried(f"killed by {_signal(-run.returncode)} ({said})", None, False)
    if run.returncode:
        return Tried(said, None, False)
    try:
        found = json.loads(run.stdout.strip().splitlines()[-1])
        return Tried(str(found["said"]), float(found["seconds"]), True)
    except (IndexError, ValueError, KeyError, TypeError):
        return Tried(f"answered what is no report: {run.stdout[-100:]!r}", None, False)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
