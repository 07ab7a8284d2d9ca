"""Plates from real work that went wrong: colours and pixels where they belong."""
import cv2
import numpy as np
import pytest

from dipir.errors import ImageError
from dipir.image.color import linear_to_srgb_array
from dipir.image.files import read_image
from tests.support.shared_cases import case


def _pixels(path) -> np.ndarray:
    return read_image(path).pixels[0].permute(1, 2, 0).numpy()


@pytest.mark.data
@pytest.mark.parametrize("name, profile", [("p3", "Display P3"), ("adobe", "Adobe RGB"), ("prophoto", "ProPhoto")])
def test_photos_with_a_profile_have_the_colours_of_the_true_one(name, profile):
    """As near as JPEG leaves them; read as sRGB, the red square would be 30 steps off and more."""
    path, truth = case(f"30_icc_profiles/{name}.jpg"), _pixels(case("30_icc_profiles/truth_srgb.png")) * 255
    error = np.abs(_pixels(path) * 255 - truth)
    assert error.mean() < 1.2 and np.percentile(error, 99) < 4
    red, green = (np.s_[108:132, x:x + 24] for x in (208, 258))
    for square in (red, green):
        assert np.abs(_pixels(path)[square].mean((0, 1)) * 255 - truth[square].mean((0, 1))).max() < 2.5
    as_srgb = cv2.imread(str(path))[..., ::-1].astype(float)
    assert np.abs(as_srgb[red].mean((0, 1)) - truth[red].mean((0, 1))).max() > 15
    assert any(profile in note for note in read_image(path).info.notes)


@pytest.mark.data
def test_windows_of_exr_files():
    plain = _pixels(case("33_exr_windows/plain.exr"))
    np.testing.assert_array_equal(_pixels(case("33_exr_windows/overscan.exr")), plain)
    inside = np.zeros_like(plain)
    inside[30:210, 40:280] = plain[30:210, 40:280]
    np.testing.assert_array_equal(_pixels(case("33_exr_windows/crop.exr")), inside)


@pytest.mark.data
def test_kinds_of_png():
    codes = cv2.imread(str(case("37_png_kinds/gamma1.png")))[..., ::-1] / 255
    np.testing.assert_allclose(_pixels(case("37_png_kinds/gamma1.png")), linear_to_srgb_array(codes), atol=1e-6)
    assert read_image(case("37_png_kinds/rgb16.png")).info.bits == 16
    assert "Display P3" in read_image(case("37_png_kinds/cicp_p3.png")).info.notes[0]
    with pytest.raises(ImageError, match="PQ"):
        read_image(case("37_png_kinds/cicp_pq.png"))
