"""dipir: virtual objects in photos, by differentiable rendering guided by a diffusion prior.

Heavy modules (torch, mitsuba, diffusers) are imported on first use of a name.
"""
from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Camera": "dipir.scene.camera",
    "Plate": "dipir.scene.plate",
    "Asset": "dipir.scene.assets.asset",
    "Scene": "dipir.scene.scene",
    "load_scene": "dipir.scene.scene_file",
    "load_asset": "dipir.scene.assets.load",
    "read_plate": "dipir.scene.plate",
    "SphericalGaussians": "dipir.scene.light",
    "Transport": "dipir.render.transport",
    "PathTracer": "dipir.render.path_traced",
    "insert": "dipir.insert",  # The folder itself, which can be called.
    "InsertConfig": "dipir.insert.method",
    "Result": "dipir.insert.result",
    "DipirError": "dipir.errors",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'dipir' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if home.__name__ == f"dipir.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return __all__ + ["__version__"]
