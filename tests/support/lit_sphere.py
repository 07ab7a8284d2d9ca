"""A matt grey sphere rendered by the path tracer, as a cut-out in even light and in any other; its true surfaces."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from dipir.arrays import EnvMap, Image, Mask
from dipir.image.color import linear_to_srgb
from dipir.priors.relit.surfaces import Surfaces
from dipir.relight.method import Picture
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material
from dipir.scene.camera import Camera
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

MATT = Material(base_color=(0.5, 0.5, 0.5), roughness=0.5, specular=0.01)
FEATURES = 8
_EVEN = 0.9


@dataclass(frozen=True)
class LitSphere:
    """One sphere seen by a camera that looks down by 17 degrees and is turned to the left by ``yaw_deg``."""

    yaw_deg: float
    tracer: PathTracer

    @staticmethod
    def seen(yaw_deg: float, size: int = 64) -> LitSphere:
        turned = Camera.looking(size, size, 22.0, 1.3, 17.0, yaw_deg=yaw_deg)
        yaw = math.radians(yaw_deg)
        x, z = 3 * math.sin(yaw), 3 * math.cos(yaw)
        scene = scene_of(placed(simple_asset("sphere", MATT), x=x, z=z), size=size)
        return LitSphere(yaw_deg, PathTracer(replace(scene, camera=turned), None, RenderSettings(256, 1)))

    def light(self, envmap: EnvMap) -> tuple[Image, Mask]:
        """Linear light, not premultiplied, and coverage."""
        rgb, alpha = self.tracer.object_pass(envmap, spp=256)
        return rgb / alpha.clamp_min(1e-3), alpha

    def picture(self) -> Picture:
        """The cut-out in even light."""
        linear, alpha = self.light(torch.full((16, 32, 3), _EVEN))
        return Picture(linear_to_srgb(linear).clamp(0, 1), None, alpha)

    def surfaces(self) -> Surfaces:
        """What a perfect network would see of it."""
        g, axes = self.tracer.gbuffers, torch.from_numpy(self.tracer.camera.to_world[:3, :3]).float()
        turn = torch.diag(torch.tensor([-1.0, 1, -1])) @ axes.T
        normal, inside = torch.einsum("kc,bchw->bkhw", turn, g.normal), (g.alpha > 0.5).float()
        normal = torch.nn.functional.normalize(normal, dim=1) * inside
        flat = torch.zeros_like(inside)
        distance = torch.where(inside > 0, g.depth / g.depth[inside > 0].median(), 1.0).clamp_min(0.1).log2()
        return Surfaces(normal, flat.expand(-1, 3, -1, -1) + 0.5, flat, distance, flat, inside, turn[:, 1][None],
                        flat.expand(-1, FEATURES, -1, -1))
