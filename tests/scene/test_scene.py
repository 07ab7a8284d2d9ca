"""dipir.scene.scene: what there is to say about the inputs."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dipir.event import is_warning, warn
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of


def test_remarks_name_their_file_and_come_once():
    asset = replace(simple_asset("box"), path=Path("far/a.obj"), notes=("no unit", warn("half of it is missing")))
    scene = scene_of(placed(asset), placed(asset, x=0.8, name="b"))
    scene = replace(scene, plate=replace(scene.plate, path=Path("far/p.png"), notes=("alpha ignored",)))
    assert scene.notes == ("p.png: alpha ignored", "a.obj: no unit", "a.obj: half of it is missing")
    assert [is_warning(note) for note in scene.notes] == [False, False, True]
