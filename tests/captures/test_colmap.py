"""dipir.captures.colmap: cut models, other lenses, photos elsewhere."""
from __future__ import annotations

import pytest

from dipir.captures.colmap import find_model, read_colmap
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
    (model / "cameras.txt").write_text("7 FULL_OPENCV 40 30 " + "1 " * 12)
    with pytest.raises(SceneError, match="FULL_OPENCV"):
        read_colmap(photos, photos / "photos")
