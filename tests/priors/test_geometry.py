"""The networks that guess surfaces and light: what they give, what relighting networks are told, weights on disk."""
from __future__ import annotations

import pytest
import torch

from dipir.errors import PriorError
from dipir.priors import geometry
from dipir.priors.geometry import PLANES, Geometry, GeometryConfig, GeometryNets, cosine, surface_of
from dipir.scene.direction import LightDirection

SMALL = GeometryConfig(surfaces=(8, 8, 16), light=(8, 8, 16), fine=(8, 8))
LIGHTS = torch.stack([LightDirection(a, e).numbers for a, e in ((90, 10), (-60, 40))])


def random_geometry(seed: int = 1) -> Geometry:
    """Weights that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = GeometryNets(SMALL)
        for parameter in nets.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return Geometry(nets)


def test_surface_of_keeps_small_vectors_and_bounds_large_ones():
    small = torch.full((1, 4, 2, 2), 1e-3)
    large = torch.tensor([0.0, 0.0, 1e4, -0.7])[None, :, None, None].expand(1, 4, 2, 2)
    assert torch.allclose(surface_of(small), small, rtol=1e-5)
    made = surface_of(large)
    assert float(made[:, :3].norm(dim=1).max()) <= 1 and float(made[0, 2].min()) > 0.999
    assert torch.equal(made[:, 3:], large[:, 3:])


def test_cosine_by_hand():
    surface = torch.zeros(2, 4, 4, 4)
    surface[:, 2], surface[:, 3] = 1.0, 0.25
    made = cosine(surface, torch.tensor([[0.0, 0.6, 0.8, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    assert made.shape == (2, 1, 4, 4) and torch.allclose(made[:, 0, 0, 0], torch.tensor([0.8, 0.0]))


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (50, 33)])
def test_an_untrained_one_sees_and_changes_nothing(size):
    made, image = Geometry.untrained(), torch.rand(2, 3, *size)
    surface = made.surface(image)
    assert surface.shape == (2, 4, *size) and float(surface.abs().max()) == 0
    planes = made.planes(image, LIGHTS)
    assert planes.shape == (2, PLANES, *size) and float(planes[:, 6:].abs().max()) == 0
    torch.testing.assert_close(planes[:, :3], image * 2 - 1)
    torch.testing.assert_close(planes[:, 3:6], image * 2 - 1)


def test_planes_by_hand():
    """First guess = picture x 2^gain, then the picture, the surface and its cosine with the light."""
    made, image = random_geometry(), torch.rand(2, 3, 32, 32) * 0.5 + 0.2
    planes = made.planes(image, LIGHTS)
    surface = made.surface(image)
    gain = made.nets.gain(image, surface, LIGHTS)
    assert 0.05 < float(gain.abs().max()) < 3
    torch.testing.assert_close(planes[:, :3], (image * 2**gain).clamp(0, 1) * 2 - 1)
    torch.testing.assert_close(planes[:, 3:6], image * 2 - 1)
    torch.testing.assert_close(planes[:, 6:10], surface)
    torch.testing.assert_close(planes[:, 10:], cosine(surface, LIGHTS))


def test_several_lights_for_one_picture():
    made, image = random_geometry(), torch.rand(2, 3, 24, 40)
    together = made.planes(image, LIGHTS[[0, 1, 1, 0]])
    one_by_one = torch.cat([made.planes(image[k // 2:k // 2 + 1], LIGHTS[[0, 1, 1, 0]][k:k + 1]) for k in range(4)])
    torch.testing.assert_close(together, one_by_one, atol=1e-5, rtol=1e-4)
    assert (together[0, :3] - together[1, :3]).abs().max() > 0.01


def test_weights_come_back(tmp_path):
    first = random_geometry()
    digest = first.save(tmp_path / "g.safetensors", {"steps": "0"})
    again = Geometry.load(tmp_path / "g.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert again.hash == digest and again.nets.config == SMALL
    assert float((again.planes(image, LIGHTS[:1]) - first.planes(image, LIGHTS[:1])).abs().max()) < 0.05
    with pytest.raises(PriorError, match="prior train geometry"):
        Geometry.load(tmp_path / "none.safetensors")


def _ball() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(picture, inside, normals) of a grey ball lit from the left."""
    y, x = torch.meshgrid(torch.linspace(1.4, -1.4, 64), torch.linspace(-1.4, 1.4, 64), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    shade = (0.15 + 0.6 * (-0.8 * x + 0.3 * y + 0.5 * z).clamp_min(0)) ** (1 / 2.2)
    return torch.where(inside, shade, 0.2).expand(1, 3, 64, 64), inside, torch.stack([x, y, z])


@pytest.mark.skipif(not geometry.DEFAULT_PATH.is_file(), reason="no weights are shipped yet")
def test_the_shipped_one_knows_a_ball():
    """Normals to the left on its left side, towards the camera in the middle; lit from the right it is brighter there
    than lit from the left."""
    image, inside, true = _ball()
    shipped = Geometry.load()
    normal = shipped.surface(image)[0, :3]
    angle = torch.nn.functional.cosine_similarity(normal, true, dim=0)[inside].clamp(-1, 1).acos()
    assert float(torch.rad2deg(angle).mean()) < 30
    x = true[0]
    assert float(normal[0][inside & (x < -0.5)].mean()) < -0.3 < 0.3 < float(normal[0][inside & (x > 0.5)].mean())
    lights = torch.stack([LightDirection(a, 15).numbers for a in (-80, 80)])
    lit = shipped.planes(image, lights)[:, :3].mean(1)
    sides = [float(one[inside & (x > 0.3)].mean() - one[inside & (x < -0.3)].mean()) for one in lit]
    assert sides[0] < -0.1 and sides[1] > 0.1
