"""What a plate's own shadows say, on ground whose shadows are known exactly."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import ImageError
from dipir.priors.plate_shadows import SURE, ground_shadows, plate_shadows
from dipir.scene.camera import Camera
from tests.support.scenes import sphere_scene
from tests.support.shadowed_ground import TILTED, ground_plate, long_shadow, paved, plain, speckled


def wall_shadow(x, z):
    """1 left of a line on the ground: the shadow of a building."""
    return (0.9 * x - 0.4 * (z - 4.0) > 0.9).astype(float)


@pytest.mark.parametrize("albedo", (plain, speckled, paved))
@pytest.mark.parametrize("ratio", ((0.1, 0.13, 0.18), (0.13, 0.18, 0.28), (0.35, 0.4, 0.5)))
@pytest.mark.parametrize("shadow", (long_shadow, wall_shadow))
def test_a_known_shadow_is_measured(albedo, ratio, shadow):
    """The ratio of every shadow is right; sure are those of strong suns."""
    found = plate_shadows(ground_plate(albedo, shadow, ratio), TILTED)
    assert found.sure >= SURE or ratio[0] > 0.3
    assert np.abs(np.log2(found.ratio.numpy() / np.array(ratio))).max() < 0.15
    assert found.rest_share == pytest.approx(min(1.0, found.level / 0.6))
    lit, shaded = found.lit[0, 0] > 0, found.shaded[0, 0] > 0
    assert lit.any() and shaded.any() and not (lit & shaded).any()


@pytest.mark.parametrize("camera", (Camera.looking(640, 480, 75.0, 0.4, 25.0, -8.0),
                                    Camera.looking(360, 480, 50.0, 3.0, 20.0)))
def test_of_any_camera(camera):
    scale = camera.position[1] / 1.6
    plate = ground_plate(speckled, lambda x, z: long_shadow(x / scale, z / scale), (0.13, 0.18, 0.28), camera)
    found = plate_shadows(plate, camera)
    assert found.sure >= SURE and abs(np.log2(found.level / 0.1766)) < 0.15


def test_a_closer_look_finds_a_small_shadow():
    """A few pixels high in 400: too small in the plate as a whole. Masks fit the whole."""
    camera = Camera.looking(1280, 960, 60.0, 1.6, 16.0)
    def bollard(x, z):
        return (np.hypot((x + 0.5) / 2, z - 4.5) < 0.09).astype(float)
    found = plate_shadows(ground_plate(plain, bollard, (0.13, 0.18, 0.28), camera), camera)
    assert abs(np.log2(found.level / 0.1766)) < 0.3
    uv, _ = camera.project(np.array([-0.5, 0.0, 4.5]))
    rows, columns = np.nonzero(found.shaded[0, 0].numpy())
    assert np.hypot(rows.mean() - uv[1] * 400 / 1280, columns.mean() - uv[0] * 400 / 1280) < 3


def test_ground_in_shade_sees_the_light_beside_it():
    uv, _ = TILTED.project(np.array([1.6, 0.0, 4.0]))
    found = plate_shadows(ground_plate(paved, wall_shadow, (0.13, 0.18, 0.28)), TILTED, tuple(uv))
    assert abs(np.log2(found.level / 0.1766)) < 0.15
    y, x = (uv[::-1] * 400 / 480).astype(int)
    assert found.shaded[0, 0, y, x] == 1 and found.lit[0, 0, y, x] == 0 and found.lit.sum() > 1000


def test_several_looks_make_surer():
    """A large plate is looked at in parts, too, and they agree."""
    ratio = (0.13, 0.18, 0.28)
    large = Camera.looking(960, 720, 60.0, 1.6, 16.0, 5.0)
    small = plate_shadows(ground_plate(plain, long_shadow, ratio), TILTED)
    found = plate_shadows(ground_plate(plain, long_shadow, ratio, large), large)
    assert found.sure > small.sure and abs(np.log2(found.level / small.level)) < 0.1


@pytest.mark.parametrize("albedo", (plain, speckled, paved))
def test_no_shadow_no_evidence(albedo):
    found = plate_shadows(ground_plate(albedo), TILTED)
    assert found.sure < SURE


def test_light_that_falls_off_is_no_shadow():
    def falling(x, z):
        return 2.2 / (1 + 0.2 * ((x - 1) ** 2 + (z - 3) ** 2))
    assert plate_shadows(ground_plate(speckled, light=falling), TILTED).sure < SURE


@pytest.mark.parametrize("dark", (0.1, 0.25))
def test_tiles_of_two_colours_are_no_shadow(dark):
    def tiles(x, z):
        return np.where((np.floor(x / 0.7) + np.floor(z / 0.7)) % 2 == 0, 0.5, dark)
    assert plate_shadows(ground_plate(tiles), TILTED).sure < SURE


def test_paint_in_another_colour_is_no_shadow():
    """As long as its hue is not that of a shadow: what falls to a third in blue and hardly in red is paint."""
    assert plate_shadows(ground_plate(speckled, long_shadow, (0.6, 0.4, 0.2)), TILTED).sure < SURE


def test_exposure_does_not_matter():
    plate = ground_plate(paved, long_shadow)
    one, half = plate_shadows(plate, TILTED), plate_shadows(plate * 0.31, TILTED)
    torch.testing.assert_close(one.ratio, half.ratio, atol=2e-3, rtol=0)
    assert abs(one.sure - half.sure) < 0.02


def test_the_sky_alone_says_nothing():
    camera = Camera.looking(240, 180, 50.0, 1.6, -40.0)
    found = plate_shadows(torch.rand(1, 3, 180, 240), camera)
    assert found.sure == 0.0 and found.level == pytest.approx(1.0) and not found.lit.any() and not found.shaded.any()


def test_the_scene_says_where_the_ground_is():
    scene = sphere_scene(size=96)
    found = ground_shadows(scene)
    assert found.sure < SURE and found.ratio.shape == (3,)


def test_plate_and_camera_have_one_size():
    with pytest.raises(ImageError, match="480 x 360"):
        plate_shadows(torch.zeros(1, 3, 10, 10), TILTED)
