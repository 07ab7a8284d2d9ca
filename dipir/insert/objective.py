"""The unknowns of an insertion and the objective that moves them: light, tone, materials, emission."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image, split_seed
from dipir.device import moved
from dipir.errors import SceneError, nearest, printable
from dipir.event import Remark, warn
from dipir.fit.parameters import Bounded, Exponential, Parameters, UnitSphere
from dipir.guidance.guidance import Guidance
from dipir.guidance.light_priors import cauchy_sparsity, consistency_loss
from dipir.image import latlong
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.problem import Work, composite
from dipir.priors.plate_light import PlateLight
from dipir.render.mitsuba_scene import MaterialName, vertex_colors
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes
from dipir.scene.light import SphericalGaussians, fit_gaussians, fuse, fusion_weight
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene
from dipir.scene.source import SUN_SIGMA, Source


def make_parameters(config: InsertConfig, start: SphericalGaussians, tracer: PathTracer | None,
                    light: PlateLight | None = None) -> Parameters:
    """All unknowns by name; what ``config.optimize`` leaves out has rate 0. ``light`` : of the plate, whose source, if
    it has one, stands beside the spherical Gaussians ``start``."""
    p, where = Parameters(), start.mu.device
    names = material_parameters(config, tracer)
    materials = {name: tracer.material_start(name) for name in names}
    wanted = set(config.optimize)
    rates = config.light if "light" in wanted else replace(config.light, rate=0.0, axis_rate=0.0, source_rate=0.0)
    for prefix in ("light", "shadow") if config.light.two_maps else ("light",):
        p.add(f"{prefix}.axis", start.mu, rate=rates.axis_rate, transform=UnitSphere())
        p.add(f"{prefix}.log_amplitude", start.log_amplitude, rate=rates.rate)
        p.add(f"{prefix}.raw_width", start.raw_width, rate=rates.rate)
    if light is not None and light.source is not None:
        _add_source(p, light, rates.source_rate)
    rate = config.tone.rate if "tone" in wanted else 0.0
    for curve in ("tone_fg", "tone_shadow"):
        channels = 3 if config.tone.per_channel else 1
        begun = moved(ToneCurve.contrast(config.tone.contrast if curve == "tone_fg" else 0.0, config.tone.bins,
                                         channels), where)
        for name, value in begun.parameters().items():
            p.add(f"{curve}.{name}", value, rate=rate)
    rate = config.material.rate
    for name, value in materials.items():
        if name.kind == "emission":
            p.add(f"emission.{name.key}", value.new_ones(1), rate=rate, transform=Exponential())
        elif name.kind == "base_color":
            p.add(f"material.{name.key}", value.new_ones(3), rate=rate, transform=Bounded(0.0, 2.0))
        else:
            p.add(f"material.{name.key}", value.new_zeros(1), rate=rate, transform=Bounded(-1.0, 1.0))
    return p


def _add_source(p: Parameters, light: PlateLight, rate: float) -> None:
    """What moves of a source, its logarithmic irradiance, and what stays: direction, size, and the share of the
    ground's light that the plate's own shadows leave it."""
    source = light.source
    p.add("source.log_irradiance", source.irradiance.clamp_min(1e-6).log(), rate=rate)
    p.add("source.direction", source.direction, rate=0.0)
    p.add("source.sigma", source.direction.new_tensor(source.sigma), rate=0.0)
    if light.shade is not None:
        p.add("source.share", source.direction.new_tensor(light.shade.share), rate=0.0)
        p.add("source.up", source.direction.new_tensor([0.0, 1.0, 0.0]) if light.up is None else light.up, rate=0.0)


def source_of(p: Parameters, sigma: float, rest: EnvMap) -> Source | None:
    """The current source of width ``sigma``, if there is one. Where the plate's own shadows say how dark a shadow is,
    guidance moves its colour, and its strength follows the ``rest`` of the light (H, W, 3)."""
    if "source.log_irradiance" not in p:
        return None
    source = Source(p["source.direction"], p["source.log_irradiance"].exp(), sigma)
    if "source.share" in p:
        source = source.with_ground_share(rest, p["source.share"], p["source.up"])
    return source


def material_parameters(config: InsertConfig, tracer: PathTracer | None) -> list[MaterialName]:
    """The material values to fit. SceneError for a part that does not exist, or nothing that emits."""
    if tracer is None:
        return []
    keys = tracer.part_keys()
    if config.material.part and config.material.part not in keys:
        raise SceneError(f"material.part '{config.material.part}': the scene's parts are {', '.join(keys)}."
                         f"{nearest(config.material.part, keys)}")
    part = keys[config.material.part] if config.material.part else None
    names = [n for n in tracer.material_names() if part in (None, n.part)]
    emission = [n for n in names if n.kind == "emission"]
    if "emission" in config.optimize and not emission:
        raise SceneError("optimize: emission was asked for, but no part emits; set a part's emission in the scene file "
                         "(objects[..].material: {part: {emission: [r, g, b]}}) to start from.")
    kept = [n for n in names if n.kind != "emission"] if "material" in config.optimize else []
    return kept + (emission if "emission" in config.optimize else [])


def unfitted(scene: Scene, config: InsertConfig) -> list[Remark]:
    """Remarks on what a fit of materials leaves as it is although it was asked for: colours of vertices."""
    if "material" not in config.optimize or config.guidance.kind == "none" or config.fit.steps == 0:
        return []
    names = dict.fromkeys(part.name for item in scene.objects for part in item.asset.parts
                          if vertex_colors(part) is not None and config.material.part in ("", part.name))
    return [warn(f"optimize: material: the base colour of part '{printable(name, 200)}' is not fitted, because it has "
                 "a colour for each vertex; its roughness and metallic are. For one fitted colour give the part a "
                 "base_color in the scene file (objects[..].material).") for name in names]


def material_values(p: Parameters, tracer: PathTracer) -> dict[str, Tensor]:
    """``MaterialName.key`` -> tensor, from the fitted tints, offsets and gains."""
    names = {name.key: name for name in tracer.material_names()}
    fitted = {label.partition(".")[2]: label for label in p if label.startswith(("emission.", "material."))}
    return {key: tracer.material_value(names[key], p[label]) for key, label in fitted.items()}


def light_of(p: Parameters, prefix: str = "light") -> SphericalGaussians:
    """The current mixture."""
    return SphericalGaussians.from_parameters({n: p[n] for n in p if n.startswith(prefix + ".")}, prefix)


def tone_of(p: Parameters, curve: str) -> ToneCurve:
    """The current curve ``tone_fg`` or ``tone_shadow``."""
    return ToneCurve(**{n.partition(".")[2]: p[n] for n in p if n.startswith(curve + ".")})


def maps_of(p: Parameters, config: InsertConfig, progress: float, height: int = 16) -> tuple[EnvMap, EnvMap]:
    """(object's, shadow's) map of all but the source; with two maps the object's is fused by the schedule
    (docs/method.md 1.5)."""
    foreground = light_of(p).envmap(height, 2 * height)
    if not config.light.two_maps:
        return foreground, foreground
    shadow = light_of(p, "shadow").envmap(height, 2 * height)
    return fuse(foreground, shadow, fusion_weight(config.light.fusion, progress, foreground, shadow)), shadow


def final_tones(p: Parameters) -> tuple[ToneCurve, ToneCurve]:
    """(of the object, of the shadow), without gradient."""
    return tone_of(p, "tone_fg").detach(), tone_of(p, "tone_shadow").detach()


def frozen_materials(p: Parameters, tracer: PathTracer | None) -> dict[str, Tensor]:
    """The fitted material values, without gradient; empty when none were fitted."""
    if tracer is None:
        return {}
    with torch.no_grad():
        return {name: value.clone() for name, value in material_values(p, tracer).items()}


def final_light(p: Parameters, config: InsertConfig) -> Rig:
    """The light for everything that comes after: the fitted mixture, or one fitted to the fused map, and the source."""
    with torch.no_grad():
        fused = maps_of(p, config, 1.0, 32)[0] if config.light.two_maps else None
    light = light_of(p).detach() if fused is None else fit_gaussians(fused, config.light.lobes)
    with torch.no_grad():
        source = source_of(p, float(p["source.sigma"]), light.envmap(16, 32)) if "source.sigma" in p else None
        return Rig.of(light, source)


@dataclass(frozen=True)
class Objective:
    """``objective(step)`` for fit.minimise: distance or score of the current composite, plus the regularisers."""

    work: Work
    config: InsertConfig
    parameters: Parameters
    guidance: Guidance

    def __call__(self, step: int) -> tuple[Tensor, Mapping[str, float], Callable[[], Mapping[str, Image]]]:
        config, p = self.config, self.parameters
        progress = step / max(config.fit.steps - 1, 1)
        object_map, shadow_map = maps_of(p, config, progress, config.transport.env_height)
        source = source_of(p, self._sigma, object_map)
        passes = self._passes(object_map, shadow_map, source, step)
        image = composite(self.work, passes, tone_of(p, "tone_fg"), tone_of(p, "tone_shadow"))
        pull, numbers = self.guidance.pull(image, progress, step)
        terms = {"guidance": pull, **self._regularisers(object_map, shadow_map, source)}
        total = sum(terms.values())
        # Read by the loop, all at once: each number read by itself would make a GPU wait.
        logged = {**{k: v.detach() for k, v in terms.items()}, **numbers}
        return total, logged, lambda: {"composite": image.detach().clamp(0, 1).cpu()}

    @property
    def _sigma(self) -> float:
        return self.work.light.source.sigma if self.work.light.source else SUN_SIGMA

    def _passes(self, object_map: EnvMap, shadow_map: EnvMap, source: Source | None, step: int) -> Passes:
        passes = self.work.transport.passes(object_map, shadow_map, irradiance=source and source.irradiance)
        if self.work.tracer is None:
            return passes
        if source is not None:
            object_map = with_source(object_map, source)
        seed = split_seed(self.config.seed, "material", step)
        rgb, alpha = self.work.tracer.object_pass(object_map, seed=seed, spp=self.config.material.spp,
                                             materials=material_values(self.parameters, self.work.tracer))
        return replace(passes, object_rgb=rgb, gbuffers=replace(passes.gbuffers, alpha=alpha))

    def _regularisers(self, object_map: EnvMap, shadow_map: EnvMap, source: Source | None) -> dict[str, Tensor]:
        config, p = self.config, self.parameters
        terms = {}
        if config.light.anchor > 0 and "light" in config.optimize:
            distance = log_distance(object_map, self.work.start)
            if source is not None:
                begun = self.work.light.source.irradiance.clamp_min(1e-6)
                distance = distance + (source.irradiance.clamp_min(1e-6) / begun).log().abs().mean()
            terms["anchor"] = config.light.anchor * distance
        if config.light.two_maps:
            terms["consistency"] = config.light.consistency * consistency_loss(object_map, shadow_map)
            terms["sparsity"] = config.light.sparsity * cauchy_sparsity(shadow_map)
        if "tone" in config.optimize and config.tone.stiffness > 0:
            terms["tone"] = config.tone.stiffness * sum(p[n].square().sum() for n in p if n.startswith("tone_"))
        return terms


def with_source(radiance: EnvMap, source: Source, height: int = 256) -> EnvMap:
    """(height, 2 height, 3): a map of fewer rows, each texel repeated, and the source in it."""
    times = max(1, height // radiance.shape[0])
    return (radiance.repeat_interleave(times, 0).repeat_interleave(times, 1)
            + source.lobe().envmap(times * radiance.shape[0], times * radiance.shape[1]))


def log_distance(radiance: EnvMap, target: EnvMap) -> Tensor:
    """Solid-angle mean of |log L - log L0|, with a floor of 2 % of the target's mean."""
    if radiance.shape != target.shape:
        target = latlong.resize(target, *radiance.shape[:2])
    weight = latlong.solid_angles(*radiance.shape[:2], device=radiance.device)[..., None] / (4 * torch.pi * 3)
    floor = 0.02 * (target * weight).sum()
    return (((radiance + floor) / (target + floor)).log().abs() * weight).sum()
