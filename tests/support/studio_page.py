"""A studio server as a process of its own, and its page in a browser."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from dipir.scene.camera import Camera

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZE, FOV, PITCH = (320, 240), 60.0, 12.0
DIAL = 248
"""Width of the compass in its own units; its rim has radius 100."""
POST = "".join(f"v {x} {y} {z}\n" for x in (-0.15, 0.15) for y in (0, 0.9) for z in (-0.15, 0.15)) + \
    "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """A photo of level grey ground under a sky, and a post, 90 cm high."""
    horizon = int(Camera.looking(*SIZE, FOV, 1.6, PITCH).horizon_y(SIZE[0] / 2))
    photo = np.random.default_rng(0).normal(150, 3, (SIZE[1], SIZE[0], 1)).repeat(3, 2)
    photo[:horizon] = (150, 180, 215)
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "ground.png")
    (folder / "post.obj").write_text(POST)
    return folder / "ground.png", folder / "post.obj"


class Server:
    """`dipir studio` as a person starts it. ``home`` : where its sessions are."""

    def __init__(self, home: Path, *words: str | Path) -> None:
        environment = {**os.environ, "DIPIR_STUDIO": str(home), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen([sys.executable, "-m", "dipir", "studio", *map(str, words), "--no-browser"],
                                        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            self.process.wait(30)
            raise RuntimeError(f"no address: {self.url} {''.join(self.said)[-3000:]}")

    def _listen(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)

    def stop(self, how: int = signal.SIGINT) -> int:
        """Ends it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def until(true: Callable[[], object], what: str, seconds: float = 40.0) -> object:
    """What ``true`` gives as soon as it is not falsy; AssertionError with ``what`` when it never is."""
    end = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, f"in {seconds:g} s not: {what}"
        time.sleep(0.1)


class Studio:
    """The page as a person sees it."""

    def __init__(self, page) -> None:
        self.page, self.get = page, page.get_by_test_id
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda m: self.faults.append(m.text) if "Content Security" in m.text else None)

    def open(self, url: str) -> Studio:
        """Goes there and waits until the photo is drawn."""
        self.page.goto(url)
        self.shown()
        return self

    def shown(self) -> None:
        """Waits until the photo is drawn."""
        drawn = "performance.getEntriesByName('plate-shown').length"
        until(lambda: self.page.evaluate(drawn), "the photo is drawn", 90)

    def state(self) -> dict:
        """As the server tells it."""
        return self.page.evaluate("fetch('/api/state').then((answer) => answer.json())")

    def edit(self, **op) -> dict:
        """A change by a request."""
        return self.page.evaluate("""(op) => fetch('/api/edit', {method: 'POST', body: JSON.stringify(op),
            headers: {'Content-Type': 'application/json'}}).then((answer) => answer.json())""", op)

    def tab(self, name: str) -> Studio:
        """Turns to a tab."""
        self.get(f"tab-{name}").click()
        return self

    # ---- the picture ----
    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the photo is on the screen, while the whole photo is shown."""
        box = self.get("stage").bounding_box()
        width, height = (self.state()["plate"][key] for key in ("width", "height"))
        scale = min((box["width"] - 24) / width, (box["height"] - 24) / height)
        return (box["x"] + (box["width"] - width * scale) / 2 + x * scale,
                box["y"] + (box["height"] - height * scale) / 2 + y * scale)

    def brightness(self, x0: float, y0: float, x1: float, y1: float) -> float:
        """Mean of what the canvas shows of a box of the photo, [0, 255]."""
        box = self.get("stage").bounding_box()
        (left, top), (right, foot) = self.screen(x0, y0), self.screen(x1, y1)
        return self.page.evaluate("""([x, y, w, h]) => {
            const data = document.getElementById("stage").getContext("2d").getImageData(x, y, w, h).data;
            let sum = 0;
            for (let k = 0; k < data.length; k += 4) sum += data[k] + data[k + 1] + data[k + 2];
            return sum / (data.length / 4 * 3);
        }""", [round(left - box["x"]), round(top - box["y"]), max(1, round(right - left)), max(1, round(foot - top))])

    def sides(self) -> tuple[float, float]:
        """(brightness left, right) of the foot of the only object, beside its outline."""
        thing = self.state()["objects"][0]
        y, (x0, _, x1, _) = thing["at"][1], thing["box"]
        wide = max(8.0, x1 - x0)
        return (self.brightness(x0 - 1.5 * wide, y - 5, x0 - 2, y + 3),
                self.brightness(x1 + 2, y - 5, x1 + 1.5 * wide, y + 3))

    # ---- the compass ----
    def dial(self, azimuth_deg: float, elevation_deg: float) -> tuple[float, float]:
        """Where a direction is on the screen."""
        box = self.get("compass").bounding_box()
        r = box["width"] / DIAL * 100 * (90 - elevation_deg) / 90
        a = np.radians(azimuth_deg)
        return (box["x"] + box["width"] / 2 + r * float(np.sin(a)), box["y"] + box["height"] / 2 + r * float(np.cos(a)))

    def drag_sun(self, to: tuple[float, float], steps: int = 40) -> None:
        """Takes the first lamp on the compass and drags it to (azimuth, elevation) along the dial."""
        self.get("compass").scroll_into_view_if_needed()
        lamp = self.state()["light"]["lamps"][0]
        start = (lamp["azimuth_deg"], lamp["elevation_deg"])
        self.page.mouse.move(*self.dial(*start))
        self.page.mouse.down()
        for k in range(1, steps + 1):
            share = k / steps
            self.page.mouse.move(*self.dial(*(a + (b - a) * share for a, b in zip(start, to, strict=True))))
            self.page.wait_for_timeout(30)
        self.page.mouse.up()
