"""By OpenColorIO's own processors, published matrices, and configs that are not to be trusted."""
import numpy as np
import PyOpenColorIO as ocio
import pytest

from dipir.errors import ConfigError
from dipir.image.formats import ocio as spaces
from dipir.image.formats.ocio import BUILT_IN, config_name, find_space
from dipir.image.formats.primaries import KNOWN_CHROMATICITIES, to_bt709
from tests.support.ocio import write_config

VALUES = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
# ACEScg to linear sRGB, Bradford, as published with ACES 1.
ACESCG_TO_SRGB = np.array([[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]])


@pytest.fixture(autouse=True)
def no_config_of_this_machine(monkeypatch):
    monkeypatch.delenv("OCIO", raising=False)


def _refused(name, config=None, output=False) -> str:
    with pytest.raises(ConfigError) as caught:
        find_space(name, config, output)
    return str(caught.value)


@pytest.mark.parametrize("name, kind", [
    ("ACEScg", "linear"), ("lin_rec709", "linear"), ("ACES2065-1", "linear"), ("ARRI LogC4", "log"), ("acescct", "log"),
    ("sRGB - Texture", "display"), ("Gamma 2.4 Rec.709 - Texture", "display"), ("scene_linear", "linear"),
    ("g22_adobergb_scene", "display"), ("S-Log3 S-Gamut3.Cine", "log")])
def test_scene_referred_spaces_are_what_opencolorio_makes_of_them(name, kind):
    config = ocio.Config.CreateFromFile(BUILT_IN)
    found, wanted, back = find_space(name), VALUES.copy(), VALUES.copy()
    exact = ocio.OPTIMIZATION_LOSSLESS
    config.getProcessor(name, "lin_rec709").getOptimizedCPUProcessor(exact).applyRGB(wanted)
    config.getProcessor("lin_rec709", name).getOptimizedCPUProcessor(exact).applyRGB(back)
    assert found.kind == kind
    np.testing.assert_allclose(found.to_light(VALUES), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.from_light(VALUES), back, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.from_light(found.to_light(VALUES)), VALUES, atol=3e-5)


def test_acescg_by_the_published_matrix():
    np.testing.assert_allclose(find_space("ACEScg").to_light(VALUES), VALUES @ ACESCG_TO_SRGB.T, atol=3e-5)
    assert find_space("lin_ap1").chromaticities == KNOWN_CHROMATICITIES["lin_ap1_scene"]


def test_what_a_screen_shows_has_no_view_transform_in_it():
    """By their definitions: white is 1, middle codes are their power."""
    light = find_space("Rec.1886 Rec.709 - Display").to_light(np.array([[[1, 1, 1], [0.5, 0.5, 0.5]]], np.float32))
    np.testing.assert_allclose(light[0, :, 0], [1, 0.5**2.4], atol=1e-4)
    assert find_space("sRGB - Display").is_srgb() and not find_space("Display P3 - Display").is_srgb()


def test_logc4_by_its_formula():
    """ARRI LogC4 specification, 2022: grey of 18 % is code 0.2784."""
    grey = find_space("ARRI LogC4").from_light(np.full((1, 1, 3), 0.18, np.float32))
    np.testing.assert_allclose(grey, 0.2784, atol=1e-4)


def test_chromaticities_of_camera_gamuts():
    found = find_space("Linear ARRI Wide Gamut 4").chromaticities
    np.testing.assert_allclose(found[:6], (0.7347, 0.2653, 0.1424, 0.8576, 0.0991, -0.0308), atol=5e-3)
    eye = np.eye(3, dtype=np.float32)[None]
    np.testing.assert_allclose(find_space("Linear ARRI Wide Gamut 4").to_light(eye)[0].T, to_bt709(found), atol=1e-3)


def test_unknown_names_are_answered_with_near_ones():
    text = _refused("ACEScq")
    assert "'ACEScg'" in text and "--ocio" in text and BUILT_IN in text
    assert "'ARRI LogC4'" in _refused("LogC4x") and _refused("zzzzzz").count("'") <= 2 + 20
    assert "\\x1b" in _refused("\x1b[31m") and len(_refused("x" * 100_000)) < 1500
    assert "data" in _refused("Raw")


def test_a_config_of_ones_own(tmp_path):
    path = str(write_config(tmp_path))
    np.testing.assert_allclose(find_space("ap1", path).to_light(VALUES), VALUES @ ACESCG_TO_SRGB.T, atol=3e-5)
    assert find_space("wide", path).name == "ap1" and find_space("aces_interchange", path).kind == "linear"
    film, bend = find_space("film", path), np.interp(VALUES, [0, 0.5, 1], [0, 0.25, 1])
    aces = to_bt709(KNOWN_CHROMATICITIES["lin_ap0_scene"])
    np.testing.assert_allclose(film.to_light(VALUES), bend @ aces.T, atol=1e-5)
    np.testing.assert_allclose(film.from_light(film.to_light(VALUES)), VALUES, atol=1e-4)
    assert path in _refused("ACEScg", path) and "'ap0'" in _refused("ACEScg", path)


