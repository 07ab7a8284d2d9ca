"""A tiny panorama and mesh, and a script in place of the renderer."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import trimesh

from benchmarks.insert import run as insert_run
from dipir.image import latlong
from tests.support.hdr import write_hdr
from tests.support.insert_cases import CHILD


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Cases are done by a small script instead of the renderer."""
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr(insert_run, "CHILD", (sys.executable, "-S", str(tmp_path / "child.py")))
    monkeypatch.setattr(insert_run, "POLL_S", 0.01)
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with a panorama and a box."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "envs").mkdir(), (folder / "meshes").mkdir()
    d = latlong.directions(32, 64)
    lamp = torch.exp((d @ torch.tensor([0.5, 0.7, -0.51]) - 1) / 0.02)[..., None] * 20
    write_hdr(folder / "envs" / "lamp.hdr", 0.5 + 0.3 * d.abs() + lamp)
    trimesh.creation.box((1, 1, 1)).export(folder / "meshes" / "box.obj")
    return folder
