"""Projects and camera parameters of fSpy, of known cameras."""
from __future__ import annotations

import json
import struct

import numpy as np

# fSpy's world, Z up.
PLACE, TARGET = np.array([4.0, -7.0, 2.5]), np.array([0.5, 0.3, 0.8])


def parameters(width=800, height=600, focal=1.9, centre=(0.05, -0.03), up=(0.0, 0, 1), place=PLACE, target=TARGET):
    """What fSpy would say of that camera; ``focal`` and ``centre`` in halves of the longer side, +Y up."""
    back = place - target
    back = back / np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(back, right), back], 1), place
    return {"principalPoint": {"x": centre[0], "y": centre[1]}, "relativeFocalLength": focal,
            "viewTransform": {"rows": np.linalg.inv(pose).tolist()}, "cameraTransform": {"rows": pose.tolist()},
            "horizontalFieldOfView": 2 * np.arctan(1 / focal),  # Also where the picture is higher than wide.
            "verticalFieldOfView": 2 * np.arctan(height / width / focal),
            "vanishingPoints": [{"x": 1, "y": 0}] * 3, "vanishingPointAxes": ["xNegative", "yPositive", "zPositive"],
            "imageWidth": width, "imageHeight": height}


def project(path, p, unit="Meters", axis="xPositive", version=1, picture=b"\x89PNG no picture", magic=b"fspy"):
    state = json.dumps({"globalSettings": {}, "cameraParameters": p, "calibrationSettingsBase": {
        "referenceDistanceUnit": unit, "referenceDistance": 4, "referenceDistanceAxis": axis,
        "firstVanishingPointAxis": "xNegative", "secondVanishingPointAxis": "yPositive"}}).encode()
    path.write_bytes(struct.pack("<4sIII", magic, version, len(state), len(picture)) + state + picture)
    return path
