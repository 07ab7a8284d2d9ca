"""A U-Net that is told from where light comes. Pictures are mirrored and turned by quarters first, so that the light
always comes from the right and not from above the diagonal: what it learns of one direction it knows of eight."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dipir.priors.nets.picture_unet import PictureUNet

Octant = tuple[Tensor, Tensor, Tensor]
"""(B,) each: mirrored left-right, mirrored up-down, x and y exchanged after that."""


def octant_of(light: Tensor) -> Octant:
    """How pictures must be turned so that the vector (B, 3 or more) of the light has x >= y >= 0."""
    return light[:, 0] < 0, light[:, 1] < 0, light[:, 1].abs() > light[:, 0].abs()


def turned(picture: Tensor, octant: Octant) -> Tensor:
    """(B, C, S, S) -> the same, each picture turned as its octant says."""
    x, y, swap = (o[:, None, None, None] for o in octant)
    picture = torch.where(x, picture.flip(-1), picture)
    picture = torch.where(y, picture.flip(-2), picture)
    return torch.where(swap, picture.transpose(-1, -2).flip(-1, -2), picture)


def turned_back(picture: Tensor, octant: Octant) -> Tensor:
    """Inverse of :func:`turned`."""
    x, y, swap = (o[:, None, None, None] for o in octant)
    picture = torch.where(swap, picture.transpose(-1, -2).flip(-1, -2), picture)
    picture = torch.where(y, picture.flip(-2), picture)
    return torch.where(x, picture.flip(-1), picture)


def turned_vector(vector: Tensor, octant: Octant) -> Tensor:
    """(B, 3, ...) vectors (+x right, +y up, +z towards the camera) -> what they are in the turned picture."""
    x, y, swap = (o.view(-1, *[1] * (vector.dim() - 2)) for o in octant)
    a = torch.where(x, -vector[:, 0], vector[:, 0])
    b = torch.where(y, -vector[:, 1], vector[:, 1])
    return torch.stack([torch.where(swap, b, a), torch.where(swap, a, b), vector[:, 2]], 1)


class TurnedUNet(nn.Module):
    """``net(planes, normals, light)`` -> (B, 1, S, S), zero at first; S a multiple of 2 to the number of levels.

    planes : how many, the normals not counted;  channels : of the levels;  embedding : width of the light's features
    """

    def __init__(self, planes: int, channels: tuple[int, ...], embedding: int = 96, fine: int = 24) -> None:
        super().__init__()
        self.describe = nn.Sequential(nn.Linear(16, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.body = PictureUNet(planes + 3, 1, channels, 1, embedding=embedding, fine=fine)

    def forward(self, planes: Tensor, normals: Tensor, light: Tensor) -> Tensor:
        """planes : (B, planes, S, S);  normals : (B, 3, S, S);  light : (B, 4), ``LightDirection.numbers``."""
        octant = octant_of(light)
        vector = turned_vector(light[:, :3], octant)
        angles = math.pi * vector
        # Which way it was turned is told too: the ground is seldom on the left.
        told = torch.cat([vector, light[:, 3:4], torch.stack(octant, 1).to(vector), angles.sin(), angles.cos(),
                          (2 * angles).sin()], 1)
        inputs = torch.cat([turned(planes, octant), turned_vector(turned(normals, octant), octant)], 1)
        return turned_back(self.body(inputs, self.describe(told)), octant)
