"""The settings that docs/light.md names for other programs, by those programs' own formulas: our light in a direction
is what the program finds in our ``light.exr`` for the same direction of its own world.

What a program's formula is, is from its documentation or source (docs/light.md says which); nothing of it is ours.
"""
from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

from dipir.image.files import write_exr
from dipir.scene.camera import Camera
from dipir.scene.direction import vector_of
from dipir.scene.light import SphericalGaussians, azimuth_elevation_deg

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "light.md").read_text()
AZIMUTHS = [(0, 20), (90, 20), (-90, 20), (180, 20), (-60, 35), (130, -10)]


def stated(pattern: str) -> float:
    """The number that the page names."""
    (found,) = re.findall(pattern, PAGE)
    return float(found)


# ---- our light, in a file as a result has it -------------------------------------------------------------------------

def towards(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """(3,) world direction of a light; :func:`vector_of` has +x the picture's right and +z towards the camera."""
    x, y, z = vector_of(azimuth_deg, elevation_deg).tolist()
    return np.array([-x, y, -z])


def light_at(azimuth_deg: float, elevation_deg: float) -> SphericalGaussians:
    """A lamp, and around it a sky and coloured sides that tell every direction from every other."""
    axes = [towards(azimuth_deg, elevation_deg), [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    amplitude = torch.tensor([[40.0, 36, 30], [0.6, 0.8, 1.2], [0.9, 0.1, 0.1], [0.1, 0.7, 0.1]])
    return SphericalGaussians.of(torch.tensor(np.array(axes), dtype=torch.float32), amplitude,
                                 torch.tensor([0.12, 0.7, 0.8, 0.8]))


@pytest.fixture
def saved(tmp_path):
    """A light -> (H, W, 3) of its EXR, the top row first, read without any of our readers."""
    def save(light: SphericalGaussians) -> np.ndarray:
        envmap = light.envmap(256, 512)
        write_exr(tmp_path / "light.exr", dict(zip("RGB", envmap.unbind(-1), strict=True)))
        channels = OpenEXR.File(str(tmp_path / "light.exr"), separate_channels=True).channels()
        return np.stack([channels[name].pixels for name in "RGB"], -1)
    return save


def fetched(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(N, 3) bilinear; u to the right, v down, both in [0, 1]; wraps around at the sides."""
    height, width, _ = image.shape
    x, y = u * width - 0.5, np.clip(v * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x), np.minimum(np.floor(y), height - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    x0, y0 = x0.astype(int) % width, y0.astype(int)
    x1 = (x0 + 1) % width
    top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    return top * (1 - fy) + (image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x1] * fx) * fy


def directions(count: int = 4000) -> np.ndarray:
    d = np.random.default_rng(0).standard_normal((count, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def difference(light: SphericalGaussians, found: np.ndarray, ours: np.ndarray) -> float:
    """Mean difference of what was found to the light itself, as a share of the light."""
    truth = light.radiance(torch.tensor(ours, dtype=torch.float32)).numpy()
    return float(np.abs(found - truth).mean() / truth.mean())


def turned_about_third(vectors: np.ndarray, degrees: float) -> np.ndarray:
    """Counter-clockwise from the first axis to the second."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.stack([c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1], vectors[:, 2]], -1)


# ---- Blender ---------------------------------------------------------------------------------------------------------

def to_blender(ours: np.ndarray) -> np.ndarray:
    """+Z up, the camera at yaw 0 looks along +Y with +X to its right."""
    return np.stack([-ours[:, 0], ours[:, 2], ours[:, 1]], -1)


def blender(image: np.ndarray, world: np.ndarray, kind: str, rotation_deg: float) -> np.ndarray:
    """Texture Coordinate: Generated -> Mapping -> Environment Texture: u = 1/2 - atan2(y, x) / 2 pi to the right, and
    v = 1/2 + atan2(z, hypot(x, y)) / pi upwards. Mapping of the type Point turns the vector, Texture turns it back."""
    x, y, z = turned_about_third(world, rotation_deg if kind == "Point" else -rotation_deg).T
    v = 0.5 + np.arctan2(z, np.hypot(x, y)) / math.pi
    return fetched(image, 0.5 - np.arctan2(y, x) / (2 * math.pi), 1 - v)


@pytest.mark.parametrize("azimuth, elevation", AZIMUTHS)
@pytest.mark.parametrize("kind", ["Point", "Texture"])
def test_blender(saved, azimuth, elevation, kind):
    """With the rotation of the page the light is ours in every direction; without it, or with the other type's, not."""
    light, ours = light_at(azimuth, elevation), directions()
    image, world = saved(light), to_blender(ours)
    rotation = stated(rf"\| `{kind}` \| Rotation Z = (-?\d+)")
    assert difference(light, blender(image, world, kind, rotation), ours) < 0.01
    for wrong in (0.0, -rotation, 180.0):
        assert difference(light, blender(image, world, kind, wrong), ours) > 0.3


def test_blender_without_the_rotation_the_light_comes_from_the_side(saved):
    """A lamp behind the subject, ahead of the camera, then shines from the picture's right."""
    image, ours = saved(light_at(180, 0)), directions(20_000)
    world = to_blender(ours)
    rotation = stated(r"\| `Point` \| Rotation Z = (-?\d+)")
    for degrees, azimuth in ((rotation, 180.0), (0.0, 90.0)):
        brightest = ours[blender(image, world, "Point", degrees).sum(1).argmax()]
        found = azimuth_elevation_deg(torch.tensor(brightest))
        assert abs((found[0] - azimuth + 180) % 360 - 180) < 6 and abs(found[1]) < 6


def test_the_frame_of_blender_is_that_of_a_camera():
    """Right-handed; the picture's right is +X, up is +Z, ahead is +Y."""
    camera = Camera.looking(200, 200, 60, 1.6, 0)
    right, up, ahead = (camera.directions(np.array(p, float)) for p in ((190, 100), (100, 10), (100, 100)))
    found = to_blender(np.stack([right, up, ahead]))
    assert found[0, 0] > 0.3 and found[1, 2] > 0.3 and np.allclose(found[2], [0, 1, 0], atol=1e-6)
    assert np.linalg.det(to_blender(np.eye(3))) == pytest.approx(1)


def test_the_camera_s_matrix_for_blender():
    """Its own axes are +X right, +Y up, -Z ahead; without roll it is Blender's rotation X = 90 - pitch."""
    frame = np.eye(4)
    frame[:3, :3] = to_blender(np.eye(3)).T
    for pitch, roll in ((0.0, 0.0), (14.0, 0.0), (14.0, 7.0)):
        camera = Camera.looking(200, 150, 60, 1.6, pitch, roll)
        matrix = frame @ camera.to_world @ np.diag([-1.0, 1, -1, 1])
        assert np.allclose(matrix[:3, 3], [0, 0, 1.6]) and np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
        # A pixel right of the middle and above it is along +X, +Y and -Z of that camera.
        ray = to_blender(camera.directions(np.array([[150.0, 40.0]])))[0] @ matrix[:3, :3]
        assert np.allclose(ray / -ray[2], [50 / camera.focal_px, 35 / camera.focal_px, -1], atol=1e-9)
        if roll == 0:
            a = math.radians(90 - pitch)
            about_x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
            assert np.allclose(matrix[:3, :3], about_x, atol=1e-9)


# ---- USD, and what reads OpenEXR's latlong ---------------------------------------------------------------------------

def usd(image: np.ndarray, dome: np.ndarray) -> np.ndarray:
    """OpenEXR's latitude-longitude map: longitude 0 is +Z, pi / 2 is +X; the left column is +pi, the right one -pi."""
    x, y, z = dome.T
    return fetched(image, 0.5 - np.arctan2(x, z) / (2 * math.pi), 0.5 - np.arcsin(np.clip(y, -1, 1)) / math.pi)


def test_usd_needs_no_rotation_in_our_world(saved):
    light, ours = light_at(-60, 35), directions()
    image = saved(light)
    assert difference(light, usd(image, ours), ours) < 0.01
    assert difference(light, usd(image, ours * [-1, 1, -1]), ours) > 0.3


def test_usd_camera_and_dome_are_half_a_turn_apart(saved):
    """A USD camera looks along its own -Z with +X to its right. Turned half about Y it is ours at yaw 0; if it is not,
    the dome must be."""
    degrees = stated(r"`rotateY` = (\d+)")
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    ours = Camera.looking(100, 100, 60, 1.6, 0).to_world[:3, :3]
    own_axes = np.diag([-1.0, 1, -1])                    # Our camera axes, +X left and +Z ahead, in those of USD.
    assert np.allclose(turn @ own_axes, ours)
    light, d = light_at(130, -10), directions()
    image = saved(light)
    # A world in which the camera looks along -Z: our directions turned, and the dome turned with them.
    world = d @ turn.T
    assert difference(light, usd(image, world @ turn), d) < 0.01
    assert difference(light, usd(image, world), d) > 0.3


def test_usd_stage_with_z_up(saved):
    """The plain DomeLight has its pole at +Y: a quarter turn about X puts it up, with our +Z at -Y."""
    degrees = stated(r"`rotateX` = (\d+)")
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    assert np.allclose(turn @ [0, 1, 0], [0, 0, 1]) and np.allclose(turn @ [0, 0, 1], [0, -1, 0])


# ---- Unreal ----------------------------------------------------------------------------------------------------------

def to_unreal(ours: np.ndarray) -> np.ndarray:
    """Left-handed, +Z up, +X ahead, +Y to the right."""
    return np.stack([ours[:, 2], -ours[:, 0], ours[:, 1]], -1)


def unreal(image: np.ndarray, world: np.ndarray, angle_deg: float) -> np.ndarray:
    """The importer makes a cube of a long-lat picture: u = (1 + atan2(x, -y) / pi) / 2, v = acos(z) / pi downwards; the
    sky light turns what it looks up by Source Cubemap Angle."""
    x, y, z = turned_about_third(world, angle_deg).T
    return fetched(image, (1 + np.arctan2(x, -y) / math.pi) / 2, np.arccos(np.clip(z, -1, 1)) / math.pi)


@pytest.mark.parametrize("azimuth, elevation", AZIMUTHS[:4])
def test_unreal(saved, azimuth, elevation):
    light, ours = light_at(azimuth, elevation), directions()
    image, world = saved(light), to_unreal(ours)
    angle = stated(r"Source Cubemap Angle = (\d+)")
    assert difference(light, unreal(image, world, angle), ours) < 0.01
    for wrong in (0.0, 90.0, 180.0):
        assert difference(light, unreal(image, world, wrong), ours) > 0.3
    # Or the light as it comes, and all else turned: a camera at this yaw (from +X towards +Y) looks at our middle.
    yaw = stated(r"yaw (-\d+)")
    assert difference(light, unreal(image, turned_about_third(world, yaw), 0.0), ours) < 0.01


# ---- the page itself -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("u, azimuth", [(0.0, 0.0), (0.25, -90.0), (0.5, 180.0), (0.75, 90.0)])
def test_the_table_of_columns_is_ours(saved, u, azimuth):
    """Each column of the map and its azimuth, as the page lists them."""
    image = saved(light_at(azimuth, 0))
    column = int(image.sum((0, 2)).argmax())
    assert abs((column + 0.5) / 512 - u) % 1 < 0.01 or abs((column + 0.5) / 512 - u) % 1 > 0.99
    number = "0 and 512" if u == 0 else str(int(u * 512))
    assert re.search(rf"^\| {number} \| [^|]+\| {azimuth:g} \|", PAGE, re.M), f"column {number} at azimuth {azimuth:g}"


def test_the_page_names_every_field_of_light_json():
    data = light_at(30, 20).to_dict()
    for name in (*data, *data["dominant"], *data["lobes"][0]):
        assert f"`{name}`" in PAGE, name
    assert "exp(-sharpness (1 - v . axis))" in PAGE
