"""Plate and composite side by side, for the README: ``python assets/build/before_after.py RESULT`` writes
RESULT/before_after.jpg (1600 pixels wide); ``make demo`` runs it. With an earlier result, its composite takes the place
of the plate: ``python assets/build/before_after.py RESULT EARLIER``."""
from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from dipir.scene.scene_file import load_scene_file


def main(folder: Path, earlier: Path | None = None) -> Path:
    """Write the picture and return its path."""
    before = load_scene_file(folder / "scene.yaml").plate if earlier is None else earlier / "composite.png"
    plate = Image.open(before).convert("RGB")
    composite = Image.open(folder / "composite.png").convert("RGB")
    size = (800, round(800 * composite.height / composite.width))
    pair = Image.new("RGB", (2 * size[0], size[1]))
    for k, image in enumerate((plate, composite)):
        pair.paste(image.resize(size, Image.Resampling.LANCZOS), (k * size[0], 0))
    path = folder / "before_after.jpg"
    pair.save(path, quality=88)
    return path


if __name__ == "__main__":
    print(f"before and after: {main(*map(Path, sys.argv[1:3]))}")
