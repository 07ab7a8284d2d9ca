"""What `dipir relight` writes: files are whole, layers give the result, a cut-out keeps its alpha."""
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.image.color import srgb_to_linear
from dipir.image.editing import EPS
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight import result as relight_result
from dipir.relight.config import RelightConfig
from dipir.relight.method import Engine, Picture, RelightResult, relight
from dipir.settings import read
from dipir.settings.yaml import load_yaml
from tests.support.exr import read_layers
from tests.support.sure_prior import LEFT, quick, sure


def test_files(relit, photo, tmp_path):
    out = relight_result.save(relit, tmp_path / "out")
    assert {p.name for p in out.iterdir()} == {"relit.png", "layers.exr", "layers.psd", "config.yaml", "result.json",
                                               "history.csv", "report.html"}
    layers = read_layers(out / "layers.exr")
    assert set(layers) == {"beauty", "input", "multiply", "divide", "shading"}
    assert float((layers["shading"] - relit.multiply / (relit.divide + EPS)).abs().max()) < 5e-3
    assert json.loads((out / "result.json").read_text())["direction"]["azimuth_deg"] == -90
    assert read.from_dict(RelightConfig, load_yaml(out / "config.yaml")) == quick()
    assert len((out / "history.csv").read_text().splitlines()) == 61
    pixels = torch.from_numpy(np.array(Pillow.open(out / "relit.png"))).permute(2, 0, 1)[None] / 255
    assert float((pixels - relit.image).abs().max()) <= 0.5 / 255 + 1e-6


def test_the_psd_gives_the_result(relit, tmp_path):
    psd_tools = pytest.importorskip("psd_tools")
    out = relight_result.save(relit, tmp_path)
    document = psd_tools.PSDImage.open(out / "layers.psd")
    assert [layer.blend_mode.name.lower() for layer in document] == ["normal", "multiply", "divide"]
    pixels = [torch.from_numpy(np.ascontiguousarray(layer.numpy()[..., :3])).permute(2, 0, 1)[None]
              for layer in document]
    y = (pixels[0] * pixels[1] / pixels[2]).clamp(0, 1)
    assert float((y - relit.image).abs().max()) < 1 / 255


def test_a_cut_out_keeps_its_alpha(photo, wanted, tmp_path):
    alpha = torch.zeros(1, 1, 96, 128)
    alpha[..., 20:70, 30:100] = 1
    made = relight(Picture(photo, alpha=alpha), LEFT, quick(), engine=sure(wanted))
    relight_result.save(made, tmp_path)
    assert np.array_equal(np.asarray(Pillow.open(tmp_path / "relit.png"))[..., 3] / 255, alpha[0, 0].numpy())
    layers = read_layers(tmp_path / "layers.exr")
    for name, image in (("beauty", made.image), ("input", photo)):
        expected = torch.cat([srgb_to_linear(image) * alpha, alpha], 1)
        torch.testing.assert_close(layers[name], expected, atol=1e-3, rtol=0)


def test_a_net_result_saves(photo, tmp_path):
    net = IllumiNet(IllumiNetConfig(planes=PLANES, light=4, channels=(4, 4, 4, 4), embedding=8)).eval()
    made = relight(Picture(photo), LEFT, RelightConfig(engine="net"), engine=Engine(net, Geometry.untrained()))
    assert isinstance(made, RelightResult) and float((made.image - photo).abs().max()) < 1e-5 and made.multiply is None
    relight_result.save(made, tmp_path)
    assert (tmp_path / "layers.psd").stat().st_size > 1000
