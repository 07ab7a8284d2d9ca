"""The studio's page in a browser: from the hand to the picture, until the page is ready, and the server's memory.

``python -m benchmarks studio`` starts ``dipir studio`` with the demo plate and its two objects, drags the sun and an
object in Chromium, and writes the table. The times are the page's own: from the pointer's event to the picture drawn.
The memory is that of a server with a plate of 24 megapixels. Run it on an idle machine.
"""
from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import ROOT, as_command, machine, markdown, typed, write
from dipir.errors import ConfigError

DEMO = [ROOT / "assets" / "demo" / name for name in ("plate.png", "vase.glb", "watering_can.glb")]
SIZES, MOVES, LOADS, LARGE = (256, 512), 90, 5, (6000, 4000)
WINDOW = {"width": 1440, "height": 900}
_SHOWN = "performance.getEntriesByName('plate-shown').map((mark) => mark.startTime)[0] ?? 0"
_MEASURES = "performance.getEntriesByName('picture-drag').map((entry) => [entry.duration, entry.detail.ms])"
_STATE = "fetch('/api/state').then((answer) => answer.json())"


# ---- server and page -------------------------------------------------------------------------------------------------

@contextmanager
def served(home: Path, plate: Path) -> Iterator[tuple[str, int, float]]:
    """(address, process, seconds until it had one) of a server with the demo's objects on a plate."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "dipir", "studio", str(plate), *map(str, DEMO[1:]), "--port", "0",
                                "--no-browser"], env={**os.environ, "DIPIR_STUDIO": str(home)}, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise ConfigError("dipir studio ended without an address; run it by hand to see why.")
        yield address, process.pid, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def waited(page, script: str, seconds: float = 180) -> object:
    """What a script gives in the page as soon as it is not falsy. ConfigError when it never is."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(script)):
        if time.monotonic() > end:
            raise ConfigError(f"the studio's page: {seconds:g} s without {script}")
        page.wait_for_timeout(50)
    return value


def opened(page, address: str) -> float:
    """Goes there; milliseconds until the photo was drawn. Waits until nothing moves any more."""
    page.goto(address)
    ready = waited(page, _SHOWN)
    waited(page, f"{_STATE}.then((state) => state.light && !state.job)")
    waited(page, "document.getElementById('badge').textContent === 'path traced'")
    return float(ready)


def settled(page) -> None:
    """Until the last change is path traced."""
    page.wait_for_timeout(1500)
    waited(page, "document.getElementById('badge').textContent === 'path traced'")


# ---- what is measured ------------------------------------------------------------------------------------------------

def dragged(page, path: Sequence[tuple[float, float]]) -> list[list[float]]:
    """[page's ms, server's ms] of each picture of a drag along a path."""
    page.evaluate("performance.clearMeasures()")
    page.mouse.move(*path[0])
    page.mouse.down()
    for point in path[1:]:
        page.mouse.move(*point)
        page.wait_for_timeout(16)
    page.wait_for_timeout(500)
    found = page.evaluate(_MEASURES)
    page.mouse.up()
    settled(page)
    return found


def around_the_compass(page) -> list[tuple[float, float]]:
    """From the sun once around the dial."""
    page.get_by_test_id("tab-light").click()
    box, (lamp, *_) = page.get_by_test_id("compass").bounding_box(), page.evaluate(_STATE)["light"]["lamps"]
    r = box["width"] / 248 * 100 * (90 - lamp["elevation_deg"]) / 90
    angles = [math.radians(lamp["azimuth_deg"] + 360 * k / MOVES) for k in range(MOVES + 1)]
    return [(box["x"] + box["width"] / 2 + r * math.sin(a), box["y"] + box["height"] / 2 + r * math.cos(a))
            for a in angles]


