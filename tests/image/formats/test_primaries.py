import numpy as np
import pytest

from dipir.event import is_warning
from dipir.image.formats.primaries import (
    BT709_CHROMATICITIES,
    Encoding,
    adaptation,
    chromaticities_of,
    clipped,
    gamma,
    light_to_bt709,
    rgb_to_xyz,
    srgb,
    to_bt709,
    xyz_to_bt709,
)
from tests.support.icc import P3_TO_SRGB

P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290)
AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.0770, 0.32168, 0.33767)
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
# ACEScg -> linear sRGB with Bradford, as colour-science and OpenColorIO publish it.
AP1_TO_BT709 = np.array([[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]])


def test_published_matrices():
    np.testing.assert_allclose(rgb_to_xyz(BT709_CHROMATICITIES), [[0.4123908, 0.3575843, 0.1804808], [
        0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]], atol=1e-6)
    np.testing.assert_allclose(to_bt709(P3), P3_TO_SRGB, atol=1e-5)
    np.testing.assert_allclose(to_bt709(AP1), AP1_TO_BT709, atol=2e-4)


@pytest.mark.parametrize("primaries", [P3, AP1, BT709_CHROMATICITIES])
def test_white_stays_white(primaries):
    np.testing.assert_allclose(to_bt709(primaries) @ np.ones(3), 1, atol=1e-9)


def test_adaptation_of_whites_and_back():
    d65, d50 = np.array([0.95047, 1, 1.08883]), np.array([0.96422, 1, 0.82521])
    np.testing.assert_allclose(adaptation(d65, d50) @ d65, d50)
    np.testing.assert_allclose(adaptation(d50, d65) @ adaptation(d65, d50), np.eye(3), atol=1e-12)
    # Lindbloom's table.
    np.testing.assert_allclose(adaptation(d65, d50)[0], [1.0478112, 0.0228866, -0.0501270], atol=1e-4)
    np.testing.assert_allclose(xyz_to_bt709(d50) @ d50, 1)


@pytest.mark.parametrize("bad", [(0,) * 8, (0.3, 0.3) * 4, (np.nan,) * 8])
def test_what_is_no_colour_space_is_said_and_left(bad):
    with pytest.raises(ValueError, match="no colour space"):
        to_bt709(bad)
    notes: list[str] = []
    pixels = np.ones((2, 2, 3), np.float32)
    assert light_to_bt709(pixels, bad, notes) == (pixels, None) and "read as BT.709" in notes[0]
    assert is_warning(notes[0])


def test_light_is_converted_and_bt709_is_left_alone():
    pixels, notes = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32) * 9, []
    same, own = light_to_bt709(pixels, BT709_CHROMATICITIES, notes)
    assert same is pixels and own is None and not notes
    done, own = light_to_bt709(pixels, AP1, notes)
    np.testing.assert_allclose(done, pixels @ AP1_TO_BT709.T, atol=4e-3)
    assert done.dtype == np.float32 and "converted" in notes[0]
    np.testing.assert_array_equal(own.codes, pixels)
    np.testing.assert_allclose(own.space.from_light(done), pixels, atol=1e-5)


def test_aces_with_its_blue_below_the_axis():
    """UTILITY - ACES-AP0_to_LINEAR-REC709_BFD of OpenColorIO."""
    wanted = [[2.52168619, -1.13413099, -0.38755520], [-0.27647991, 1.37271909, -0.09623917],
              [-0.01537806, -0.15297534, 1.16835340]]
    np.testing.assert_allclose(to_bt709(AP0), wanted, atol=1e-6)


@pytest.mark.parametrize("known", [AP0, AP1, P3, BT709_CHROMATICITIES,
                                   (0.7347, 0.2653, 0.1424, 0.8576, 0.0991, -0.0308, 0.3127, 0.3290)])
def test_chromaticities_are_found_by_their_matrix(known):
    np.testing.assert_allclose(chromaticities_of(to_bt709(known)), known, atol=2e-4)


def test_a_matrix_of_no_space_has_no_chromaticities():
    assert chromaticities_of(np.array([[1.0, 1, 0], [0, 0, 1], [0, 0, 1]])) is None


@pytest.mark.parametrize("curve", [srgb, gamma(2.2), gamma(1.0)])
def test_codes_of_light_are_the_inverse_of_light_of_codes(curve):
    wide = Encoding("wide", (curve,) * 3, to_bt709(P3))
    codes = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    assert np.abs(wide.codes(wide.light(codes)) * 65535 - codes).max() < 1.01
    assert np.abs(wide.codes(np.array([[[9.0, 9, 9], [-1, -1, -1]]])) - [[[1] * 3, [0] * 3]]).max() == 0


@pytest.mark.parametrize("curve", [lambda x: 1 - x, lambda x: 0 * x, lambda x: x * np.nan])
def test_curves_without_an_inverse(curve):
    none = Encoding("odd", (curve,) * 3, np.eye(3))
    with pytest.raises(ValueError, match="curve without an inverse"):
        none.codes(np.zeros((1, 1, 3)))
    assert none.space(()).from_light is None


def test_encodings():
    assert Encoding("x", (srgb,) * 3, np.eye(3)).is_srgb()
    assert not Encoding("x", (gamma(1.0),) * 3, np.eye(3)).is_srgb()
    assert not Encoding("x", (srgb,) * 3, to_bt709(P3)).is_srgb()
    notes: list[str] = []
    red = np.zeros((300, 2, 3), np.uint8)
    red[..., 0] = 255
    done = Encoding("wide", (srgb,) * 3, to_bt709(P3)).apply(red, notes)
    np.testing.assert_array_equal(done[0, 0], (1, 0, 0))
    assert notes == ["colours converted from wide to sRGB; 100.0% of the pixels lie outside of sRGB and were clipped"]
    assert clipped(0) == ""
