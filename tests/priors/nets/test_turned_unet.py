"""The U-Net that turns pictures towards the light: turning and back, vectors, what it gains by it."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.priors.nets.turned_unet import TurnedUNet, octant_of, turned, turned_back, turned_vector

LIGHTS = torch.tensor([[math.cos(a), math.sin(a), 0.3, 0.1] for a in torch.linspace(0.2, 6.2, 13).tolist()])


def _ball(size: int = 16) -> torch.Tensor:
    """(1, 3, S, S) normals of a ball."""
    axis = (torch.arange(size) + 0.5) / size * 2.2 - 1.1
    x, y = axis[None].expand(size, size), -axis[:, None].expand(size, size)
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    return torch.stack([x, y, z])[None] * (z > 0)


def test_turned_light_comes_from_the_right_and_not_steeply():
    vector = turned_vector(LIGHTS[:, :3], octant_of(LIGHTS))
    assert bool((vector[:, 0] >= vector[:, 1]).all()) and bool((vector[:, 1] >= 0).all())
    torch.testing.assert_close(vector.norm(dim=1), LIGHTS[:, :3].norm(dim=1))
    assert torch.equal(vector[:, 2], LIGHTS[:, 2])


def test_turning_back_undoes_turning():
    picture = torch.rand(len(LIGHTS), 2, 8, 8)
    octant = octant_of(LIGHTS)
    assert torch.equal(turned_back(turned(picture, octant), octant), picture)
    assert len({tuple(o[k].item() for o in octant) for k in range(len(LIGHTS))}) == 8


def test_a_turned_ball_is_a_ball():
    """Normals turned as pictures and as vectors: those of the same ball; its cosine with the light turns too."""
    octant, normals = octant_of(LIGHTS), _ball().expand(len(LIGHTS), -1, -1, -1)
    again = turned_vector(turned(normals, octant), octant)
    torch.testing.assert_close(again, normals)
    light = turned_vector(LIGHTS[:, :3], octant)
    cosine = (again * light[:, :, None, None]).sum(1, keepdim=True)
    before = (normals * LIGHTS[:, :3, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(turned_back(cosine, octant), before)


@pytest.mark.parametrize("mirror", [(0,), (1,), (0, 1)])
def test_mirrored_scenes_have_mirrored_answers(mirror):
    """But for what it is told of the turn itself."""
    torch.manual_seed(0)
    net = TurnedUNet(2, (8, 8), embedding=8, fine=8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        net.describe[0].weight[:, 4:7] = 0
    planes, normals, light = torch.rand(3, 2, 16, 16), torch.randn(3, 3, 16, 16), LIGHTS[[1, 4, 9]]
    axes, sign = [-1 - k for k in mirror], torch.tensor([-1.0 if k in mirror else 1.0 for k in (0, 1, 2)])
    one = net(planes, normals, light)
    other = net(planes.flip(axes), normals.flip(axes) * sign[:, None, None],
                light * torch.cat([sign, torch.ones(1)]))
    torch.testing.assert_close(other, one.flip(axes), atol=1e-5, rtol=1e-4)
    assert one.shape == (3, 1, 16, 16) and float(one.detach().std()) > 1e-3


def test_zero_at_first():
    assert not TurnedUNet(2, (8, 8), fine=8)(torch.rand(2, 2, 8, 8), torch.rand(2, 3, 8, 8), LIGHTS[:2]).any()
