"""The traced picture is the final picture, up to noise and its smaller map."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dipir.event import stoppable
from dipir.image.tone import ToneCurve
from dipir.insert.config import load_config
from dipir.insert.final import final_picture
from dipir.insert.preview import Preview
from dipir.studio.pictures.traced import traced
from dipir.studio.worker import Superseded
from tests.support.scenes import sphere_scene
from tests.support.studio import sunny_rig


@pytest.fixture(scope="module")
def scene():
    return sphere_scene("diffuse", size=64)


@pytest.fixture(scope="module")
def preview(scene):
    return Preview.record(scene, 64)


def test_it_agrees_with_the_final_picture_in_a_loaded_scene(scene, preview):
    pieces = []
    made = traced(scene, preview, sunny_rig(), (None, None), lambda: pieces.append(1))
    config = load_config(overrides=["final.spp=64"])
    final = final_picture(scene, sunny_rig(), (ToneCurve.identity(), ToneCurve.identity()), config, lambda event: None)
    assert made.shape == final.composite_disp.shape
    assert float((made - final.composite_disp).square().mean().sqrt()) < 0.02
    assert len(pieces) >= 4
    # A second one, of the scene with the object elsewhere: what the loaded scene held before does not matter.
    pose = scene.objects[0].to_world.copy()
    pose[0, 3] += 0.5
    other = replace(scene, objects=(replace(scene.objects[0], to_world=pose),))
    moved = preview.moved(other)
    shifted = traced(other, moved, sunny_rig(), (None, None), lambda: None)
    assert float((shifted - made).abs().max()) > 0.2
    again = traced(scene, preview, sunny_rig(), (None, None), lambda: None)
    assert float((again - made).abs().max()) < 1e-3


def test_it_can_be_given_up_between_pieces(scene, preview):
    left = [3]

    def go_on():
        left[0] -= 1
        if left[0] == 0:
            raise Superseded

    with pytest.raises(Superseded):
        traced(scene, preview, sunny_rig(), (None, None), go_on)
    left = [1]
    with pytest.raises(Superseded), stoppable(go_on):
        preview.refined()
    assert torch.isfinite(traced(scene, preview, sunny_rig(), (None, None), lambda: None)).all()
