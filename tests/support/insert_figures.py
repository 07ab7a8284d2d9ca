"""A whole ``dipir insert`` of a small plate made here, in a process of its own; what came out of it.

``python -m tests.support.insert_figures --reference`` makes tests/gpu/reference/insert.npz anew, on the CPU: it stands
in for the CPU's picture where there is no LLVM for the renderer (to be done when insertions change).
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "gpu" / "reference" / "insert.npz"
WIDTH, HEIGHT = 160, 120
SETTINGS = ("guidance.kind=posterior", "guidance.samples=2", "guidance.sampler_steps=4", "fit.steps=20", "final.spp=64",
            "transport.samples=4")


@dataclass(frozen=True)
class Inserted:
    """composite, plate : (H, W, 3) display [0, 1];  light : (16, 32, 3) radiance;  device : what result.json records"""

    composite: np.ndarray
    plate: np.ndarray
    light: np.ndarray
    device: dict[str, str]

    @property
    def changed(self) -> np.ndarray:
        """(H, W): where something was inserted or shaded."""
        return np.abs(self.composite - self.plate).max(-1) > 0.02


def write_plate(path: Path) -> np.ndarray:
    """A yard in sunlight, as a gradient and a pattern; (H, W, 3) in [0, 1] as written."""
    from PIL import Image

    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    sky = np.stack([0.55 - 0.2 * y, 0.7 - 0.2 * y, 0.9 - 0.1 * y], -1)
    paving = np.stack([0.6 + 0 * y, 0.55 + 0 * y, 0.5 + 0 * y], -1) * (0.75 + 0.1 * np.sin(40 * x) * np.sin(30 * y)
                                                                       + 0.2 * x)[..., None]
    plate = np.where(y[..., None] < 0.35, sky, paving).clip(0, 1)
    Image.fromarray((plate * 255).round().astype(np.uint8)).save(path)
    return read(path)


def read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def run(folder: Path, asked: str, variant: str | None = None) -> Inserted:
    """Insert the demo's vase on the device ``asked``."""
    folder.mkdir(parents=True, exist_ok=True)
    plate = write_plate(folder / "plate.png")
    environment = {k: v for k, v in os.environ.items() if k not in ("DIPIR_VARIANT", "DIPIR_DEVICE")}
    if variant is not None:
        environment["DIPIR_VARIANT"] = variant
    words = ["insert", str(folder / "plate.png"), str(ROOT / "assets" / "demo" / "vase.glb"), "--at", "80,95",
             "--height", "0.6", "--fov", "55", "--pitch", "12", "--camera-height", "1.5", "--seed", "3",
             "--device", asked, "--out", str(folder / "out"), "--quiet",
             *(word for s in SETTINGS for word in ("--set", s))]
    done = subprocess.run([sys.executable, "-m", "dipir", *words], cwd=ROOT, env=environment, capture_output=True,
                          text=True, timeout=540)
    if done.returncode:
        raise AssertionError(f"dipir insert --device {asked}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    provenance = json.loads((folder / "out" / "result.json").read_text())["provenance"]
    return Inserted(read(folder / "out" / "composite.png"), plate, _light(folder / "out"), provenance["device"])


def _light(out: Path) -> np.ndarray:
    from dipir.image import latlong
    from dipir.image.files import read_envmap

    return latlong.resize(read_envmap(out / "light.exr"), 16, 32).numpy()


def load() -> Inserted:
    """The committed picture of a CPU."""
    with np.load(REFERENCE) as stored:
        return Inserted(stored["composite"].astype(np.float32) / 255, stored["plate"].astype(np.float32) / 255,
                        stored["light"], {"torch": "cpu", "renderer": "llvm_ad_rgb", "asked": "cpu"})


def main(arguments: list[str]) -> None:
    """See the module's text."""
    if arguments != ["--reference"]:
        sys.exit("usage: python -m tests.support.insert_figures --reference")
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), "cpu")
    def whole(image):
        return (image * 255).round().astype(np.uint8)
    np.savez_compressed(REFERENCE, composite=whole(found.composite), plate=whole(found.plate), light=found.light)


if __name__ == "__main__":
    main(sys.argv[1:])
