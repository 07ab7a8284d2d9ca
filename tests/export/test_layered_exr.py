import json

import numpy as np
import OpenEXR
import pytest
import torch

from dipir.errors import ImageError
from dipir.export.layered_exr import write_layers
from dipir.scene.camera import Camera
from tests.support.exr import read_exr, read_layers

CAMERA = Camera.looking(6, 4, 50.0, 1.7, 10.0, 3.0, yaw_deg=25.0)


def _layers() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = {"beauty": 3, "object": 4, "alpha": 1, "shadow_ratio": 3, "depth": 1, "normal": 3, "position": 3, "id": 1}
    layers = {name: torch.rand(1, count, 4, 6, generator=g) for name, count in shapes.items()}
    layers["depth"] = layers["depth"] * 1e5 + 1 / 3  # neither fits in half
    layers["id"] = torch.full((1, 1, 4, 6), 4099)  # half has only even numbers here
    return layers


def test_round_trip(tmp_path):
    layers = _layers()
    write_layers(tmp_path / "a.exr", layers, CAMERA, "made by a test")
    back, header = read_layers(tmp_path / "a.exr"), read_exr(tmp_path / "a.exr")[1]
    assert set(back) == set(layers) and "clampedToHalf" not in header
    for name, tensor in layers.items():
        wanted = tensor.float() if name in ("depth", "position", "id") else tensor.half().float()
        if name == "beauty":
            wanted = torch.cat([wanted, torch.ones(1, 1, 4, 6)], 1)
        assert torch.equal(back[name], wanted), name
    camera = Camera.from_dict(json.loads(header["dipirCamera"]))
    assert np.array_equal(camera.to_world, CAMERA.to_world)
    assert (camera.focal_px, camera.cx, camera.width) == (CAMERA.focal_px, CAMERA.cx, CAMERA.width)


def test_what_other_programs_see(tmp_path):
    write_layers(tmp_path / "a.exr", _layers(), CAMERA, "made by a test")
    file = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True)
    header, channels = file.header(), file.channels()
    assert len(file.parts) == 1 and header["compression"] == OpenEXR.ZIP_COMPRESSION
    assert set(channels) == {"R", "G", "B", "A", "object.R", "object.G", "object.B", "object.A", "alpha.A", "id.Y",
                             "shadow_ratio.R", "shadow_ratio.G", "shadow_ratio.B", "depth.Z", "normal.X", "normal.Y",
                             "normal.Z", "position.X", "position.Y", "position.Z"}
    assert {n for n, c in channels.items() if c.pixels.dtype == np.float32} == {"depth.Z", "id.Y", "position.X",
                                                                               "position.Y", "position.Z"}
    assert "premultiplied" in header["comments"] and header["comments"].endswith("made by a test")
    assert "viewing axis" in header["depthConvention"]
    np.testing.assert_allclose(header["chromaticities"][:2], (0.64, 0.33), rtol=1e-6)
    # Row vectors, as the attribute says: a point 5 m ahead of the camera has coordinates (0, 0, 5) there.
    ahead = np.append(CAMERA.position + 5 * CAMERA.to_world[:3, 2], 1)
    np.testing.assert_allclose(ahead @ header["worldToCamera"], (0, 0, 5, 1), atol=1e-5)


def test_beauty_keeps_its_own_alpha(tmp_path):
    beauty = torch.rand(1, 4, 3, 3)
    write_layers(tmp_path / "a.exr", {"beauty": beauty})
    assert torch.equal(read_layers(tmp_path / "a.exr")["beauty"], beauty.half().float())
    assert "dipirCamera" not in read_exr(tmp_path / "a.exr")[1]


def test_half_overflow_is_clamped_with_a_note(tmp_path):
    beauty, depth = torch.ones(1, 3, 2, 2), torch.full((1, 1, 2, 2), 1e6)
    beauty[0, 0, 0, 0], beauty[0, 1, 0, 0], beauty[0, 2, 1, 1] = 1e5, float("inf"), -1e6
    write_layers(tmp_path / "a.exr", {"beauty": beauty, "depth": depth})
    back = read_layers(tmp_path / "a.exr")
    assert back["beauty"][0, :2, 0, 0].tolist() == [65504.0, 65504.0]
    assert back["beauty"][0, 2, 1, 1] == -65504 and torch.equal(back["depth"], depth)
    assert read_exr(tmp_path / "a.exr")[1]["clampedToHalf"] == "clamped to +-65504: beauty: 3 values"


@pytest.mark.parametrize("change, text", [
    ({"beauty": None}, "beauty"), ({"beauty": torch.zeros(1, 1, 4, 6)}, "3 or 4"),
    ({"depth": torch.zeros(4, 6)}, "depth"),
    ({"normal": torch.zeros(1, 3, 5, 6)}, "one size"), ({"alpha": torch.zeros(2, 1, 4, 6)}, "alpha"),
    ({"normal": torch.full((1, 3, 4, 6), float("nan"))}, "NaN in .'normal'"), ({"beauty": torch.zeros(3)}, "beauty")])
def test_bad_layers(tmp_path, change, text):
    layers = {name: tensor for name, tensor in {**_layers(), **change}.items() if tensor is not None}
    with pytest.raises(ImageError, match=text):
        write_layers(tmp_path / "a.exr", layers)
    assert not list(tmp_path.iterdir())
