"""What the networks of relighting are trained and judged on."""
from __future__ import annotations

import torch

from dipir.workshop.surfaces import sets as surface_sets
from dipir.workshop.surfaces.sets import validation_photos
from tests.support.surface_sets import backdrops, balls


def test_held_out_photos_are_fixed_and_not_changed():
    held_out = validation_photos((balls(), backdrops()), 5)
    again = validation_photos((balls(), backdrops()), 5)
    assert torch.equal(again.image, held_out.image) and torch.equal(again.light, held_out.light)
    lights = {tuple(v) for v in balls().light[0].tolist()}
    # No mirrored ones, one target each.
    assert {tuple(v) for v in held_out.light[:, 0].tolist()} <= lights and held_out.target.shape[1] == 1


def test_sets_are_made_of_their_half_of_the_source(monkeypatch):
    asked = []
    monkeypatch.setattr(surface_sets.surface_data, "generate", lambda *a, **k: asked.append((a, k)))
    monkeypatch.setattr(surface_sets.surface_data, "load", lambda folder, limit: balls())

    class Part:
        def __init__(self, held_out, folder):
            self.held_out, self.folder = held_out, folder

        def behind(self):
            return self.held_out, self.folder.name

    class Halves:
        ingredients = Part

    data, behind = surface_sets.training_scenes(3, 2, None, Halves())
    assert len(data) == 3 and behind == (False, "v1")
    _, behind = surface_sets.validation_scenes(source=Halves())
    assert behind == (True, "val_v1")
    (first, more), (second, held_out) = asked
    assert (first[0], first[2:4]) == (3, (0, 2)) and second[2] == surface_sets.VAL_SEED
    assert first[1].name == "v1" and second[1].name == "val_v1"
    assert not more["ingredients"].held_out and held_out["ingredients"].held_out
