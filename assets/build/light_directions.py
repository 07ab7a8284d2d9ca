"""Azimuth and elevation as a picture, for docs/light.md: ``python assets/build/light_directions.py [FILE]`` draws the
view from above and from the side (default: docs/images/light_directions.png). Needs matplotlib, a development package.
"""
from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.patches import Arc, Circle, Polygon  # noqa: E402

from dipir.scene.direction import vector_of  # noqa: E402

FILE = Path(__file__).resolve().parents[2] / "docs" / "images" / "light_directions.png"
SUN, INK, DIM = "#e08a00", "#222222", "#8a8a8a"


def main(file: Path = FILE) -> Path:
    """Write the picture and return its path."""
    figure, (top, side) = pyplot.subplots(1, 2, figsize=(8.6, 4.4), dpi=100)
    draw_top(top)
    draw_side(side)
    for axes in (top, side):
        axes.set_aspect("equal")
        axes.axis("off")
    figure.tight_layout(pad=0.4)
    figure.savefig(file)
    pyplot.close(figure)
    return file


def plan(azimuth_deg: float, radius: float) -> tuple[float, float]:
    """(right, away) on the sheet of a level direction seen from above, the camera at the bottom."""
    right, _, back = vector_of(azimuth_deg, 0).tolist()
    return radius * right, -radius * back


def draw_top(axes) -> None:
    """Seen from above: the camera below, what it looks at in the middle."""
    axes.set(xlim=(-2.0, 2.0), ylim=(-2.5, 1.9))
    axes.set_title("from above", color=INK, fontsize=11)
    axes.add_patch(Circle((0, 0), 1.15, fill=False, color=DIM, lw=1))
    axes.add_patch(Polygon([(0, -1.85), (-0.95, 1.25), (0.95, 1.25)], color="#dfe9f2", zorder=0))
    subject(axes, 0, 0)
    camera(axes, 0, -1.85, up=True)
    axes.text(0.22, -1.9, "camera", va="center", color=INK, fontsize=9)
    notes = {0: "0: from the camera", 90: "90: from the\npicture's right", -90: "-90: from the\npicture's left",
             180: "180 (or -180): from behind"}
    for azimuth in range(-180, 180, 45):
        x, y = plan(azimuth, 1.15)
        arrow(axes, (x, y), plan(azimuth, 0.32))
        axes.plot(x, y, "o", color=SUN, ms=7)
        where = plan(azimuth, 1.33)
        text = notes.get(-azimuth if azimuth == -180 else azimuth, f"{azimuth}")
        turn = {0: "left", 90: "left", -90: "right", -180: "center"}.get(azimuth, "left" if x > 0 else "right")
        # The camera stands below the lamp at 0.
        shift = {0: (0.14, 0.12), 90: (-0.06, 0), -90: (0.06, 0)}.get(azimuth, (0, 0))
        axes.text(where[0] + shift[0], where[1] + shift[1], text, ha=turn, va="center", color=INK, fontsize=9)
    axes.text(0, 1.72, "+Z, azimuth 180", ha="center", color=DIM, fontsize=8)
    axes.text(-1.98, -2.42, "+X is the picture's left, -X its right", color=DIM, fontsize=8)


def draw_side(axes) -> None:
    """Seen from the picture's right: the camera on the left, the ground below."""
    axes.set(xlim=(-2.3, 1.9), ylim=(-1.75, 1.9))
    axes.set_title("from the side", color=INK, fontsize=11)
    axes.plot([-2.3, 1.9], [-0.3, -0.3], color=DIM, lw=1)
    axes.plot([-2.3, 1.9], [0, 0], ":", color=DIM, lw=1)
    subject(axes, 0, 0)
    camera(axes, -2.0, 0, up=False)
    axes.text(-2.15, 0.22, "camera", color=INK, fontsize=9)
    for elevation, note in ((90, "90: from above"), (60, "60"), (35, "35"), (0, "0: level"), (-60, "-60: from below")):
        a = math.radians(elevation)
        x, y = 1.25 * math.cos(a), 1.25 * math.sin(a)
        arrow(axes, (x, y), (0.32 * math.cos(a), 0.32 * math.sin(a)))
        axes.plot(x, y, "o", color=SUN, ms=7)
        x, y = 1.38 * math.cos(a), 1.38 * math.sin(a) + {0: -0.16, -60: -0.1}.get(elevation, 0.05)
        axes.text(x, y, note, color=INK, fontsize=9, ha="center" if elevation == 90 else "left")
    axes.add_patch(Arc((0, 0), 1.5, 1.5, theta1=0, theta2=35, color=SUN, lw=1.5))
    axes.text(0.84, 0.22, "elevation", color=SUN, fontsize=9)
    axes.text(-2.25, -1.68, "here the lamps are behind the subject (azimuth 180); up is +Y", color=DIM, fontsize=8)


def subject(axes, x: float, y: float) -> None:
    """What is lit."""
    axes.add_patch(Circle((x, y), 0.26, color="#7a9e7e"))


def camera(axes, x: float, y: float, up: bool) -> None:
    """A box with a lens, looking up the sheet or to the right."""
    if up:
        axes.add_patch(Polygon([(x - 0.16, y - 0.2), (x + 0.16, y - 0.2), (x + 0.16, y), (x - 0.16, y)], color=INK))
        axes.add_patch(Polygon([(x, y - 0.02), (x - 0.11, y + 0.13), (x + 0.11, y + 0.13)], color=INK))
    else:
        axes.add_patch(Polygon([(x - 0.2, y - 0.16), (x, y - 0.16), (x, y + 0.16), (x - 0.2, y + 0.16)], color=INK))
        axes.add_patch(Polygon([(x - 0.02, y), (x + 0.13, y - 0.11), (x + 0.13, y + 0.11)], color=INK))


def arrow(axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """The way of the light."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": SUN, "lw": 1.2})


if __name__ == "__main__":
    print(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE))
