"""Layered PSD: bytes by hand, what psd-tools and Pillow read, the exported gain against the exact one, bad input."""
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms
from psd_tools import PSDImage
from psd_tools.composite import composite as psd_tools_composite
from psd_tools.constants import BlendMode

from dipir.errors import ImageError
from dipir.export.psd import BLEND_KEYS, PsdLayer, pack_bits, write_psd


def _random(seed: int, channels: int = 3, height: int = 7, width: int = 9) -> torch.Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def _integers(disp: torch.Tensor, bits: int) -> np.ndarray:
    """(H, W, 3 or 1), the values that the file should hold."""
    top = 2**bits - 1
    return np.floor(disp[0].double().clamp(0, 1).permute(1, 2, 0).numpy() * top + 0.5).astype(int)


def _read_integers(layer, bits: int) -> np.ndarray:
    """(H, W, 4) RGBA of a layer as psd-tools reads it."""
    return np.rint(layer.numpy().astype(np.float64) * (2**bits - 1)).astype(int)


# ---- run lengths ----------------------------------------------------------------------------------------------------

def _unpack_bits(data: bytes) -> bytes:
    out, i = b"", 0
    while i < len(data):
        n = data[i]
        assert n != 128  # reserved
        out += data[i + 1:i + n + 2] if n < 128 else data[i + 1:i + 2] * (257 - n)
        i += n + 2 if n < 128 else 2
    return out


def test_run_lengths_by_hand():
    # The example of TIFF 6.0, section 9, without its rule to pack a run of two between runs.
    row = bytes.fromhex("AAAAAA80002AAAAAAAAA80002A22AAAAAAAAAAAAAAAAAAAA")
    assert pack_bits(np.frombuffer(row, np.uint8)) == bytes.fromhex("FEAA0280002AFDAA0380002A22F7AA")
    assert pack_bits(np.zeros(129, np.uint8)) == bytes([129, 0, 0, 0]) and pack_bits(np.uint8([7])) == b"\x00\x07"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_run_lengths_come_back(runs):
    row = np.concatenate([np.full(n, v, np.uint8) for v, n in runs])
    packed = pack_bits(row)
    assert _unpack_bits(packed) == row.tobytes() and len(packed) <= len(row) + len(row) // 128 + 1


# ---- the bytes ------------------------------------------------------------------------------------------------------

