"""The renderer seam: a scene and an environment go in, :class:`Passes` come out."""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from dipir.arrays import EnvMap, IdMap, Image, Mask


@dataclass(frozen=True)
class RenderSettings:
    """spp : samples per pixel (powers of two share one compiled kernel);  depth : longest path of the object pass,
    1 = direct light only;  seed : primal seed, gradients use another one;  even : correlated multi-jittered camera
    samples (Kensler 2013) whatever their number, which halves the noise or better"""

    spp: int = 64
    depth: int = 4
    seed: int = 0
    even: bool = False


@dataclass(frozen=True)
class GBuffers:
    """What the renderer knows exactly, without light. Averages over the object's part of each pixel.

    alpha : (1, 1, H, W) [0, 1] object coverage;  ground : (1, 1, H, W) [0, 1] coverage of the proxy (object ignored)
    depth : metres along the view axis;  normal : world, unit or 0;  albedo : linear base colour;
    roughness, metallic : [0, 1];  position : world, metres;  object_id : 0 = none, else 1 + index
    """

    alpha: Mask
    ground: Mask
    depth: Mask
    normal: Image
    albedo: Image
    roughness: Mask
    metallic: Mask
    position: Image
    object_id: IdMap


@dataclass(frozen=True)
class Passes:
    """Linear light, plate white = 1; B images share the G-buffers.

    object_rgb : (B, 3, H, W) premultiplied by coverage
    ground_lit : (B, 3, H, W) white diffuse proxy without the object;  ground_shadowed : the same with the object
    casting shadows, itself invisible to the camera
    sampled : (1, 1, H, W) bool, where the shadow has samples of its own and so noise, or None = unknown
    """

    object_rgb: Image
    ground_lit: Image
    ground_shadowed: Image
    gbuffers: GBuffers
    sampled: Mask | None = None

    @property
    def alpha(self) -> Mask:
        """(1, 1, H, W) object coverage."""
        return self.gbuffers.alpha

    @property
    def shadow_ratio(self) -> Image:
        """beta = shadowed / lit, (B, 3, H, W) in [0, 1]; exactly 1 where there is no proxy or no occluder
        (methods 1.4: beta = PathTrace(X u P, L_shadow, 1) / PathTrace(P, L_shadow, 1))."""
        lit = self.ground_lit > 0
        return torch.where(lit, self.ground_shadowed / torch.where(lit, self.ground_lit, 1.0), 1.0)


class AbstractRenderer(ABC):
    """A scene seen by one camera, ready to be lit. Subclasses are final."""

    gbuffers: GBuffers

    @abstractmethod
    def passes(self, radiance: EnvMap, shadow_radiance: EnvMap | None = None, *, seed: int = 0,
               spp: int | None = None) -> Passes:
        """Light the scene with an environment map (H, W, 3), radiance, plate white = 1; differentiable in torch.

        ``shadow_radiance`` lights the proxy when it is another map than the object's (methods 1.5)."""
