import numpy as np
import pytest

from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.image.formats.primaries import KNOWN_CHROMATICITIES, linear_space
from dipir.image.formats.spaces import ColourSpace, OwnPicture, PlateKind, as_values

SRGB = ColourSpace("s", "display", srgb_to_linear_array, linear_to_srgb_array)
ACES = linear_space("a", KNOWN_CHROMATICITIES["lin_ap1_scene"])


def _near(space: ColourSpace, by: float) -> ColourSpace:
    return ColourSpace("n", space.kind, lambda x: space.to_light(x) + np.float32(by), space.from_light)


def test_what_is_srgb_and_bt709():
    assert SRGB.is_srgb() and not SRGB.is_bt709() and not _near(SRGB, 1e-3).is_srgb()
    plain = linear_space("p", KNOWN_CHROMATICITIES["lin_rec709_scene"])
    assert plain.is_bt709() and not ACES.is_bt709() and not plain.is_srgb()


def test_the_same_space_by_its_numbers():
    assert ACES.same_as(_near(ACES, 1e-3)) and not ACES.same_as(_near(ACES, 5e-3))
    assert not ACES.same_as(SRGB) and SRGB.same_as(SRGB)


@pytest.mark.parametrize("own, output, display, linear", [
    (None, None, None, None), (SRGB, None, SRGB, None), (ACES, None, None, ACES), (SRGB, ACES, SRGB, ACES),
    (ACES, SRGB, SRGB, ACES), (ColourSpace("one way", "display", srgb_to_linear_array, None), None, None, None)])
def test_each_file_gets_the_space_that_it_can_hold(own, output, display, linear):
    kind = PlateKind(16, own=own and OwnPicture(own, np.zeros((1, 1, 3), np.uint16)), output=output)
    assert kind.space_of("display") is display and kind.space_of("linear") is linear and kind.space_of("log") is None


def test_a_scaled_picture_has_other_values():
    assert PlateKind().scaled() == PlateKind()
    kind = PlateKind(own=OwnPicture(SRGB, np.zeros((1, 1, 3), np.uint8), wide=0.5)).scaled()
    assert kind.own.codes is None and kind.own.space is SRGB and kind.own.wide == 0.5


@pytest.mark.parametrize("codes, values", [(np.array([0, 255], np.uint8), [0, 1]), (np.array([0, 65535], np.uint16),
                                           [0, 1]), (np.array([-1, 3], np.float16), [-1, 3])])
def test_values_of_codes(codes, values):
    np.testing.assert_array_equal(as_values(codes), np.array(values, np.float32))
    assert as_values(codes).dtype == np.float32
