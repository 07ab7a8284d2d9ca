"""What a stage sees and is lit by."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.priors.light_input import features
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop.insertion.surroundings import Panoramas, Sight, Views
from tests.support.stages import card_stage


def _smooth(directions: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.3 * directions


def _panoramas(height: int = 128) -> Panoramas:
    return Panoramas([crops.prepare(_smooth(latlong.directions(height, 2 * height)))])


@pytest.mark.parametrize("rays", [1, 2])
def test_plate_and_window_look_where_their_cameras_look(rays: int) -> None:
    sight = Sight(card_stage(pitch_deg=12))
    wide, close = sight.images(_smooth(sight.points(rays)).T, rays)
    near = sight.window.camera(sight.camera, 64)
    for image, camera in ((wide, sight.camera), (close, near)):
        expected = _smooth(torch.from_numpy(camera.directions().astype(np.float32))).permute(2, 0, 1)
        torch.testing.assert_close(image, expected, atol=4e-4, rtol=0)


def test_window_outside_the_plate_repeats_its_edge_as_insertion_does() -> None:
    sight = Sight(card_stage(window=(80, -40, 80)))
    wide, close = sight.images(_smooth(sight.points(1)).T, 1)
    torch.testing.assert_close(close[None], sight.window.cut(wide[None], 64), atol=3e-3, rtol=0)
    assert torch.equal(close[:, 0], close[:, 20]) and torch.equal(close[:, 40, -1], close[:, 40, -8])


@pytest.mark.parametrize("seed", range(4))
def test_panorama_shots_show_what_lights(seed: int) -> None:
    """With turn and mirroring: the plate's colours are those of the light in the same directions."""
    sight = Sight(card_stage())
    shot = _panoramas().shots(np.random.default_rng(seed), sight, 1)[0]
    expected = latlong.sample(shot.env, sight.directions).permute(2, 0, 1)
    torch.testing.assert_close(shot.wide, expected, atol=0.01, rtol=0)


def test_views_are_turned_into_the_cameras_frame() -> None:
    lenses = torch.tensor([[80.0, 5.0, 2.0], [40.0, 10.0, 0.0]])
    cameras = [Camera.looking(256, 192, fov, 0.0, pitch, roll) for fov, pitch, roll in lenses.tolist()]
    plates = torch.stack([_smooth(torch.from_numpy(c.directions().astype(np.float32))).permute(2, 0, 1)
                          for c in cameras])
    envs = torch.arange(2).float().reshape(2, 1, 1, 1).expand(2, 16, 32, 3)
    sight = Sight(card_stage(pitch_deg=8))
    shots = Views(plates, lenses, envs).shots(np.random.default_rng(0), sight, 5)
    # The second camera sees 40 degrees, less than the 55 of the stage.
    assert len(shots) == 1 and shots[0].env.max() == 0
    torch.testing.assert_close(shots[0].wide, _smooth(sight.directions).permute(2, 0, 1), atol=2e-3, rtol=0)


def test_mirrored_light_is_that_of_insertion() -> None:
    sight = Sight(card_stage(pitch_deg=20))
    plates = torch.rand(3, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    expected = features(plates, sight.directions.expand(3, -1, -1, -1)).base.permute(0, 2, 3, 1)
    torch.testing.assert_close(sight.mirrored_light(plates), expected, atol=1e-6, rtol=1e-5)
