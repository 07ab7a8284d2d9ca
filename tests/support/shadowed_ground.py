"""Plates of level ground of known material with shadows of known strength, made without a renderer."""
from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from dipir.arrays import Image
from dipir.scene.camera import Camera

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""x, z on the ground (metres) -> a value for each place."""
TILTED = Camera.looking(480, 360, 60.0, 1.6, 16.0, 5.0)


def plain(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Albedo 0.4."""
    return np.full_like(x, 0.4)


def speckled(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Gravel: cells of 8 cm, each as bright as it happens."""
    cells = np.random.default_rng(1).uniform(0.25, 0.55, (256, 256))
    return cells[np.floor(x / 0.08).astype(int) % 256, np.floor(z / 0.08).astype(int) % 256]


def paved(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Slabs of 60 cm that differ a little, with dark joints."""
    slabs = np.random.default_rng(2).uniform(0.36, 0.46, (64, 64))
    albedo = slabs[np.floor(x / 0.6).astype(int) % 64, np.floor(z / 0.6).astype(int) % 64]
    away = np.maximum(np.abs((x / 0.6) % 1 - 0.5), np.abs((z / 0.6) % 1 - 0.5))
    return np.where(away > 0.485, 0.2, albedo)


def long_shadow(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """1 in the shadow of a post 60 cm wide, as it falls from the right behind to the left."""
    along, across = 0.8 * x + 0.6 * (z - 4.0), -0.6 * x + 0.8 * (z - 4.0)
    return ((np.abs(across) < 0.3) & (along > -1.0) & (along < 1.6)).astype(float)


def nowhere(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """0."""
    return np.zeros_like(x)


def ground_plate(albedo: Pattern = plain, shadow: Pattern = nowhere, ratio: tuple[float, ...] = (0.2, 0.24, 0.32),
                 camera: Camera = TILTED, *, colour: tuple[float, ...] = (1.0, 0.92, 0.8),
                 light: Pattern = lambda x, z: np.ones_like(x), noise: float = 0.004) -> Image:
    """(1, 3, H, W) linear: ``albedo`` times ``colour`` under ``light``, times ``ratio`` where ``shadow`` is 1; a grey
    sky. Nine samples a pixel, a lens that blurs by a pixel, noise, and the 256 steps of a photo."""
    fine = camera.resized(camera.width * 3, camera.height * 3)
    rays = fine.directions()
    down = rays[..., 1] < -0.02
    far = np.where(down, -fine.position[1] / np.where(down, rays[..., 1], -1.0), 0.0)
    x, z = far * rays[..., 0], far * rays[..., 2]
    dark = shadow(x, z)[..., None]
    lin = (albedo(x, z) * light(x, z))[..., None] * np.array(colour) * (1 - dark * (1 - np.array(ratio)))
    lin = np.where(down[..., None], lin, 0.6)
    small = cv2.GaussianBlur(cv2.resize(lin, (camera.width, camera.height), interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    shown = small.clip(0, 1) ** (1 / 2.2) + np.random.default_rng(0).normal(size=small.shape) * noise
    photo = (np.round(shown.clip(0, 1) * 255) / 255) ** 2.2
    return torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)[None]
