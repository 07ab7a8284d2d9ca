"""The network that guesses surfaces: what it gives, what relighting networks are told, its weights on disk."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion import geometry
from dipir.diffusion.geometry import LAYERS, PLANES, Geometry, lit_planes, surface_of
from dipir.errors import PriorError
from dipir.nets.shading import LayerUNet


def test_surface_of_keeps_small_vectors_and_bounds_large_ones():
    small = torch.full((1, 3, 2, 2), 1e-3)
    large = torch.tensor([0.0, 0.0, 1e4])[None, :, None, None].expand(1, 3, 2, 2)
    shading = torch.full((1, 1, 2, 2), -0.7)
    assert torch.allclose(surface_of((small, shading))[:, :3], small, rtol=1e-5)
    made = surface_of((large, shading))
    assert float(made[:, :3].norm(dim=1).max()) <= 1 and float(made[0, 2].min()) > 0.999
    assert torch.equal(made[:, 3:], shading)


def test_planes_by_hand():
    image, surface = torch.full((1, 3, 4, 4), 0.75), torch.zeros(1, 4, 4, 4)
    surface[:, 2], surface[:, 3] = 1.0, 0.25
    lights = torch.tensor([[0.0, 0.6, 0.8, 0.0], [1.0, 0.0, 0.0, 0.0]])
    planes = lit_planes(image, surface, lights)
    assert planes.shape == (2, PLANES, 4, 4)
    # Picture 0.75 in [-1, 1], normal, shading, cosine.
    assert torch.allclose(planes[0, :, 0, 0], torch.tensor([0.5, 0.5, 0.5, 0.0, 0.0, 1.0, 0.25, 0.8]))
    assert float(planes[1, 7].abs().max()) == 0


def test_an_untrained_one_sees_nothing():
    made = Geometry.untrained()(torch.rand(2, 3, 32, 48))
    assert made.shape == (2, 4, 32, 48) and float(made.abs().max()) == 0


def test_weights_come_back(tmp_path):
    torch.manual_seed(1)
    net = LayerUNet(LAYERS)
    torch.nn.init.normal_(net.decoders[0][2].weight)
    first = Geometry(net)
    digest = first.save(tmp_path / "g.safetensors", {"steps": "0"})
    again = Geometry.load(tmp_path / "g.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert again.hash == digest and float((again(image) - first(image)).abs().max()) < 0.02
    with pytest.raises(PriorError, match="prior train geometry"):
        Geometry.load(tmp_path / "none.safetensors")


def test_the_shipped_one_knows_a_ball():
    """A grey ball lit from the left: normals to the left on its left side, towards the camera in the middle."""
    if not geometry.DEFAULT_PATH.is_file():
        pytest.skip("no weights are shipped yet")
    y, x = torch.meshgrid(torch.linspace(1.4, -1.4, 64), torch.linspace(-1.4, 1.4, 64), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    shade = (0.15 + 0.6 * (-0.8 * x + 0.3 * y + 0.5 * z).clamp_min(0)) ** (1 / 2.2)
    image = torch.where(inside, shade, 0.2).expand(1, 3, 64, 64)
    normal = Geometry.load()(image)[0, :3]
    true = torch.stack([x, y, z])
    cosine = torch.nn.functional.cosine_similarity(normal, true, dim=0)[inside]
    assert float(torch.rad2deg(cosine.clamp(-1, 1).acos()).mean()) < 30
    assert float(normal[0][inside & (x < -0.5)].mean()) < -0.3 < 0.3 < float(normal[0][inside & (x > 0.5)].mean())
