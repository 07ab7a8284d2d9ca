"""assets/manifest.yaml tells the truth about every file in assets/, and the shipped scenes use only such files."""
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
MANIFEST = yaml.safe_load((ASSETS / "manifest.yaml").read_text())
MESHES = {".glb", ".gltf", ".obj", ".ply", ".stl"}
LARGEST_BYTES = {".glb": 1_500_000, ".png": 2_600_000, ".exr": 1_000_000}


def shipped_files() -> set[str]:
    # The priors have model cards of their own beside them; build/ holds sources.
    skipped = {"build", "priors"}
    return {p.relative_to(ASSETS).as_posix() for p in ASSETS.rglob("*")
            if p.is_file() and p.relative_to(ASSETS).parts[0] not in skipped
            and p.name not in ("manifest.yaml", ".gitignore")}


def test_lists_exactly_what_is_there():
    listed = {name for name in MANIFEST if not name.startswith("priors/")}
    assert listed == shipped_files()


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_entry(name: str):
    entry, path = MANIFEST[name], ASSETS / name
    assert {"source", "licence", "sha256"} <= set(entry)
    assert entry["licence"] == "Apache-2.0"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == entry["sha256"], f"{name} changed: run `python assets/build/manifest.py`"
    assert path.stat().st_size <= LARGEST_BYTES.get(path.suffix, 25_000_000)
    if path.suffix in MESHES:
        assert entry["unit"] == "m" and entry["up_axis"] == "+Y"
    if "made_by" in entry:
        assert (ROOT / entry["made_by"]).is_file()


@pytest.mark.parametrize("scene", sorted((ROOT / "scenes").glob("demo*.yaml")), ids=lambda p: p.stem)
def test_demo_scenes_use_listed_files_and_the_plates_camera(scene: Path):
    data = yaml.safe_load(scene.read_text())
    files = [data["plate"], data["light"], *(o["asset"] for o in data["objects"])]
    assert {(scene.parent / f).resolve().relative_to(ASSETS).as_posix() for f in files} <= set(MANIFEST)
    camera = yaml.safe_load((ASSETS / "demo/camera.yaml").read_text())
    assert data["camera"]["fov_deg"] == camera["fov_x_deg"]
    for key in ("height_m", "pitch_deg", "roll_deg"):
        assert data["camera"][key] == camera[key]
