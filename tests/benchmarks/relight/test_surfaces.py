"""Figures of guessed surfaces."""
from __future__ import annotations

import pytest
import torch

from benchmarks.relight import surfaces
from dipir.priors.geometry import Geometry
from dipir.workshop.surfaces.photos import Photos


@pytest.fixture
def photos() -> Photos:
    """Two photos of a plane that faces the camera."""
    full = torch.ones(2, 1, 64, 64)
    grey = torch.full((2, 3, 64, 64), 0.5)
    normal = torch.zeros(2, 3, 64, 64)
    normal[:, 2] = 1
    return Photos(grey, normal, grey, 0 * full, 0 * full, 0 * full, full, full, full,
                  torch.tensor([[0.0, 1.0, 0.0]] * 2), torch.zeros(2, 0, 3, 64, 64), torch.zeros(2, 0, 4),
                  torch.ones(2))


def test_figures_are_those_of_the_network_that_ships(photos, monkeypatch):
    geometry = Geometry.untrained()
    geometry.hash = "abc"
    monkeypatch.setattr(Geometry, "load", staticmethod(lambda: geometry))
    data = surfaces.measured(2, photos)
    assert data["photos"] == 2 and data["weights"] == {"surfaces": "abc"}
    # It sees no normal: a right angle to every true one. It takes everything for a surface, as it is here.
    assert data["figures"]["angle_median"] == pytest.approx(90, abs=0.1) and data["figures"]["within_30"] == 0
    assert data["figures"]["facing_median"] < 0.1 and data["figures"]["sky_wrong"] == 0
    lines = surfaces.text(data).splitlines()
    assert any("normals, median angle " in line and "90.0°" in line for line in lines)
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(surfaces.FIGURES)


def test_photos_are_those_of_the_validation(photos, monkeypatch):
    monkeypatch.setattr(Geometry, "load", staticmethod(Geometry.untrained))
    monkeypatch.setattr(surfaces, "validation_scenes", lambda workers: "scenes")
    monkeypatch.setattr(surfaces, "validation_photos", lambda made, count: {("scenes", 2): photos}[made, count])
    assert surfaces.measured(2)["photos"] == 2
