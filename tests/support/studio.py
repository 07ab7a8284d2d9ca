"""Small inputs and sessions for the studio's tests."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dipir.scene.light import SphericalGaussians, towards
from dipir.scene.rig import Lamp, Rig, sigma_of
from dipir.scene.source import Source
from dipir.studio.document.state import CameraNumbers, Document, Item, PlateFacts
from dipir.studio.geometry import hull_of
from dipir.studio.pictures.lights import numbers_of
from dipir.studio.session import Session
from tests.support.command_line import CUBE

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 72)
CAMERA = CameraNumbers(50.0, 20.0, 0.0, 1.6)


def make_files(folder: Path) -> tuple[Path, Path]:
    """(a photo with lines to see, a cube that is 1 m wide)."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 170, np.uint8)
    pixels[::8] = 150
    pixels[:20] = (120, 150, 200)
    Image.fromarray(pixels).save(folder / "photo.png")
    (folder / "cube.obj").write_text(CUBE)
    return folder / "photo.png", folder / "cube.obj"


def sunny_rig() -> Rig:
    """Even light and a sun from the right that gives 0.7 of the ground's light."""
    around = SphericalGaussians.uniform(torch.full((3,), 0.3))
    level = float(Rig(around).ground().mean())
    sun = Source(towards(90.0, 45.0), torch.ones(3), sigma_of(0.53))
    strong = replace(sun, irradiance=sun.irradiance * (0.7 / 0.3 * level / float(sun.direction[1])))
    return Rig(around, (Lamp("sun", strong),))


def set_up(folder: Path, files: Path, results: dict[str, Path] | None = None) -> Session:
    """A session in which photo, cube and light are there already; its worker does not run."""
    folder.mkdir(exist_ok=True)
    photo, cube = make_files(files)
    session = Session(folder, results)
    plate, asset = session.store.adopt("plate", photo), session.store.adopt("asset", cube)
    rig = sunny_rig()
    light = numbers_of(rig, "prior", session.pictures.keep_base(rig))
    other = replace(light, base="guess 1", guess=1, lamps=(replace(light.lamps[0], azimuth_deg=-90.0),))
    session.facts[plate.id] = PlateFacts(SIZE, CAMERA, 0.9, "given", guesses=({"azimuth_deg": -90.0},),
                                         lights={"0": light, "1": other})
    session.hulls[asset.id] = hull_of(session.pictures.asset(asset.id))
    cube = Item("o1", asset.id, "cube", (48.0, 52.0), 0.5)
    session.history = session.history.amended(Document(plate.id, CAMERA, objects=(cube,), selected="o1", light=light))
    session.save()
    return session


class Studio:
    """A real `dipir studio` in a process of its own."""

    def __init__(self, home: Path, *words: str | Path, environment: dict[str, str] | None = None) -> None:
        self.home, self.errors = home, open(home.parent / f"{home.name}.err", "a+b")
        variables = {**os.environ, "DIPIR_STUDIO": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                     **(environment or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dipir", "studio", *map(str, words), "--port", "0", "--no-browser"],
            stdout=subprocess.PIPE, stderr=self.errors, env=variables, cwd=home.parent, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address.startswith("http"):
            self.errors.seek(0)
            raise AssertionError(f"no address: {self.address} {self.errors.read().decode()[-2000:]}")
        self.base = self.address.split("/?")[0]

    def client(self, timeout: float = 120.0):
        """An httpx client that has opened the page."""
        import httpx

        client = httpx.Client(base_url=self.base, headers={"origin": self.base}, timeout=timeout,
                              follow_redirects=True)
        assert client.get(self.address).status_code == 200
        return client

    def end(self, number: int = signal.SIGINT) -> int:
        """Ends it; its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.errors.close()


def wait_for(get: Callable[[], dict[str, Any]], ready: Callable[[dict[str, Any]], Any], seconds: float = 180) -> dict:
    """The state once it is ready."""
    state, end = get(), time.monotonic() + seconds
    while not ready(state):
        assert time.monotonic() < end, json.dumps({k: v for k, v in state.items() if k != "camera"})[:3000]
        time.sleep(0.1)
        state = get()
    return state