def _sections(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Resources, layers and merged picture, found by the lengths alone."""
    assert data[26:30] == bytes(4)
    found, at = [], 30
    for _ in range(2):
        length, = struct.unpack_from(">I", data, at)
        found.append(data[at + 4:at + 4 + length])
        at += 4 + length
    return found[0], found[1], data[at:]


@pytest.mark.parametrize("bits", [8, 16])
def test_header_and_section_lengths(tmp_path, bits):
    write_psd(tmp_path / "a.psd", [PsdLayer("a", _random(0)), PsdLayer("b", _random(1))], _random(2), bits)
    data = (tmp_path / "a.psd").read_bytes()
    assert struct.unpack_from(">4sH6sHIIHH", data) == (b"8BPS", 1, bytes(6), 3, 7, 9, bits, 3)
    resources, layers, merged = _sections(data)
    numbers, at = {}, 0
    while at < len(resources):
        mark, number, name, length = struct.unpack_from(">4sHHI", resources, at)
        assert (mark, name) == (b"8BIM", 0)
        numbers[number] = resources[at + 12:at + 12 + length]
        at += 12 + length + length % 2
    assert at == len(resources) and set(numbers) == {1005, 1039, 1057}
    assert struct.unpack(">IHHIHH", numbers[1005])[0] == 72 << 16 and numbers[1057][:5] == b"\0\0\0\1\1"
    assert numbers[1039][36:40] == b"acsp" and struct.unpack(">6H", numbers[1039][24:36]) == (2000, 1, 1, 0, 0, 0)
    length, = struct.unpack_from(">I", layers)
    if bits == 8:
        assert length + 8 == len(layers) and length % 4 == 0 and layers[-4:] == bytes(4)
        info = layers[4:-4]
        rows = struct.unpack_from(">21H", merged, 2)
        assert merged[:2] == b"\0\1" and len(merged) == 2 + 42 + sum(rows)
        assert _unpack_bits(merged[44:]) == _integers(_random(2), 8).transpose(2, 0, 1).astype(np.uint8).tobytes()
    else:
        assert length == 0 and layers[4:16] == bytes(4) + b"8BIMLr16"
        length, = struct.unpack_from(">I", layers, 16)
        assert length + 20 == len(layers) and length % 4 == 0
        info = layers[20:]
        assert merged == b"\0\0" + _integers(_random(2), 16).transpose(2, 0, 1).astype(">u2").tobytes()
    assert struct.unpack_from(">h4iH", info) == (2, 0, 0, 7, 9, 4)
    assert struct.unpack_from(">4s4sBBBB", info, 20 + 4 * 6) == (b"8BIM", b"norm", 255, 0, 8, 0)


def test_deep_planes_are_differences_along_rows(tmp_path):
    x = _random(3, 1, 1, 4)
    write_psd(tmp_path / "a.psd", [PsdLayer("a", x)], _random(2, 3, 1, 4), 16)
    layers = _sections((tmp_path / "a.psd").read_bytes())[1]
    ids = [struct.unpack_from(">hI", layers, 20 + 20 + 6 * i) for i in range(4)]
    assert [key for key, _ in ids] == [-1, 0, 1, 2]
    extra, = struct.unpack_from(">I", layers, 20 + 20 + 24 + 12)
    red = layers[20 + 20 + 24 + 16 + extra + ids[0][1]:][:ids[1][1]]
    delta = np.frombuffer(zlib.decompress(red[2:]), ">u2").astype(int)
    assert red[:2] == b"\0\3" and (np.cumsum(delta) % 65536).tolist() == _integers(x, 16).ravel().tolist()


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_psd(tmp_path / name, [PsdLayer("a", _random(0))], _random(2))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- what others read -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bits", [8, 16])
def test_psd_tools_reads_everything(tmp_path, bits):
    soft, mask = _random(3, 1), _random(4, 1)
    layers = [PsdLayer("photo", _random(0)), PsdLayer("dunkler × 光 🌞", _random(1, 1), "multiply", 0.4),
              PsdLayer("x" * 255, _random(2), "linear dodge", 0.0, visible=False, alpha=soft, mask=mask)]
    write_psd(tmp_path / "a.psd", layers, _random(5), bits)
    psd = PSDImage.open(tmp_path / "a.psd")
    assert (psd.width, psd.height, psd.depth, psd.color_mode.name) == (9, 7, bits, "RGB")
    assert [layer.name for layer in psd] == [layer.name for layer in layers]
    assert [layer.opacity for layer in psd] == [255, 102, 0] and [e.visible for e in psd] == [True, True, False]
    assert [layer.blend_mode for layer in psd] == [BlendMode.NORMAL, BlendMode.MULTIPLY, BlendMode.LINEAR_DODGE]
    assert all(layer.bbox == (0, 0, 9, 7) for layer in psd)
    for read, layer in zip(psd, layers, strict=True):
        pixels = _read_integers(read, bits)
        assert np.array_equal(pixels[..., :3], np.broadcast_to(_integers(layer.pixels, bits), (7, 9, 3)))
    assert (_read_integers(psd[1], bits)[..., 3] == 2**bits - 1).all()
    assert np.array_equal(pixels[..., 3:], _integers(soft, bits))
    read = np.rint(psd[2].numpy("mask").astype(np.float64) * (2**bits - 1)).astype(int)
    assert np.array_equal(read, _integers(mask, bits)) and not psd[1].has_mask()
    merged = np.rint(psd.numpy().astype(np.float64) * (2**bits - 1)).astype(int)
    assert psd.has_preview() and np.array_equal(merged, _integers(_random(5), bits))


def test_every_blend_mode_is_known_to_others(tmp_path):
    write_psd(tmp_path / "a.psd", [PsdLayer(name, _random(0), name) for name in BLEND_KEYS], _random(1), 8)
    read = {layer.name: layer.blend_mode.name.replace("_", " ").lower() for layer in PSDImage.open(tmp_path / "a.psd")}
    assert read == {name: name for name in BLEND_KEYS}


def test_pillow_opens_the_merged_picture_and_finds_srgb(tmp_path):
    write_psd(tmp_path / "a.psd", [PsdLayer("a", _random(0))], _random(1), 8)
    with Pillow.open(tmp_path / "a.psd") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), _integers(_random(1), 8))
        profile = ImageCms.ImageCmsProfile(ImageCms.core.profile_frombytes(picture.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (301, 1), (2, 259)])
@pytest.mark.parametrize("bits", [8, 16])
def test_odd_sizes(tmp_path, size, bits):
    x = _random(0, 3, *size)
    x[..., :size[1] // 2] = 0.25  # runs as well as noise
    write_psd(tmp_path / "a.psd", [PsdLayer("a", x)], x, bits)
    psd = PSDImage.open(tmp_path / "a.psd")
    assert np.array_equal(_read_integers(psd[0], bits)[..., :3], _integers(x, bits))


def test_values_outside_are_clipped(tmp_path):
    x = torch.tensor([-3.0, 0.5, 1.2]).expand(1, 3, 1, 3)
    write_psd(tmp_path / "a.psd", [PsdLayer("a", x)], x)
    assert _read_integers(PSDImage.open(tmp_path / "a.psd")[0], 16)[0, :, 0].tolist() == [0, 32768, 65535]


# ---- the gain -------------------------------------------------------------------------------------------------------

def _gain_case(seed: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    """x, M, D, y of the engine, half of the values at the ends of their ranges."""
    values = []
    for i, (channels, low) in enumerate([(3, 0.0), (1, 0.1), (1, 0.1)]):
        v = _random(seed + i, channels, height, width)
        v = torch.where(v < 0.25, torch.zeros(()), torch.where(v > 0.75, torch.ones(()), 2 * v - 0.5))
        values.append(low + (1 - low) * v)
    x, m, d = values
    return x, m, d, (x * m / (d + 1e-6)).clamp(0, 1)


def _evaluate(psd: PSDImage) -> np.ndarray:
    """What Photoshop makes of the layers, clipped after every one."""
    out = None
    for layer in psd:
        pixels = layer.numpy()[..., :3].astype(np.float64)
        if layer.blend_mode == BlendMode.NORMAL:
            out = pixels
        else:
            out = np.clip(out * pixels if layer.blend_mode == BlendMode.MULTIPLY else out / pixels, 0, 1)
    return out


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_layers_give_the_result_of_the_engine(tmp_path_factory, seed, height, width):
    path = tmp_path_factory.mktemp("psd") / "a.psd"
    x, m, d, y = _gain_case(seed, height, width)
    write_psd(path, [PsdLayer("photo", x), PsdLayer("darken", m, "multiply"), PsdLayer("brighten", d, "divide")], y)
    psd, exact = PSDImage.open(path), y[0].permute(1, 2, 0).numpy()
    # The limit that the module states, a twentieth of what an 8-bit display can show.
    assert np.abs(_evaluate(psd) - exact).max() < 0.05 / 255
    assert np.abs(psd_tools_composite(psd, force=True)[0] - exact).max() < 0.05 / 255


def test_dividing_first_would_clip(tmp_path):
    """The order matters: this is why the multiply layer has to be below."""
    x, m, d, y = _gain_case(0, 20, 20)
    write_psd(tmp_path / "a.psd", [PsdLayer("photo", x), PsdLayer("d", d, "divide"), PsdLayer("m", m, "multiply")], y)
    assert np.abs(_evaluate(PSDImage.open(tmp_path / "a.psd")) - y[0].permute(1, 2, 0).numpy()).max() > 0.5


# ---- bad input ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("changes, text", [
    ({"pixels": torch.full((1, 3, 7, 9), float("nan"))}, "189 values of pixels of layer 'a' are NaN"),
    ({"alpha": torch.full((1, 1, 7, 9), float("inf"))}, "alpha"), ({"pixels": _random(0, 3, 7, 8)}, "size"),
    ({"pixels": _random(0, 2)}, "1 or 3"), ({"pixels": _random(0)[0]}, "1 or 3"), ({"mask": _random(0)}, "mask"),
    ({"pixels": _random(0).expand(2, 3, 7, 9)}, "1 or 3"), ({"mask": _random(0, 1, 6, 9)}, "mask"),
    ({"blend": "mulitply"}, "Did you mean 'multiply'"), ({"opacity": 1.01}, "opacity"),
    ({"opacity": float("nan")}, "opacity"), ({"name": ""}, "printable"), ({"name": "x" * 256}, "255"),
    ({"name": "a\nb"}, "printable"), ({"name": "\ud800"}, "printable")])
def test_bad_layers(tmp_path, changes, text):
    with pytest.raises(ImageError, match=text):
        write_psd(tmp_path / "a.psd", [PsdLayer(**{"name": "a", "pixels": _random(0), **changes})], _random(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layers, composite, bits, text", [
    ([], _random(0), 16, "0 layers"), (None, _random(0), 12, "12 bits"), (None, _random(0, 1), 16, "merged picture"),
    (None, _random(0)[0], 16, "merged picture"), (None, _random(0) / 0, 16, "merged picture are NaN"),
    (None, torch.zeros(1).expand(1, 3, 1, 30001), 8, "30,000"), (None, torch.zeros(1).expand(1, 3, 0, 5), 8, "30,000"),
    (None, torch.zeros(1).expand(1, 3, 30000, 30000), 16, "2 GiB")])
def test_bad_documents(tmp_path, layers, composite, bits, text):
    with pytest.raises(ImageError, match=text):
        write_psd(tmp_path / "a.psd", [PsdLayer("a", _random(0))] if layers is None else layers, composite, bits)
    assert not list(tmp_path.iterdir())


def test_a_file_above_the_limit_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "a.psd").write_bytes(b"old")
    monkeypatch.setattr("dipir.export.psd.MAX_BYTES", 1000)
    with pytest.raises(ImageError, match="2 GiB"):
        write_psd(tmp_path / "a.psd", [PsdLayer("a", _random(0))], _random(1))
    assert [p.name for p in tmp_path.iterdir()] == ["a.psd"] and (tmp_path / "a.psd").read_bytes() == b"old"


def test_a_folder_that_is_missing_is_known_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("dipir.export.psd._layer_info", lambda *_: pytest.fail("worked for nothing"))
    for path in (tmp_path / "none" / "a.psd", tmp_path):
        with pytest.raises(ImageError, match="cannot write"):
            write_psd(path, [PsdLayer("a", _random(0))], _random(1))
