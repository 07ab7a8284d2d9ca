"""A described scene (see :mod:`dipir.workshop.worlds.tracer`) loaded once, lit again and again, seen along any rays."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.errors import RenderError
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, flags, to_drjit, to_torch
from dipir.workshop.worlds.denoise import Hits
from dipir.workshop.worlds.tracer import build_scene

BLACK = 1e-6
"""Radiance or irradiance of what is switched off; an emitter of exactly 0 cannot be sampled."""


class DescribedWorld:
    """The geometry stays, the light changes: :meth:`relight`, then :meth:`radiance` along any rays. What is seen along
    rays comes out on their device."""

    def __init__(self, scene: Mapping[str, Any]) -> None:
        """``scene`` as described in worlds/tracer.py; every part that emits can be dimmed by its ``name``."""
        self.mi = mitsuba()
        self.scene = scene
        self.world = build_scene(scene)
        self.params = self.mi.traverse(self.world)
        self.emitting = {part["name"]: f"part{index}" for index, part in enumerate(scene["parts"])
                         if part.get("radiance") is not None}

    def relight(self, gains: Mapping[str, Any] | None = None, sky: np.ndarray | None = None,
                sun: Mapping[str, Any] | None = None) -> None:
        """New light. gains : part name -> factor, a number or (3,), of its radiance in the description (others 1)
        sky : (h, w, 3) in place of the scene's, of its size;  sun : as in the description, None switches it off.
        RenderError when the scene was loaded without the emitter."""
        mi, gains = self.mi, gains or {}
        for name, part in self.emitting.items():
            key = next(k for k in self.params.keys() if k.startswith(f"{part}.emitter.radiance"))
            described = next(p for p in self.scene["parts"] if p["name"] == name)["radiance"]
            value = np.maximum(np.asarray(described, float) * gains.get(name, 1.0), BLACK)
            self.params[key] = mi.Color3f(*map(float, value))
        if sky is not None:
            if "sky.data" not in self.params:
                raise RenderError("relight: a sky was given, but the scene was loaded without one")
            data = np.maximum(np.concatenate([sky[:, -1:], sky, sky[:, :1]], 1), BLACK).astype(np.float32)
            if tuple(self.params["sky.data"].shape[:2]) != data.shape[:2]:
                raise RenderError(f"relight: the scene was loaded with a sky of another size than {sky.shape[:2]}")
            self.params["sky.data"] = mi.TensorXf(data)
        if "sun.irradiance.value" in self.params:
            strength = np.maximum(np.asarray(sun["irradiance"], float), BLACK) if sun is not None else np.full(3, BLACK)
            self.params["sun.irradiance.value"] = mi.Color3f(*map(float, strength))
            if sun is not None:
                towards = mi.Vector3f(*(-float(value) for value in sun["direction"]))
                self.params["sun.to_world"] = mi.Transform4f().to_frame(mi.Frame3f(towards))
        elif sun is not None:
            raise RenderError("relight: a sun was given, but the scene was loaded without one")
        self.params.update()

    def _ray(self, origins: Tensor, directions: Tensor) -> Any:
        return self.mi.Ray3f(self.mi.Point3f(to_drjit(origins.T)), self.mi.Vector3f(to_drjit(directions.T)))

    def radiance(self, origins: Tensor, directions: Tensor, depth: int = 4, seed: int = 0) -> Tensor:
        """One path along each ray: (N, 3), (N, 3) -> (N, 3) radiance, not averaged. RenderError when not finite."""
        import drjit as dr

        integrator = self.mi.load_dict({"type": "path", "max_depth": int(depth), "rr_depth": 1000})
        sampler = self.mi.load_dict({"type": "independent"})
        sampler.seed(int(seed), len(origins))
        color, _, _ = integrator.sample(self.world, sampler, self.mi.RayDifferential3f(self._ray(origins, directions)))
        dr.eval(color)
        out = columns(color, 3).to(origins.device)
        if not torch.isfinite(out).all():
            raise RenderError("a described scene gave radiance that is not finite; check textures, radiance and "
                              "vertices of the scene")
        return out

    def first_hits(self, origins: Tensor, directions: Tensor) -> Hits:
        """What the rays meet first."""
        import drjit as dr

        hit = self.world.ray_intersect(self._ray(origins, directions))
        valid = hit.is_valid()
        light = (hit.emitter(self.world) != None) | ~valid  # noqa: E711  # compares Dr.Jit pointers per lane
        albedo = dr.select(valid, hit.bsdf().eval_diffuse_reflectance(hit, valid), 0)
        normal, point, t = dr.select(valid, hit.n, 0), dr.select(valid, hit.p, 0), dr.select(valid, hit.t, dr.inf)
        dr.eval(light, albedo, normal, point, t)
        hits = Hits(to_torch(t), columns(point, 3), columns(normal, 3), columns(albedo, 3), flags(light) > 0)
        return device.moved(hits, origins.device)

    def blocked(self, origins: Tensor, directions: Tensor) -> Tensor:
        """(N,) bool: the rays meet something."""
        return (flags(self.world.ray_test(self._ray(origins, directions))) > 0).to(origins.device)