def test_luts_of_one_name_in_two_configs(tmp_path):
    first, second = str(write_config(tmp_path / "a")), str(write_config(tmp_path / "b"))
    lut = tmp_path / "b" / "luts" / "film.spi1d"
    lut.write_text(lut.read_text().replace("0.25", "0.75"))
    grey = np.full((1, 1, 3), 0.5, np.float32)
    light = [float(find_space("film", path).to_light(grey).mean()) for path in (first, second, first)]
    np.testing.assert_allclose(light, [0.25, 0.75, 0.25], atol=1e-3)


def test_a_config_written_again_is_read_again(tmp_path):
    path = write_config(tmp_path)
    find_space("ap1", str(path))
    text = path.read_text().replace("name: ap1", "name: another")
    path.write_text(text)
    assert find_space("another", str(path)).kind == "linear"


def test_which_config_is_used(tmp_path, monkeypatch):
    assert config_name(None) == BUILT_IN
    monkeypatch.setenv("OCIO", str(write_config(tmp_path)))
    assert config_name(None) == str(tmp_path / "config.ocio") and find_space("ap1").kind == "linear"
    assert find_space("ACEScg", "ocio://cg-config-latest").kind == "linear"
    assert "no built-in" in _refused("ACEScg", "ocio://cg-config-v99")
    assert "no such OpenColorIO config" in _refused("ACEScg", str(tmp_path / "none.ocio"))


def test_a_config_without_roles(tmp_path):
    text = _refused("ap1", str(write_config(tmp_path, roles="scene_linear: ap1")))
    assert "aces_interchange" in text and "no linear BT.709" in text
    ours = "  - !<ColorSpace>\n    name: lin_rec709\n"
    path = str(write_config(tmp_path, roles="scene_linear: ap1", more=ours))
    # Its reference is then what ap1's matrix leads to.
    wanted = VALUES.copy()
    ocio.Config.CreateFromFile(path).getProcessor("ap1", "lin_rec709").getDefaultCPUProcessor().applyRGB(wanted)
    np.testing.assert_allclose(find_space("ap1", path).to_light(VALUES), wanted, atol=1e-6)


@pytest.mark.parametrize("lut, search", [("../../secret.spi1d", "luts"), ("secret.spi1d", "../.."), ("{}", "luts"),
                                         ("link.spi1d", "luts")])
def test_luts_outside_of_the_folder_are_not_read(tmp_path, lut, search):
    folder, secret = tmp_path / "a" / "b", tmp_path / "secret.spi1d"
    write_config(folder, lut.format(secret), search=search)
    (folder / "luts" / "film.spi1d").rename(secret)
    (folder / "luts" / "link.spi1d").symlink_to(secret)
    text = _refused("film", str(folder / "config.ocio"))
    assert "outside of its folder" in text
    assert find_space("ap1", str(folder / "config.ocio")).kind == "linear"  # Which needs none.


def test_a_missing_or_large_lut_is_named(tmp_path, monkeypatch):
    path = str(write_config(tmp_path, "none.spi1d"))
    assert "none.spi1d" in _refused("film", path) and "located" in _refused("film", path)
    write_config(tmp_path)
    monkeypatch.setattr(spaces, "MAX_LUT", 10)
    assert "more than" in _refused("film", path)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe\0", b"ocio_profile_version: 99\n", b"a: {b: " * 99,
                                     b"ocio_profile_version: 2\n\x1b[31mred: 1\n"])
def test_damaged_configs_end_in_one_short_error(tmp_path, content, capfd):
    path = tmp_path / "config.ocio"
    path.write_bytes(content)
    text = _refused("ACEScg", str(path))
    assert "cannot be read as an OpenColorIO config" in text and len(text) < 1200 and text.isprintable()
    assert capfd.readouterr() == ("", "")


def test_configs_that_are_too_large_or_archives(tmp_path, monkeypatch):
    path = tmp_path / "a.ocioz"
    path.write_bytes(b"PK\3\4" + bytes(40))
    assert "is an archive" in _refused("ACEScg", str(path))
    monkeypatch.setattr(spaces, "MAX_CONFIG", 10)
    assert "MB" in _refused("ACEScg", str(write_config(tmp_path)))
    assert "no OpenColorIO config" in _refused("ACEScg", str(tmp_path))


def test_a_space_without_a_way_back_is_for_reading_only(tmp_path):
    """A CDL-like range cut to nothing: OpenColorIO cannot invert a LUT that is said to be forward only."""
    more = "  - !<ColorSpace>\n    name: once\n    to_scene_reference: !<MatrixTransform> {matrix: [" + ", ".join(
        ["1, 1, 1, 0"] * 3 + ["0, 0, 0, 1"]) + "]}\n"
    path = str(write_config(tmp_path, more=more))
    assert find_space("once", path).from_light is None
    assert "cannot be converted from linear BT.709" in _refused("once", path, output=True)


@pytest.mark.parametrize("content", [b"", b"\x98" * 300, b"Version 1\nFrom 0 1\nLength 99999999999\n", b"\0" * 50])
def test_damaged_luts_end_in_one_short_error(tmp_path, content):
    path = write_config(tmp_path)
    (tmp_path / "luts" / "film.spi1d").write_bytes(content)
    text = _refused("film", str(path))
    assert "cannot be converted to linear BT.709" in text and len(text) < 1200 and text.isprintable()
