"""dipir.captures.colmap: cut models, other lenses, photos elsewhere."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dipir.captures.colmap import find_model, read_colmap
from dipir.captures.sequence import frame_plate
from dipir.errors import SceneError
from tests.support.posed_folders import as_binary, as_text


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("cut", [5, 20, 60])
def test_cut_models(photos, name, cut):
    as_binary(photos)
    path = photos / "sparse" / f"{name}.bin"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SceneError):
        read_colmap(photos)


def test_other_lenses_and_photos_elsewhere(photos, tmp_path):
    as_text(photos)
    model = photos / "sparse" / "0"
    assert find_model(photos) == model
    (photos / "images").rename(photos / "photos")
    with pytest.raises(SceneError, match="none of the 3"):
        read_colmap(photos)
    assert len(read_colmap(photos, photos / "photos").frames) == 3
    (model / "cameras.txt").write_text("7 PERISCOPE 40 30 " + "1 " * 12)
    with pytest.raises(SceneError, match="PERISCOPE"):
        read_colmap(photos, photos / "photos")


@pytest.mark.parametrize("number, name", [(17, "EQUIRECTANGULAR is a panorama"), (18, "number 18 is not supported"),
                                          (-1, "number -1 is not supported")])
def test_other_lenses_are_refused_by_name(photos, number, name):
    as_binary(photos)
    path = photos / "sparse" / "cameras.bin"
    data = bytearray(path.read_bytes())
    data[12:16] = number.to_bytes(4, "little", signed=True)
    path.write_bytes(data)
    with pytest.raises(SceneError, match=f"camera model {name}"):
        read_colmap(photos)


@pytest.mark.parametrize("old, new", [(" 5.0 7", " nan 7"), (" 5.0 7", " inf 7"), ("40 30 35.0", "40 30 nan"),
                                      ("40 30 35.0", "40 0 35.0"), ("40 30 35.0", "40 30 1e-300"), ("1 1.0", "1 nan")])
def test_numbers_that_are_none(photos, old, new):
    as_text(photos)
    for name in ("images", "cameras"):
        path = photos / "sparse" / "0" / f"{name}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:1] + [line.replace(old, new) for line in lines[1:]]) + "\n")
    path = photos / "sparse" / "0" / "images.txt"
    if old == "1 1.0":
        path.write_text("1 nan 0 0 0 0 0 0 7 0.png\n\n")
    with pytest.raises(SceneError):
        read_colmap(photos)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_photos_are_seen_as_they_were_posed(photos, turn, suffix):
    """Programs that pose photos do not apply EXIF's orientation: the pixels are those that lie in the file."""
    as_text(photos)
    exif = Image.Exif()
    exif[0x0112] = turn
    ramp = np.add.outer(4 * np.arange(30), 3 * np.arange(40)).astype(np.uint8)  # No symmetry turns it into itself.
    stored = np.stack([ramp, ramp // 2, 255 - ramp], -1)
    Image.fromarray(stored).save(photos / "images" / f"0{suffix}", exif=exif,
                                 **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}))
    lines = (photos / "sparse" / "0" / "images.txt").read_text().replace("0.png", f"0{suffix}")
    (photos / "sparse" / "0" / "images.txt").write_text(lines)
    frame = replace(next(f for f in read_colmap(photos).frames if f.image.suffix == suffix), stretch=1.0,
                    lens=None)
    frame = replace(frame, camera=replace(frame.camera, height=30))
    seen = frame_plate(frame)[0].disp[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(seen - stored).max() < (6 if suffix == ".jpg" else 0.01)
