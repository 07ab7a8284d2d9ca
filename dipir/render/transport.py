"""Light transport recorded once: with geometry, camera and materials fixed the image is linear in the environment.

object_rgb[p, c] = offset[p, c] + sum_j T[p, j, c] L[j, c]         every order of bounce up to the path depth
lit[p]           = sum_j A[p, j] L[j],  shadowed[p] = lit[p] - sum_j B[p, j] L[j]      (B: what the objects block)

over J = H W texels of a piecewise constant environment. Recording: each camera sample shoots one jittered ray into
every texel (exactly one stratum a texel, so a light sharper than a texel keeps its energy) and ``bsdf_samples``
paths that follow the BSDF; a balance heuristic joins the two, so rough and glossy materials are both smooth. The
angular resolution is that of the texels: 180 / H degrees; sharper lights act as if spread over their texel. A sun has a
column of its own: its disc is one more part of the sky, whatever the texels' size.
"""
from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.errors import RenderError
from dipir.image import latlong
from dipir.render.bridge import check_finite
from dipir.render.gbuffer import record_gbuffers
from dipir.render.mitsuba_scene import BuiltScene, build
from dipir.render.renderer import AbstractRenderer, GBuffers, Passes
from dipir.render.transport_record import DiscSky, Recorder, TransportSettings
from dipir.scene.camera import Camera
from dipir.scene.scene import Scene
from dipir.scene.source import Source


@dataclass(frozen=True)
class SourceColumn:
    """What one source adds, per unit of its irradiance on a surface that faces it."""

    source: Source
    """What it was recorded for; its strength does not matter."""
    object_map: Tensor
    """(P, 3), at the pixels of the transport that it belongs to."""
    blocked: Tensor
    """(G,) light that objects take from the ground at ``shadow_pixels``."""
    shadow_pixels: Tensor
    """(G,) flat indices."""
    lit: Tensor
    """(1,) light on the ground plane without objects, else (pixels,)."""

    @staticmethod
    def record(built: BuiltScene, camera: Camera, settings: TransportSettings, source: Source) -> SourceColumn:
        """With the camera samples of :meth:`Transport.record`, so that coverage agrees. Raises RenderError when a value
        is NaN or infinite."""
        sky = DiscSky(source.direction, source.disc_rad)
        # One direction at each later vertex: the disc is so small that more would be the same one.
        recorder = Recorder(built, camera, replace(settings, light_samples=1), sky)
        object_map, _ = recorder.object_map()
        blocked, pixels, lit = recorder.proxy_map()
        per_irradiance = 1 / sky.steradian
        return SourceColumn(source, check_finite("object under the source", object_map[..., 0]) * per_irradiance,
                            check_finite("shadow of the source", blocked[:, 0]) * per_irradiance, pixels,
                            lit.reshape(-1) * per_irradiance)

    def shade(self, pixels: int) -> Tensor:
        """(pixels,) share of the source's own light that objects take from the ground, in [0, 1]."""
        lit = self.lit.expand(pixels)[self.shadow_pixels]
        share = (self.blocked / lit.clamp_min(1e-12)).clamp(0, 1)
        return share.new_zeros(pixels).index_put((self.shadow_pixels,), share)


