"""Writes assets/manifest.yaml for the demo files: `python assets/build/manifest.py`; other entries are kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import yaml

ASSETS = Path(__file__).resolve().parents[1]
OWN = "own work, no outside material"
FILES = {
    "demo/plate.png": {"made_by": "assets/build/demo_scene.py", "what": "path-traced plate, 8-bit sRGB"},
    "demo/true_light.exr": {
        "made_by": "assets/build/demo_scene.py",
        "what": "lat-long radiance at the insertion point, plate white = 1",
        "up_axis": "+Y",
    },
    "demo/camera.yaml": {
        "made_by": "assets/build/demo_scene.py",
        "what": "camera of the plate",
        "unit": "m",
        "up_axis": "+Y",
    },
    **{
        f"demo/{name}.glb": {"made_by": "assets/build/demo_assets.py", "what": what, "unit": "m", "up_axis": "+Y"}
        for name, what in (
            ("vase", "glazed ceramic vase"),
            ("watering_can", "hammered copper watering can"),
            ("stool", "worn painted stool"),
        )
    },
    **{
        f"priors/{name}.safetensors": {"made_by": f"dipir/workshop/{folder}/train.py", "what": what}
        for name, folder, what in (
            ("light", "light", "plate -> a source and the rest of the light; priors/light.md"),
            ("insert", "insertion", "composites; priors/insert.md"),
            ("relighting", "relighting", "photo -> its surfaces; these in other light; priors/relight.md"),
            ("relight", "relight", "picture and light -> relit picture; priors/relight.md"),
            ("illuminet", "rti", "the same, in one pass; priors/relight.md"),
            ("layout", "layout", "caption -> picture; priors/layout.md"),
            ("colour", "colour", "drawing and palette -> coloured drawing; priors/colour.md"),
        )
    },
}
FILES["priors/light.safetensors"]["source"] = (
    "own work; the plate's encoder began from EfficientNet-Lite0 trained on ImageNet (Google, Apache-2.0)"
)


def main() -> None:
    target = ASSETS / "manifest.yaml"
    entries = (yaml.safe_load(target.read_text()) or {}) if target.exists() else {}
    for name, facts in FILES.items():
        digest = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()
        entries[name] = {"source": OWN, **facts, "licence": "Apache-2.0", "sha256": digest}
    header = (
        "# Every file under assets/ but the scripts: where it is from, under which licence, and its hash; for\n"
        "# what has a size, unit and up-axis. Written by assets/build/manifest.py, tested by tests/test_manifest.py.\n"
    )
    temporary = target.with_suffix(".tmp")
    temporary.write_text(header + yaml.safe_dump(dict(sorted(entries.items())), sort_keys=False, width=110))
    os.replace(temporary, target)


if __name__ == "__main__":
    main()
