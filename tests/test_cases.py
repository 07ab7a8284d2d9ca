"""The shared inputs from real work: each is compared with its truth somewhere, and here those that are about no one
reader."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dipir.captures.colmap import read_colmap
from dipir.captures.sequence import frame_plate
from dipir.image.files import read_image
from dipir.scene.assets.load import load_asset
from dipir.scene.scene_file import load_scene_file
from tests.support.shared_cases import CASES, case

TESTS = Path(__file__).parent
pytestmark = pytest.mark.data


def test_every_input_is_in_a_test_that_compares():
    """By its folder's name in the code of some test, not only in a text."""
    folders = [path.name for path in CASES.glob("[0-9][0-9]_*")] if CASES.is_dir() else []
    if not folders:
        pytest.skip("the shared inputs are absent")
    code = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    named = set(re.findall(r"""case\(f?"(\d\d_\w+)/""", code))
    assert len(folders) >= 21 and set(folders) - named == set()


@pytest.mark.parametrize("name, texture", [
    ("percent", "wood%20floor.png"), ("hash", "tex #1.png"), ("cp1252", "größe.png"), ("case", "textures/Wood.PNG"),
    ("uni", "höhe ü 木.png"), ("abs", "wood.png")])
def test_case_05_the_texture_is_the_one_that_was_meant(name, texture):
    from dipir.image.color import srgb_to_linear_array

    (part,) = load_asset(case(f"05_mtl_names/{name}.obj")).parts
    truth = srgb_to_linear_array(np.asarray(Image.open(case(f"05_mtl_names/{texture}")).convert("RGB")) / 255.0)
    np.testing.assert_allclose(part.material.base_color_texture, truth, atol=1e-5)


def test_case_37_sixteen_bits_are_kept():
    path = case("37_png_kinds/rgb16.png")
    truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert truth.dtype == np.uint16
    found = read_image(path).pixels[0].permute(1, 2, 0).double().numpy() * 65535
    assert np.abs(found - truth).max() < 0.5 and len(np.unique(truth)) > 256


@pytest.mark.parametrize("name, file", [("exif3", "a.png"), ("exif6", "a.jpg")])
def test_case_42_photos_as_they_were_posed(name, file):
    """COLMAP saw the pixels that lie in the file; neither turn of the camera nor its size is EXIF's."""
    folder = case(f"42_colmap/{name}/images").parent
    (frame,) = read_colmap(folder).frames
    plate, camera = frame_plate(frame)
    stored = cv2.imread(str(folder / "images" / file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1]
    assert Image.open(folder / "images" / file).getexif().get(0x0112) == int(name[-1])
    assert (camera.width, camera.height) == (320, 240) == stored.shape[1::-1]
    found = plate.disp[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - stored).max() <= 1 and camera.focal_px == pytest.approx(260)


def test_case_51_a_name_that_is_no_text(tmp_path):
    """A photo whose name is Latin-1, under a locale that is neither: read, named in a scene file, found again."""
    cube = case("51_undecodable_name/c.obj")
    photo = os.fsencode(tmp_path) + b"/W\xfcrfel.png"
    shutil.copyfile(os.fsencode(case("plate.png")), photo)
    (tmp_path / "go.py").write_text("""
import os, sys
from pathlib import Path
from dipir.image.files import read_image
from dipir.scene.scene_file import ObjectSpec, SceneFile, load_scene_file, write_scene_file
photo = Path(os.fsdecode(os.fsencode(sys.argv[1]) + b"/W\\xfcrfel.png"))
scene = SceneFile(photo, (ObjectSpec(Path(sys.argv[2]), (165, 190), 0.9),), name="a")
write_scene_file(scene, Path(sys.argv[1]) / "scene.yaml")
print(float(read_image(load_scene_file(Path(sys.argv[1]) / "scene.yaml").plate).pixels.sum()))
""")
    run = subprocess.run([sys.executable, str(tmp_path / "go.py"), str(tmp_path), str(cube)], capture_output=True,
                         env={**os.environ, "PYTHONPATH": str(TESTS.parent), "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    truth = float(read_image(case("plate.png")).pixels.sum())
    assert float(run.stdout) == pytest.approx(truth, rel=1e-6)
    assert float(read_image(load_scene_file(tmp_path / "scene.yaml").plate).pixels.sum()) == pytest.approx(truth)