@final
@dataclass(frozen=True)
class Transport(AbstractRenderer):
    """The recorded map; lighting is one matrix product in torch, exact and free of noise in light and gradient."""

    object_map: Tensor  # (P, 3, J)
    object_pixels: Tensor  # (P,) flat indices of pixels the assets touch
    offset: Tensor  # (P, 3) own emission
    blocked: Tensor  # (G, J)
    shadow_pixels: Tensor  # (G,) flat indices of pixels the shadow touches
    lit_map: Tensor  # (J,) for the ground plane (all its points see the same sky), else (pixels, J)
    gbuffers: GBuffers
    env_height: int
    column: SourceColumn | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the maps."""
        blocked = self.blocked.values() if self.blocked.layout == torch.sparse_csr else self.blocked
        return sum(t.nbytes for t in (self.object_map, blocked, self.lit_map))

    def compact(self, negligible: float = 0.001, dense: int = 0) -> Transport:
        """For relighting many times without gradients: most ground sees an object within few texels, so the shadow map
        is kept as sparse rows in float32, those left out that lose less than ``negligible`` of an even sky. A map of
        up to ``dense`` numbers stays dense."""
        blocked = self.blocked.float()
        kept = blocked.sum(1) > negligible * (self.lit_map.sum() if self.lit_map.ndim == 1
                                              else self.lit_map[self.shadow_pixels].sum(1))
        with warnings.catch_warnings():
            # "in beta state", said at the first of a process; the product used here is an old one.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            rows = blocked[kept] if blocked.numel() <= dense else blocked[kept].to_sparse_csr()
        return replace(self, blocked=rows, shadow_pixels=self.shadow_pixels[kept])

    @staticmethod
    def record(scene: Scene, camera: Camera | None = None, settings: TransportSettings | None = None,
               source: Source | None = None, *, built: BuiltScene | None = None,
               near: Tensor | None = None) -> Transport:
        """Trace the map, and the column of a ``source``. Raises RenderError when a value is NaN or infinite.

        built : ``scene`` loaded already;  near : flat indices, ascending, of the only pixels of a ground plane whose
        shadow is recorded, as of ``proxy_sites.possible``
        """
        settings = settings or TransportSettings()
        camera = camera or scene.camera
        built = built or build(scene)
        gbuffers = record_gbuffers(built, camera, settings.samples, settings.seed)
        recorder = Recorder(built, camera, settings)
        object_map, object_pixels = recorder.object_map()
        blocked, shadow_pixels, lit_map = recorder.proxy_map(near)
        kept = torch.bfloat16 if settings.half else torch.float32
        offset = (_emission(scene, camera, settings, object_pixels) if built.emissive
                  else object_map.new_zeros(len(object_pixels), 3))
        return Transport(check_finite("object transport", object_map).to(kept), object_pixels, offset,
                         check_finite("proxy transport", blocked).to(kept), shadow_pixels, lit_map, gbuffers,
                         settings.env_height,
                         None if source is None else SourceColumn.record(built, camera, settings, source))

    def passes(self, radiance: EnvMap, shadow_radiance: EnvMap | None = None, *, seed: int = 0,
               spp: int | None = None, irradiance: Tensor | None = None) -> Passes:
        """One matrix product; ``seed`` and ``spp`` have no effect. Maps of another size are reduced to the texel
        grid. irradiance : (3,) of the source that was recorded, beside the maps. RenderError when none was."""
        shadow = radiance if shadow_radiance is None else shadow_radiance
        height, width = self.gbuffers.alpha.shape[-2:]
        rgb = self.offset + _product(self.object_map, self._texels(radiance))
        shade = self._texels(shadow)
        lit = self._lit(shade, height * width)
        loss = (self.blocked.to(shade.dtype) @ shade.T if self.blocked.dtype == torch.float32
                else (self.blocked @ shade.T.to(self.blocked.dtype)).float())
        darkening = loss.new_zeros(height * width, 3).index_put((self.shadow_pixels,), loss)
        if irradiance is not None:
            rgb, lit, darkening = self._with_source(irradiance, rgb, lit, darkening)
        object_rgb = rgb.new_zeros(height * width, 3).index_put((self.object_pixels,), rgb)
        images = (flat.T.reshape(1, 3, height, width) for flat in (object_rgb, lit, (lit - darkening).clamp_min(0)))
        return Passes(*images, self.gbuffers)

    def _with_source(self, irradiance: Tensor, rgb: Tensor, lit: Tensor, darkening: Tensor) -> tuple[Tensor, ...]:
        """Object (P, 3), lit and lost light of the ground (pixels, 3), the source's added."""
        if self.column is None:
            raise RenderError("a source's irradiance was given, but its column was not recorded; record the transport "
                              "with the source, or give its light as a part of the map.")
        own = self.column.lit.expand(len(lit))[:, None]
        if self.lit_map.ndim == 1:
            own = own * self.gbuffers.ground.reshape(-1, 1)
        lost = self.column.blocked[:, None] * irradiance
        return (rgb + self.column.object_map * irradiance, lit + own * irradiance,
                darkening.index_add(0, self.column.shadow_pixels, lost))

    def _texels(self, radiance: EnvMap) -> Tensor:
        """(3, J) texel means on this map's grid."""
        if radiance.shape[0] != self.env_height:
            radiance = latlong.resize(radiance, self.env_height, 2 * self.env_height)
        return radiance.reshape(-1, 3).T

    def _lit(self, texels: Tensor, pixels: int) -> Tensor:
        if self.lit_map.ndim == 1:
            return (texels @ self.lit_map)[None].expand(pixels, 3) * self.gbuffers.ground.reshape(-1, 1)
        return self.lit_map @ texels.T


def _product(maps: Tensor, texels: Tensor) -> Tensor:
    """(P, 3, J) x (3, J) -> (P, 3), accumulated in float32."""
    if maps.dtype == torch.float32:
        return torch.stack([maps[:, c] @ texels[c] for c in range(3)], -1)
    return torch.stack([(maps[:, c] @ texels[c].to(maps.dtype)).float() for c in range(3)], -1)


def _emission(scene: Scene, camera: Camera, settings: TransportSettings, pixels: Tensor) -> Tensor:
    """(P, 3) what the object pass shows under a black environment."""
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings

    tracer = PathTracer(scene, camera, RenderSettings(spp=64, depth=settings.depth), gbuffer_samples=1)
    dark = torch.full((settings.env_height, 2 * settings.env_height, 3), 1e-8,
                      device=pixels.device)
    return tracer.object_pass(dark, seed=settings.seed, spp=64)[0][0].reshape(3, -1).T[pixels].contiguous()
