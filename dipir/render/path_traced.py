"""The path tracer: Mitsuba 3, multiple importance sampling of light and BSDF, path replay gradients.

Object pass: path replay backpropagation with depth D that shows the objects and nothing behind them. Mitsuba's
``hide_emitters`` hides visible area lights too (an emissive part would vanish) and lets the environment shine through
cut-outs. Here camera rays are first carried through cut-outs to an opaque hit; rays without one stay black and
transparent, the others are traced with every emitter visible. Proxy passes: ``proxy_pass``.
"""
from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import final

import drjit as dr
import torch
from torch import Tensor

from dipir.arrays import EnvMap, split_seed
from dipir.event import between_pieces
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, padded_envmap, to_drjit, to_torch
from dipir.render.gbuffer import PixelBox, record_gbuffers
from dipir.render.mitsuba_scene import BuiltScene, MaterialName, build, material_names, put, sensor_dict, set_values
from dipir.render.proxy_sites import Catcher, ShadowPass, shadow_pass
from dipir.render.rays import MAX_CUTOUTS, opacity
from dipir.render.renderer import AbstractRenderer, Passes, RenderSettings
from dipir.scene.assets.asset import ROUGHNESS_MIN
from dipir.scene.camera import Camera
from dipir.scene.scene import Scene

_WAVEFRONT = 2**25  # Samples in flight: about 2 GiB with the principled BSDF; larger renders go in passes.


