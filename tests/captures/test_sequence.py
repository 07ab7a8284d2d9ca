"""dipir.captures.sequence: photos as their cameras see them."""
from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dipir.captures.co3d_pixels import read_mask
from dipir.captures.colmap import read_colmap
from dipir.captures.ground import fit_ground
from dipir.captures.nerfstudio import read_transforms
from dipir.captures.sequence import Frame, PosedSequence, frame_mask, frame_plate, on_ground, undistort
from dipir.errors import SceneError
from dipir.scene.camera import Camera
from tests.captures.test_ground import cloud, moved, orbit, turned
from tests.support.posed_folders import CENTRE, FOCAL, LENS, as_text, as_transforms


def test_lenses_are_straightened_as_opencv_does(photos):
    """A smooth picture through cv2.undistort; the corner convention differs from OpenCV's by half a pixel."""
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text())
    data |= {"fl_y": data["fl_x"], "k1": 0.4}
    (photos / "transforms.json").write_text(json.dumps(data))
    y, x = np.mgrid[0:30, 0:40]
    picture = np.stack([x * 5, y * 7, 100 + 30 * np.sin(x / 5)], -1).astype(np.float32)
    cv2.imwrite(str(photos / "images" / "0.png"), picture.round().astype(np.uint8)[..., ::-1])
    plate, camera = frame_plate(read_transforms(photos).frames[0])
    k = np.array([[FOCAL[0], 0, CENTRE[0] - 0.5], [0, FOCAL[0], CENTRE[1] - 0.5], [0, 0, 1]])
    expected = cv2.undistort(picture.round(), k, np.array([0.4, *LENS[1:]])) / 255
    inner = (slice(4, -4), slice(4, -4))
    got = plate.disp[0].permute(1, 2, 0).numpy()
    assert np.abs(got[inner] - expected[inner]).max() < 0.01 and camera.width == 40
    assert np.abs(got[inner] - picture[inner] / 255).max() > 0.02


def test_oblong_pixels_are_stretched_and_pictures_shrunk(photos):
    as_transforms(photos)
    frame = read_transforms(photos).frames[1]
    whole, camera = frame_plate(frame)
    assert whole.size == (camera.width, camera.height) == (40, 31)
    small, less = frame_plate(frame, 20)
    assert small.size == (less.width, less.height) == (20, 16) and less.focal_px == camera.focal_px / 2
    assert torch.allclose(small.disp, whole.disp.mean(), atol=0.01)


def test_a_photo_of_another_size(photos):
    as_text(photos)
    cv2.imwrite(str(photos / "images" / "0.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(SceneError, match="20 x 20"):
        frame_plate(read_colmap(photos).frames[0])


def test_white_stays_white_when_it_is_made_smaller(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((733, 971, 3), 255, np.uint8))
    plate, camera = frame_plate(Frame(0, tmp_path / "white.png", Camera.looking(971, 733, 50)), 160)
    assert plate.disp.max() == 1 and plate.size == (camera.width, camera.height) == (160, 121)


def test_a_sequence_in_our_world():
    world = turned(5)
    points, poses = moved(cloud(5), orbit(), world, 7.0)
    frames = tuple(Frame(k, None, Camera(40, 30, 50.0, 20, 15, pose), depth_scale=2.0) for k, pose in enumerate(poses))
    sequence = PosedSequence("s", frames, points)
    pixels = [f.camera.project(points[:100])[0] for f in frames]
    ours = on_ground(sequence, fit_ground(points, poses), 1.5)
    assert np.median(ours.centres[:, 1]) == pytest.approx(1.5, rel=1e-6)
    assert np.abs(ours.points[:600, 1]).max() < 0.05
    for frame, before in zip(ours.frames, pixels, strict=True):
        assert np.allclose(frame.camera.project(ours.points[:100])[0], before, atol=1e-6)
        assert np.linalg.det(frame.camera.to_world[:3, :3]) == pytest.approx(1)
    depth = frames[3].camera.project(points[:9])[1] * 2
    assert np.allclose(ours.frames[3].camera.project(ours.points[:9])[1] / depth * 2,
                       ours.frames[3].depth_scale / 2)
    ahead = ours.frames[0].camera.to_world[:3, 2]
    assert abs(ahead[0]) < 1e-9 and ahead[2] > 0


def photo_and_mask(photos, turn, upright_mask, mask_exif):
    """A 40 x 30 photo whose EXIF says ``turn``, and the mask of its left third, as it lies or as EXIF turns it."""
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (40, 30), (90, 90, 90)).save(photos / "images" / "0.png", exif=exif)
    mask = np.zeros((30, 40), np.uint8)
    mask[:20, :13] = 255  # No symmetry turns it into itself.
    picture = Image.fromarray(mask)
    if upright_mask:
        picture.getexif()[0x0112] = turn
        picture = ImageOps.exif_transpose(picture)
    picture.save(photos / "mask.png", **({"exif": exif} if mask_exif else {}))
    return mask > 0


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("mask_exif", [False, True])
def test_masks_lie_as_their_photos_do(photos, turn, mask_exif):
    """Whatever the EXIF of photo and mask says: both are taken as they lie in their files."""
    as_transforms(photos)
    frame = replace(read_transforms(photos).frames[0], stretch=1.0, lens=None, camera=Camera.looking(40, 30, 60))
    expected = photo_and_mask(photos, turn, False, mask_exif)
    assert np.array_equal(frame_mask(photos / "mask.png", frame)[0, 0].numpy() > 0.5, expected)
    assert np.array_equal(read_mask(photos / "mask.png") > 0.5, expected)


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_masks_of_the_upright_photo_are_turned_back(photos, turn):
    as_transforms(photos)
    frame = replace(read_transforms(photos).frames[0], stretch=1.0, lens=None, camera=Camera.looking(40, 30, 60))
    expected = photo_and_mask(photos, turn, True, False)
    assert np.array_equal(frame_mask(photos / "mask.png", frame)[0, 0].numpy() > 0.5, expected)


def test_masks_of_another_size_and_shape(photos):
    """Half the size is enlarged and goes through the lens as the photo does; another shape is refused."""
    as_transforms(photos)
    frame = read_transforms(photos).frames[0]
    y, x = np.mgrid[0:30, 0:40]
    whole = ((x > 12) & (y < 21)).astype(np.uint8) * 255
    for name, mask in (("whole", whole), ("half", whole[::2, ::2]), ("wrong", whole[:, :30])):
        cv2.imwrite(str(photos / f"{name}.png"), mask)
    one, other = (frame_mask(photos / f"{name}.png", frame) for name in ("whole", "half"))
    assert one.shape == other.shape == (1, 1, 31, 40) and (one - other).abs().mean() < 0.06
    photo = undistort(torch.from_numpy(whole / 255).float()[None, None], frame)
    assert torch.allclose(one, photo, atol=1e-6) and not torch.equal(one[..., :30, :], torch.from_numpy(whole / 255)[
        None, None].float())
    with pytest.raises(SceneError, match="a mask of 30 x 30 pixels for a photo of 40 x 30"):
        frame_mask(photos / "wrong.png", frame)
