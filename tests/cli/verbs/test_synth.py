"""``dipir synth``: refuses bad numbers before work, keeps what is there, draws a sheet of it."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dipir.cli import main as cli
from dipir.workshop import data, shards
from dipir.workshop.dressed import data as dressed
from dipir.workshop.layout import data as layouts
from dipir.workshop.surfaces import data as surfaces
from dipir.workshop.surfaces.ingredients import DataFolder, Files
from dipir.workshop.worlds import views
from tests.support.layout_sets import several
from tests.support.surface_sets import ball

TINY = views.ViewSettings(height=24, width=32, spp=2, env_height=16, env_spp=2, lights=2, cameras=2, shard=1)


@pytest.mark.parametrize("words", [["--count", "0"], ["--count", "2", "--workers", "0"]])
def test_bad_numbers(words, tmp_path, capsys):
    assert cli.main(["synth", "views", *words, "--out", str(tmp_path / "set")]) == 2
    assert "at least 1" in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_unknown_kind(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["synth", "vews"])
    assert end.value.code == 2 and "views" in capsys.readouterr().err


def test_a_finished_set_is_kept_and_drawn(tmp_path, capsys, monkeypatch):
    folder = views.generate(1, tmp_path / "set", settings=TINY)
    generate = views.generate
    monkeypatch.setattr(views, "generate", lambda *a, **_: generate(*a, settings=TINY))
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    words = ["synth", "views", "--count", "1", "--out", str(folder), "--sheet", str(tmp_path / "sheet.png")]
    assert cli.main(words) == 0
    assert str(folder) in capsys.readouterr().out
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (12 * 96, 4 * (128 + 192), 3) and sheet.std() > 10


def test_layouts_are_drawn_over_their_captions(tmp_path, capsys, monkeypatch):
    asked, data = [], several()
    shards.save(tmp_path / "layouts_000000.safetensors",
                {name: getattr(data, name).contiguous() for name in layouts.LayoutSet.__dataclass_fields__}, {})
    monkeypatch.setattr(layouts, "generate", lambda *a, **k: asked.append((a[:4], k)) or tmp_path)
    words = ["synth", "layouts", "--seed", "3", "--workers", "1", "--out", str(tmp_path), "--sheet"]
    assert cli.main([*words, str(tmp_path / "sheet.png")]) == 0
    assert asked == [((4000, tmp_path, 3, 1), {})] and str(tmp_path) in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (12 * (256 + 96), 4 * 256, 3)
    strips = sheet.reshape(12, 352, 4, 256, 3)[:, 256:]
    assert (strips == 255).mean() > 0.7 and all(strips[i, :, j].min() < 60 for i in range(12) for j in range(4))


@pytest.mark.parametrize("drawn", [False, True])
def test_surfaces_are_made_of_the_training_half_and_drawn(drawn, tmp_path, capsys, monkeypatch):
    """Without --drawn with what the data folder holds to train on; the sheet shows light, normals, depth, shadow
    beside each other."""
    asked = []
    (tmp_path / "splits.json").touch()
    monkeypatch.setattr(data, "DATA", tmp_path)
    found = Files((Path("a.glb"),))
    monkeypatch.setattr(DataFolder, "ingredients", lambda self, held_out, folder: {(False, "v1"): found}[
        held_out, folder.name])
    monkeypatch.setattr(surfaces, "generate", lambda *a, **k: asked.append((a[:4], k)) or tmp_path)
    made = ball((0.8, 0.5, 0.2))
    shards.save(tmp_path / "surfaces_000000.safetensors", vars(made), {})
    words = ["synth", "surfaces", "--seed", "3", "--workers", "1", "--sheet", str(tmp_path / "sheet.png")]
    assert cli.main([*words, *(["--drawn"] if drawn else [])]) == 0
    assert asked == [((10000, None, 3, 1), {"ingredients": Files() if drawn else found})]
    assert str(tmp_path) in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape == (12 * 32, 4 * 4 * 32, 3)
    light, normal, depth, shadow = sheet[:32, :128].reshape(32, 4, 32, 3).transpose(1, 0, 2, 3)
    # The first light comes from the right; normals are red to the right and green upwards; near is bright.
    assert light[16, 24].sum() > light[16, 6].sum() + 60 and normal[16, 24, 0] > 180 > 80 > normal[16, 6, 0]
    assert normal[6, 16, 1] > 180 and depth[16, 16, 0] > depth[16, 4, 0] and not light[0, 0].any()
    # In shadow lie the upper quarter and the side that turns away.
    assert shadow[7, 20, 0] == 255 and shadow[16, 4, 0] == 255 and shadow[16, 24, 0] == 0 == depth[0, 0, 0]


@pytest.mark.parametrize("held_out", [False, True])
def test_dressed_crops_are_made_of_one_half_of_the_split_and_drawn(held_out, tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(data, "training_meshes", lambda *splits: list(splits))
    monkeypatch.setattr(dressed, "sources", lambda splits, meshes: (splits, meshes))
    monkeypatch.setattr(dressed, "generate", lambda *a, **k: asked.append((a[:4], k)) or tmp_path)
    gradient = torch.linspace(0, 1, 32).expand(24, 32)
    shards.save(tmp_path / "dressed_000000.safetensors", {
        "plate": gradient.expand(2, 3, 24, 32).half(), "shadow": (gradient.flip(1).expand(2, 24, 32) * 255).byte()}, {})
    words = ["synth", "dressed", "--seed", "3", "--workers", "1", "--sheet", str(tmp_path / "sheet.png")]
    assert cli.main([*words, *(["--held-out"] if held_out else [])]) == 0
    splits = ("val", "val_more") if held_out else ("train", "train_more")
    folder = dressed.held_out_dir() if held_out else None
    assert asked == [((20000, folder, 3, 1), {"found": (splits, list(splits))})]
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (12 * 24, 4 * 64, 3)
    # The plate grows brighter to the right, the shadow beside it darker.
    assert (np.diff(sheet[0, :32, 0].astype(int)) >= 0).all() and (np.diff(sheet[0, 32:64, 0].astype(int)) <= 0).all()