def along_the_ground(page) -> list[tuple[float, float]]:
    """From the first object a little way over the ground, and back."""
    page.get_by_test_id("tab-place").click()
    state, box = page.evaluate(_STATE), page.get_by_test_id("stage").bounding_box()
    width, height = (state["plate"][key] for key in ("width", "height"))
    scale = min((box["width"] - 24) / width, (box["height"] - 24) / height)
    x0, y0, x1, y1 = state["objects"][0]["box"]
    left = box["x"] + (box["width"] - width * scale) / 2 + (x0 + x1) / 2 * scale
    top = box["y"] + (box["height"] - height * scale) / 2 + (y0 + y1) / 2 * scale
    return [(left - 80 * math.sin(math.pi * k / MOVES), top + 10 * math.sin(math.pi * k / MOVES))
            for k in range(MOVES + 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """How many, median and 95th percentile."""
    ordered = sorted(values)
    if not ordered:
        raise ConfigError("the studio's page showed no picture while something was dragged.")
    return {"n": len(ordered), "median": statistics.median(ordered),
            "p95": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]}


def peak_gib(process: int) -> tuple[float, float]:
    """(now, most) of a process's resident memory."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return tuple(int(lines[key].split()[0]) / 2**20 for key in ("VmRSS", "VmHWM"))


def shown(browser, folder: Path, file: Path) -> None:
    """A screenshot of the page, the objects where scenes/demo.yaml has them."""
    with served(folder / "shown", DEMO[0]) as (address, _, _):
        page = browser.new_page(viewport=WINDOW)
        opened(page, address)
        for number, (at, height, yaw) in enumerate((((505, 705), 0.66, 20), ((850, 760), 0.46, 155)), 1):
            for op in ({"op": "place", "at": at}, {"op": "size", "height_m": height}, {"op": "turn", "yaw_deg": yaw}):
                page.evaluate("""(op) => fetch("/api/edit", {method: "POST", body: JSON.stringify(op),
                    headers: {"Content-Type": "application/json"}})""", {**op, "object": f"o{number}"})
        page.get_by_test_id("tab-light").click()
        settled(page)
        page.locator("#message + button").click()
        page.screenshot(path=file, type="jpeg", quality=72)
        page.close()


def times(browser, folder: Path) -> dict:
    """Start, page ready, drags and moves, with the demo plate."""
    with served(folder / "demo", DEMO[0]) as (address, _, start):
        page = browser.new_page(viewport=WINDOW)
        opened(page, address)
        home = address.split("?")[0]
        found = {"address_s": start, "page_ready_ms": spread([opened(page, home) for _ in range(LOADS)])}
        for size in SIZES:
            page.get_by_test_id("tab-look").click()
            page.get_by_test_id("live-size").select_option(str(size))
            for name, path in (("drag", around_the_compass), ("move", along_the_ground)):
                # The first drag of its kind compiles; it is not counted.
                dragged(page, path(page))
                both = dragged(page, path(page))
                found[f"{name}_{size}_ms"] = spread([value[0] for value in both])
                found[f"{name}_{size}_server_ms"] = spread([value[1] for value in both])
        page.close()
    return found


def memory(browser, folder: Path) -> dict[str, float]:
    """Resident GiB of a server with a large plate, after a drag."""
    from PIL import Image

    plate = folder / "large.jpg"
    with Image.open(DEMO[0]) as small:
        small.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(plate, quality=92)
    with served(folder / "large", plate) as (address, process, _):
        page = browser.new_page(viewport=WINDOW)
        opened(page, address)
        dragged(page, around_the_compass(page))
        now, most = peak_gib(process)
        page.close()
    return {"megapixels": LARGE[0] * LARGE[1] / 1e6, "rss_gib": now, "peak_gib": most}


# ---- table -----------------------------------------------------------------------------------------------------------

def table(results: dict) -> str:
    """The figures for people."""
    rows = [("", "pictures", "median", "95th percentile", "of it the server")]
    found, kinds = results["times"], {"drag": "sun dragged", "move": "object dragged"}
    for name, words in kinds.items():
        for size in SIZES:
            page, server = found[f"{name}_{size}_ms"], found[f"{name}_{size}_server_ms"]
            rows.append((f"{words}, {size} pixels", str(page["n"]), f"{page['median']:.0f} ms", f"{page['p95']:.0f} ms",
                         f"{server['median']:.0f} ms"))
    ready = found["page_ready_ms"]
    rows.append(("page ready", str(ready["n"]), f"{ready['median']:.0f} ms", f"{ready['p95']:.0f} ms", ""))
    kept = results["memory"]
    return (markdown(rows) + f"\nThe server's memory with a plate of {kept['megapixels']:.0f} megapixels: "
            f"{kept['rss_gib']:.2f} GiB, {kept['peak_gib']:.2f} GiB at most. Its address after "
            f"{found['address_s']:.1f} s. {results['machine']}.\n")


def main(arguments: Sequence[str]) -> int:
    """Measures and writes results/studio.json and .md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks studio", description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="a screenshot of the page instead, as JPEG")
    args = parser.parse_args(list(arguments))
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise ConfigError("no chromium is installed; the studio is measured in one.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as problem:
        raise ConfigError("playwright is not installed: pip install 'dipir[dev]'") from problem
    with sync_playwright() as program, tempfile.TemporaryDirectory() as folder:
        browser = program.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if args.picture is not None:
            shown(browser, Path(folder), args.picture)
            return 0
        results = {"machine": machine(), "command": typed("python", "-m", "benchmarks", "studio"),
                   "times": times(browser, Path(folder)), "memory": memory(browser, Path(folder))}
        browser.close()
    write("studio", results, table(results))
    return 0


if __name__ == "__main__":
    as_command(main)