@final
class PathTracer(AbstractRenderer):
    """A scene seen by one camera. Load once, light often (Mitsuba leaks memory when scenes are loaded in a loop)."""

    def __init__(self, scene: Scene, camera: Camera | None = None, settings: RenderSettings | None = None,
                 gbuffer_samples: int = 16, region: PixelBox | None = None, built: BuiltScene | None = None):
        """region : the rectangle in which objects are looked for, if not the one that they can reach (each size of it
        compiles a kernel of its own, which counts where many scenes are rendered);  built : the scene as it is loaded
        already, with the objects where ``scene`` has them"""
        self.camera = camera or scene.camera
        self.settings = settings or RenderSettings()
        self.built = built or build(scene)
        put(self.built)
        mi = mitsuba()
        self._integrator = object_integrator(self.settings.depth, self.built.masked)
        self.region = region or PixelBox.of_objects(self.built, self.camera)
        self._sensor = mi.load_dict(sensor_dict(self.region.camera(self.camera), self.settings.spp, self.settings.even))
        self._params = self.built.params
        self._starts: dict[str, Tensor] = {}
        self._ground: Catcher | None = None
        self.gbuffers = record_gbuffers(self.built, self.camera, gbuffer_samples, region=self.region)

    def material_names(self) -> list[MaterialName]:
        """Differentiable material values of all parts."""
        return material_names(self._params)

    def part_keys(self) -> dict[str, str]:
        """Part name -> ``MaterialName.part``."""
        return {part.name: key for key, (_, part) in zip(self.built.keys, self.built.parts, strict=True)}

    def material_start(self, name: MaterialName) -> Tensor:
        """Value as the asset had it."""
        if name.key not in self._starts:
            self._starts[name.key] = to_torch(self._params[name.key])
        return self._starts[name.key]

    def material_value(self, name: MaterialName, change: Tensor) -> Tensor:
        """The asset's value under a change: colours and emission times it, roughness and metallic plus it (a texture
        keeps its pattern), within what the BSDF accepts."""
        start = self.material_start(name)
        if name.kind in ("base_color", "emission"):
            return start * change if name.kind == "emission" else (start * change).clamp(0, 1)
        return (start + change).clamp(ROUGHNESS_MIN if name.kind == "roughness" else 0.0, 1)

    def passes(self, radiance: EnvMap, shadow_radiance: EnvMap | None = None, *, seed: int = 0, spp: int | None = None,
               object_spp: int | None = None, materials: Mapping[str, Tensor] | None = None) -> Passes:
        """Light the scene; differentiable in both maps and in ``materials`` (``MaterialName.key`` ->
        tensor). object_spp : samples of the object pass, if not ``spp`` as well. Raises RenderError when a pass has NaN
        or infinite values."""
        spp = spp or self.settings.spp
        rgb, alpha = self.object_pass(radiance, seed=seed, spp=object_spp or spp, materials=materials)
        shadow = self.shadow_pass(radiance if shadow_radiance is None else shadow_radiance, seed=seed, spp=spp)
        return Passes(rgb, shadow.lit, shadow.shadowed, replace(self.gbuffers, alpha=alpha), shadow.sampled)

    def object_pass(self, radiance: EnvMap, *, seed: int = 0, spp: int = 64,
                    materials: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Premultiplied object colour (1, 3, H, W) and the coverage (1, 1, H, W) of the very same camera samples (a
        coverage from other samples would leave a fringe); the coverage carries no gradient."""
        put(self.built)
        names = tuple(materials or {})
        tensors = [padded_envmap(radiance), *(materials[n] for n in names)]
        image = self.region.paste(check_finite("object pass", _ObjectPass.apply(self, names, seed, spp, *tensors)))
        return image[:, :3], image[:, 3:].detach()

    def proxy_passes(self, radiance: EnvMap, *, seed: int = 0, spp: int = 64) -> tuple[Tensor, Tensor]:
        """(lit, shadowed), each (1, 3, H, W): white diffuse proxy without and with the objects, direct light."""
        shadow = self.shadow_pass(radiance, seed=seed, spp=spp)
        return shadow.lit, shadow.shadowed

    def shadow_pass(self, radiance: EnvMap, *, seed: int = 0, spp: int = 64) -> ShadowPass:
        """As :meth:`proxy_passes`, and where it was sampled."""
        put(self.built)
        if self._ground is None:
            self._ground = Catcher.of(self.built, self.camera, self.gbuffers.ground)
        return shadow_pass(self.built, self.camera, self._ground, radiance, seed=seed, spp=spp)

    # -------------------------------------------------- Dr.Jit side --------------------------------------------------

    def set_values(self, names: tuple[str, ...], arrays) -> None:
        """Write Dr.Jit tensors into the scene's parameters (shape of a plain value kept)."""
        set_values(self._params, names, arrays)

    def render_object(self, seed: int, spp: int):
        """Primal render of the region, in passes of at most _WAVEFRONT samples; TensorXf (height, width, 4)."""
        mi = mitsuba()
        parts = _chunks(spp, self.region.width * self.region.height)
        total = 0
        for k, part in enumerate(parts):
            image = mi.render(self.built.objects, integrator=self._integrator, sensor=self._sensor, spp=part,
                              seed=split_seed(seed, "object", k))
            dr.eval(image)
            total = total + image * (part / spp)
            between_pieces()
        return total

    def object_gradient(self, names: tuple[str, ...], tensors, grad: Tensor, seed: int, spp: int) -> list[Tensor]:
        """Path replay backpropagation of the region's image gradient (height, width, 3) to the named parameters; its
        random numbers differ from the primal ones (equal ones would bias the gradient)."""
        mi = mitsuba()
        full = to_drjit(torch.cat([grad, torch.zeros_like(grad[..., :1])], -1))
        total = [torch.zeros_like(t) for t in tensors]
        for k, part in enumerate(_chunks(spp, self.region.width * self.region.height)):
            leaves = self.attach(names, tensors)
            image = mi.render(self.built.objects, self._params, integrator=self._integrator, sensor=self._sensor,
                              spp=part, seed=split_seed(seed, "object", k),
                              seed_grad=split_seed(seed, "object gradient", k))
            dr.backward(dr.sum(image.array * full.array) * (part / spp))
            for sum_, leaf in zip(total, leaves, strict=True):
                sum_ += to_torch(dr.grad(leaf)).reshape(sum_.shape)
        self.set_values(names, [to_drjit(t) for t in tensors])
        return total

    def attach(self, names: tuple[str, ...], tensors) -> list:
        """Leaves with gradients enabled, written into the scene (the environment derives its halo columns from
        them)."""
        arrays = [to_drjit(t) for t in tensors]
        for array in arrays:
            dr.enable_grad(array)
        self.set_values(names, arrays)
        return arrays


def _chunks(spp: int, pixels: int) -> list[int]:
    """Split spp so that each pass stays below the wavefront limit; equal powers of two share a kernel."""
    most = max(1, _WAVEFRONT // max(pixels, 1))
    if spp <= most:
        return [spp]
    size = 1 << (most.bit_length() - 1)
    return [size] * (spp // size) + ([spp % size] if spp % size else [])


class _ObjectPass(torch.autograd.Function):
    """Environment and material tensors in, image out; gradients by path replay."""

    @staticmethod
    def forward(ctx, tracer: PathTracer, names, seed: int, spp: int, *tensors):
        ctx.tracer, ctx.names, ctx.seed, ctx.spp = tracer, ("environment.data", *names), seed, spp
        ctx.save_for_backward(*tensors)
        tracer.set_values(ctx.names, [to_drjit(t) for t in tensors])
        return to_torch(tracer.render_object(seed, spp)).permute(2, 0, 1)[None].contiguous()

    @staticmethod
    def backward(ctx, grad):
        tensors = ctx.saved_tensors
        image_grad = grad[0, :3].permute(1, 2, 0).contiguous()
        grads = ctx.tracer.object_gradient(ctx.names, tensors, image_grad, ctx.seed, ctx.spp)
        return (None, None, None, None, *(g.reshape(t.shape) for g, t in zip(grads, tensors, strict=True)))


# ---- the object pass's integrator ------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=1)
def _register() -> str:
    """Define and register the plugin; its base class exists only once a variant is set."""
    mi = mitsuba()
    from mitsuba.ad.integrators.prb import PRBIntegrator

    class ObjectPath(PRBIntegrator):
        """Properties: those of ``prb``, and ``masked`` (some material has cut-outs)."""

        def __init__(self, props):
            super().__init__(props)
            self.masked = props.get("masked", False)

        def sample(self, mode, scene, sampler, ray, *, active, **kwargs):
            ray, hit = _to_opaque(scene, sampler, mi.Ray3f(ray), mi.Bool(active), self.masked)
            L, valid, aovs, state = super().sample(mode, scene, sampler, ray, active=hit, **kwargs)
            return L, valid & hit, aovs, state

    mi.register_integrator("dipir_object_path", lambda props: ObjectPath(props))
    return "dipir_object_path"


def _to_opaque(scene, sampler, ray, active, masked: bool):
    """(ray, hit): the ray moved past cut-outs, each passed with probability 1 - opacity; whether it meets a surface.
    Both phases of path replay call this with the same random numbers."""
    if not masked:
        return ray, active & scene.ray_test(ray, active)
    searching, hit = active, active & False
    for _ in range(MAX_CUTOUTS):
        si = scene.ray_intersect(ray, searching)
        searching &= si.is_valid()
        solid = dr.detach(opacity(si)) > sampler.next_1d()
        hit |= searching & solid
        searching &= ~solid
        ray = dr.select(searching, si.spawn_ray(ray.d), ray)
    return ray, hit


def object_integrator(depth: int, masked: bool):
    """The integrator of the object pass; depth 1 = direct light only."""
    return mitsuba().load_dict({"type": _register(), "max_depth": depth + 1, "rr_depth": 64, "hide_emitters": False,
                                "masked": masked})
