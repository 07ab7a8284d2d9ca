"""Shadows on guessed depth: which parts of a picture something in the picture keeps a light from.

Rays go from every pixel towards the light, over the depth map, and ask whether they pass behind what is seen there
(screen-space ray marching; McGuire and Mara, JCGT 3(4), 2014, without their pixel-exact steps).
"""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

STEPS = 40
FOV_DEG = 45.0
"""Of the longer side, where nobody said it."""
_NEAREST, _FARTHEST = 0.015, 1.5  # of the rays' samples, in median distances
_THICK = 0.1  # how far behind what is seen a thing still is in the way, as a part of its distance
_SURE = 0.04  # what depths may be wrong by before something is in the way
_SOFT = 0.06


def in_camera(light: Tensor, up: Tensor) -> Tensor:
    """(B, 3) vectors towards lights (B, 3 or more; +x the picture's right, +y the vertical, +z towards the camera) in
    the frame of the camera, in which the vertical is ``up`` (B, 3)."""
    axis = up.new_tensor([0.0, 0.0, 1.0]).expand_as(up)
    towards = functional.normalize(axis - (axis * up).sum(1, keepdim=True) * up, dim=1)
    right = torch.linalg.cross(up, towards)
    return light[:, :1] * right + light[:, 1:2] * up + light[:, 2:3] * towards


def positions(depth: Tensor, fov_deg: float = FOV_DEG) -> Tensor:
    """(B, 3, H, W) points, median distances; +x right, +y the picture's top, +z towards the camera, which is at 0.
    depth : (B, 1, H, W) stops about the median."""
    distance = torch.exp2(depth)
    focal = 0.5 * max(depth.shape[2:]) / math.tan(math.radians(fov_deg) / 2)
    height, width = depth.shape[2:]
    across = (torch.arange(width, device=depth.device) + 0.5 - width / 2) / focal
    upward = (height / 2 - torch.arange(height, device=depth.device) - 0.5) / focal
    rays = torch.stack([across.expand(height, width), upward[:, None].expand(height, width),
                        -torch.ones_like(depth[0, 0])])
    return rays * distance


def visibility(depth: Tensor, normal: Tensor, light: Tensor, size: Tensor, solid: Tensor | None = None, *,
               fov_deg: float = FOV_DEG, steps: int = STEPS) -> Tensor:
    """(B, 1, H, W) [0, 1] how much of a light reaches each pixel past what the picture shows.
    depth : (B, 1, H, W) stops about the median;  normal : (B, 3, H, W) camera frame
    light : (B, 3) unit vector, camera frame;  size : (B,) half width, radians: the farther off what is in the way, the
    softer its edge;  solid : (B, 1, H, W), 0 = sky, which is never in the way"""
    size_before = depth.shape[2:]
    if min(size_before) >= 64:
        # At half the size: the rays' steps are twice as fine in pixels, and shadows are soft anyway.
        depth, normal, solid = (None if x is None else functional.avg_pool2d(x, 2, ceil_mode=True)
                                for x in (depth, normal, solid))
    height, width = depth.shape[2:]
    focal = 0.5 * max(height, width) / math.tan(math.radians(fov_deg) / 2)
    point = positions(depth, fov_deg)
    start = point + normal * (0.01 * torch.exp2(depth))
    scene = torch.exp2(depth) if solid is None else torch.where(solid > 0.5, torch.exp2(depth), 64.0)
    free = torch.ones_like(depth)
    ratio = (_FARTHEST / _NEAREST) ** (1 / (steps - 1))
    reach = torch.exp2(depth)
    for k in range(steps):
        t = _NEAREST * ratio**k
        here = start + light[:, :, None, None] * (t * reach)
        ahead = (-here[:, 2:]).clamp_min(1e-3)
        x = (here[:, :1] / ahead * focal + width / 2) / width * 2 - 1
        y = (height / 2 - here[:, 1:2] / ahead * focal) / height * 2 - 1
        seen = functional.grid_sample(scene, torch.cat([x, y], 1).permute(0, 2, 3, 1), align_corners=False,
                                      padding_mode="border")
        behind = (ahead - seen) / ahead
        soft = _SOFT + t * size[:, None, None, None]
        inside = ((x.abs() < 1) & (y.abs() < 1) & (here[:, 2:] < 0)).float()
        blocked = ((behind - _SURE) / soft).clamp(0, 1) * ((_THICK + soft - behind) / _SOFT).clamp(0, 1) * inside
        free = torch.minimum(free, 1 - blocked)
    return free if free.shape[2:] == size_before else functional.interpolate(free, size_before, mode="bilinear")
