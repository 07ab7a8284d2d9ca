"""What tests of the command line share: small inputs, and a method that does nothing."""
from __future__ import annotations

import argparse
import importlib
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dipir.cli import main as cli
from dipir.event import Event
from dipir.insert.again import changed_scene
from dipir.insert.config import InsertConfig
from dipir.scene.light import SphericalGaussians
from dipir.scene.rig import Rig
from dipir.scene.scene_file import load_scene_file

CUBE = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""
RENDERED = types.SimpleNamespace(provenance={"render_notes": ["no denoiser"]},
                                 light=Rig(SphericalGaussians.uniform(torch.ones(3), 4)))


def parsed(*words: str) -> argparse.Namespace:
    """What the parser makes of a command."""
    return cli.build_parser().parse_args(words)


def make_inputs(folder: Path) -> Path:
    """A photo, a cube and a scene file, whose path is returned."""
    noise = np.random.default_rng(0).integers(90, 160, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    (folder / "cube.obj").write_text(CUBE)
    (folder / "scene.yaml").write_text(
        "plate: photo.png\nprompt: a cube\ncamera: {fov_deg: 50, pitch_deg: 15, roll_deg: 0, height_m: 1.6}\n"
        "objects:\n  - {asset: cube.obj, at: [64, 70], height_m: 0.5, yaw_deg: 20}\n")
    return folder / "scene.yaml"


def insert_words(files: Path, *more: str, plate: str = "photo.png", asset: str = "cube.obj") -> list[str]:
    """A command that inserts the cube into the photo."""
    return ["insert", str(files / plate), str(files / asset), "--at", "64,70", "--height", "0.5", "--fov", "50",
            "--pitch", "15", "--out", str(files / "out"), *more]


def fails(words: list[str], capsys, *texts: str) -> None:
    """The command ends with code 2 and one message that holds ``texts``."""
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("dipir: error: ") and "Traceback" not in err
    for text in texts:
        assert text in err


class Stub:
    """Stands in for the method of ``dipir insert`` and ``render``: ``calls`` keeps what it was given, ``fail`` is
    raised by it, ``remarks`` are said by a render."""

    def __init__(self, monkeypatch) -> None:
        self.calls, self.fail, self.remarks = {}, None, ()
        method, result = (importlib.import_module(f"dipir.insert.{name}") for name in ("method", "result"))
        for name in ("insert", "load_config", "ready"):
            monkeypatch.setattr(method, name, getattr(self, name))
        monkeypatch.setattr(importlib.import_module("dipir.insert.again"), "render_again", self.render_again)
        monkeypatch.setattr(result, "save", self.save)

    def insert(self, scene, config, **options):
        self.calls.update(scene=scene, config=config, **options)
        options["on_event"](Event("fit", 1, 2, 3.0, {"loss": 0.5, "bad": float("nan")},
                                  {"composite": torch.rand(1, 3, 8, 8)}))
        self.calls["preview"] = (Path(options["out"]) / "preview.png").exists()
        if self.fail:
            raise self.fail
        return "result"

    def load_config(self, preset, paths, overrides):
        self.calls.update(preset=preset, paths=paths, overrides=overrides)
        return InsertConfig()

    def render_again(self, folder, changes, on_event):
        self.calls.update(folder=folder, changes=changes, on_event=on_event)
        on_event(Event.about(self.remarks))
        return RENDERED, changed_scene(load_scene_file(Path(folder) / "scene.yaml"), changes)

    def ready(self, config):
        return "prior", "light prior"

    def save(self, value, out, exr=None):
        self.calls.update(saved=(value, Path(out)), exr=exr)
        (Path(out) / "composite.png").write_bytes(b"picture")
