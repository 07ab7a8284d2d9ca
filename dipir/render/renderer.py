"""The renderer seam: a scene and an environment go in, :class:`Passes` come out."""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from dipir.arrays import EnvMap, IdMap, Image, Mask


@dataclass(frozen=True)
class RenderSettings:
    """How finely the path tracer samples."""

    spp: int = 64  # samples per pixel (powers of two share one compiled kernel)
    depth: int = 4  # longest path of the object pass, 1 = direct light only
    seed: int = 0  # primal seed, gradients use another one
    even: bool = False
    """Correlated multi-jittered camera samples (Kensler 2013) whatever their number: half the noise or less."""


@dataclass(frozen=True)
class GBuffers:
    """What the renderer knows exactly, without light. Averages over the object's part of each pixel."""

    alpha: Mask  # (1, 1, H, W) [0, 1] object coverage
    ground: Mask  # (1, 1, H, W) [0, 1] coverage of the proxy (object ignored)
    depth: Mask  # metres along the view axis
    normal: Image  # world, unit or 0
    albedo: Image  # linear base colour
    roughness: Mask  # [0, 1]
    metallic: Mask  # [0, 1]
    position: Image  # world, metres
    object_id: IdMap  # 0 = none, else 1 + index


@dataclass(frozen=True)
class Passes:
    """Linear light, plate white = 1; B images share the G-buffers."""

    object_rgb: Image  # (B, 3, H, W) premultiplied by coverage
    ground_lit: Image  # (B, 3, H, W) white diffuse proxy without the object
    ground_shadowed: Image  # the same with the object casting shadows, itself invisible to the camera
    gbuffers: GBuffers
    sampled: Mask | None = None
    """(1, 1, H, W) bool, where the shadow has samples of its own and so noise, or None = unknown."""

    @property
    def alpha(self) -> Mask:
        """(1, 1, H, W) object coverage."""
        return self.gbuffers.alpha

    @property
    def shadow_ratio(self) -> Image:
        """beta = shadowed / lit, (B, 3, H, W) in [0, 1]; exactly 1 where there is no proxy or no occluder
        (docs/method.md 1.4: beta = PathTrace(X u P, L_shadow, 1) / PathTrace(P, L_shadow, 1))."""
        lit = self.ground_lit > 0
        return torch.where(lit, self.ground_shadowed / torch.where(lit, self.ground_lit, 1.0), 1.0)


class AbstractRenderer(ABC):
    """A scene seen by one camera, ready to be lit. Subclasses are final."""

    gbuffers: GBuffers

    @abstractmethod
    def passes(self, radiance: EnvMap, shadow_radiance: EnvMap | None = None, *, seed: int = 0,
               spp: int | None = None) -> Passes:
        """Light the scene with an environment map (H, W, 3), radiance, plate white = 1; differentiable in torch.

        ``shadow_radiance`` lights the proxy when it is another map than the object's (docs/method.md 1.5)."""
