"""insert(): an object into a photo (DiPIR, Liang et al. 2024): light and tone by guidance, then a path-traced
composite."""
from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.memory import MemorySettings
from dipir.diffusion.personalize import Examples, FrozenBase, concept_images, personalise
from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.schedule import karras
from dipir.diffusion.single_file.kinds import is_foreign
from dipir.event import warnings_in
from dipir.fit.checkpoint import Checkpoint, run_hash
from dipir.fit.loop import Event, minimise
from dipir.fit.parameters import Parameters
from dipir.guidance.guidance import Asked, Guidance
from dipir.guidance.kinds import GUIDANCES
from dipir.insert.config import STARTS, InsertConfig, load_config
from dipir.insert.final import final_picture, final_quality
from dipir.insert.objective import (
    Objective,
    final_light,
    final_tones,
    frozen_materials,
    make_parameters,
    unfitted,
)
from dipir.insert.preview import guess_pictures
from dipir.insert.problem import Work, concept_renders, given_light, light_as_given, prepare
from dipir.insert.redistort import geometry_of
from dipir.insert.result import Result
from dipir.priors.insertion import InsertionPrior, planes_of
from dipir.priors.light import LightPrior
from dipir.render.backend import mitsuba
from dipir.scene.assets.asset import asset_hash
from dipir.scene.framing import wide_view
from dipir.scene.light import SphericalGaussians, fit_gaussians
from dipir.scene.scene import Scene
from dipir.settings.presets import versions
from dipir.settings.yaml import to_dict

__all__ = ["InsertConfig", "insert", "load_config", "ready"]
_PACKAGES = ("dipir", "torch", "mitsuba", "drjit", "diffusers", "peft", "trimesh", "numpy")
# What lowers the use of GPU memory, the mildest first.
_SMALLER = ("Take less with --set memory.gradient_checkpointing=true, then --set memory.offload=model, then --set "
            "guidance.size=256 (less detail), or use --device cpu. The last checkpoint is kept: the same command with "
            "--resume and any of these but guidance.size goes on from it.")
OnEvent = Callable[[Event], None]


@device.guarded(_SMALLER)
def insert(scene: Scene, config: InsertConfig | None = None, *, prior: AbstractDenoiser | str | Path | None = None,
           light_prior: LightPrior | None = None, on_event: OnEvent | None = None, out: Path | None = None,
           resume: bool = False) -> Result:
    """Fit light and tone so that the prior finds the composite likely, then render it at final quality.

    prior : a denoiser, or the folder of a pretrained model; None = ``config.prior``
    out : where checkpoints go (none without);  resume : go on from the checkpoint there
    Raises the DipirError of whatever cannot be used, before long work starts where that can be known;
    DeviceMemoryError when a GPU's memory does not suffice.
    """
    began, on_event = time.monotonic(), on_event or (lambda event: None)
    scene, config = device.moved(scene), config or InsertConfig()
    on_event(Event.about(unfitted(scene, config)))
    denoiser = find_prior(prior or config.prior, config)
    light_prior = light_prior or (LightPrior.load() if config.light.start == "prior" else None)

    # ---- light, tone, materials ----
    on_event(Event("prepare", 0, 1))
    said: list[str] = []
    given = None if config.light.start in STARTS else given_light(scene, Path(config.light.start), said.append)
    begun = None if given is None else light_as_given(scene, given, said.append)
    work = prepare(scene, config, denoiser.working_size or config.guidance.size, light_prior, begun)
    on_event(Event("prepare", 1, 1, note="; ".join([work.light.describe(), *said]).strip("; ")))
    start = fit_gaussians(work.start, config.light.lobes)
    parameters, history = fit(scene, work, start, config, denoiser, on_event=on_event, out=out, resume=resume)
    fitted_s = time.monotonic() - began
    materials = frozen_materials(parameters, work.tracer)
    tones = final_tones(parameters)
    light = given if given is not None and not history else final_light(parameters, config)
    provenance = _provenance(scene, work, config, materials)
    source = light.sun.source if work.light.source is not None else None
    provenance["light"]["share_fitted"] = source and source.ground_share(light.rest(64), work.light.up)
    device.free_memory()

    # ---- the picture ----
    final = final_picture(scene, light, tones, config, on_event, materials)
    guesses = guess_pictures(scene, work.light, (tones[0], tones[1]), config.transport, materials=materials)
    provenance["times"] = {"fit_s": round(fitted_s, 2), "total_s": round(time.monotonic() - began, 2)}
    provenance["hashes"] |= {"prior": denoiser.fingerprint, "light_prior": light_prior.hash if light_prior else "none"}
    result = Result(**vars(final), light=light, tone_fg=tones[0], tone_shadow=tones[1], config=to_dict(config),
                    history=history, provenance=provenance, guess_pictures=guesses)
    return device.moved(result, torch.device("cpu"))


def ready(config: InsertConfig) -> tuple[AbstractDenoiser, LightPrior | None]:
    """(prior, light prior) that ``config`` names, to be handed to :func:`insert`. Raises PriorError or RenderError when
    weights or the renderer's LLVM cannot be used: known before anything is written."""
    mitsuba()
    return find_prior(config.prior, config), LightPrior.load() if config.light.start == "prior" else None


def find_prior(prior: AbstractDenoiser | str | Path, config: InsertConfig) -> AbstractDenoiser:
    """The denoiser to ask, on the run's device (a pretrained one that is given stays where it is). Raises PriorError
    when weights cannot be used, ConfigError when the kind of guidance cannot use the prior."""
    where, kind = device.current().torch, config.guidance.kind
    if not isinstance(prior, (str, Path)):
        found = prior
    elif str(prior) == "embedded":
        # Nothing is asked of it, so that its weights may be missing.
        found = InsertionPrior.untrained() if kind == "none" else InsertionPrior.load()
    elif str(prior).endswith(".safetensors") and not is_foreign(prior):
        found = InsertionPrior.load(prior)
    else:
        found = load_pretrained(prior, where, options=config.memory, config=config.prior_config)
    if kind != "none":
        GUIDANCES[kind].check(found)
    return found.to(where)


# ------------------------------------------------------------------------------------------------------- fit
def fit(scene: Scene, work: Work, start: SphericalGaussians, config: InsertConfig, denoiser: AbstractDenoiser, *,
        on_event: OnEvent, out: Path | None, resume: bool) -> tuple[Parameters, list[dict]]:
    """Guide, minimise. Returns the unknowns, which begin with ``start``, and the history."""
    parameters = make_parameters(config, start, work.tracer, work.light)
    if config.guidance.kind == "none" or config.fit.steps == 0:
        return parameters, []
    checkpoint = None if out is None else Checkpoint(Path(out) / "checkpoint.safetensors", _run_key(scene, config),
                                                     config.checkpoint_every, resume)
    guidance = make_guidance(scene, work, config, denoiser, on_event, out)
    guidance.keep(parameters)
    objective = Objective(work, config, parameters, guidance)
    fit_config = replace(config.fit, seed=split_seed(config.seed, "fit"))
    history = minimise(objective, parameters, fit_config, on_event=on_event, checkpoint=checkpoint)
    return parameters, history


def _run_key(scene: Scene, config: InsertConfig) -> str:
    """What a checkpoint belongs to."""
    same = replace(config, memory=MemorySettings())  # After running out of memory another setting may go on.
    return run_hash(to_dict(same), [asset_hash(o.asset) for o in scene.objects], plate_hash(scene),
                    [o.to_world.tolist() for o in scene.objects])


def make_guidance(scene: Scene, work: Work, config: InsertConfig, prior: AbstractDenoiser, on_event: OnEvent,
                  out: Path | None) -> Guidance:
    """The guidance that the settings name: the prior told what it can be told, personalised if that is wanted."""
    settings = config.guidance
    region, base = work.region(), None
    condition, negative = prior.encode_pair(scene.prompt, settings.negative)
    empty, _ = prior.encode_pair("")
    if prior.reads_planes:
        wide = wide_view(scene.plate.disp, work.size)
        condition = empty = Condition(planes=planes_of(work.transport, work.plate_disp, work.light.mirrored, wide))
    if settings.personalise and prior.adaptable is not None:
        adapt(work, config, prior, condition, on_event, out)
        base = FrozenBase(prior, prior.adaptable)
    return GUIDANCES[settings.kind](Asked(prior, condition, settings, config.seed, work.plate_disp, negative, empty,
                                          base, region, on_event))


def adapt(work: Work, config: InsertConfig, denoiser: AbstractDenoiser, condition: Condition, on_event: OnEvent,
          out: Path | None) -> None:
    """Put a LoRA on the prior: the plate's window, and renders of the very asset under random light, if any are wanted.
    Kept beside the result and reused when the inputs are the same."""
    generator = torch.Generator().manual_seed(split_seed(config.seed, "concepts"))
    sets = [Examples(work.plate_disp, condition)]
    if config.guidance.concepts:
        sets.append(Examples(concept_renders(work, config.guidance.concepts, generator), condition))
    if config.guidance.sampled_concepts:
        sigmas = karras(config.guidance.sampler_steps, max(0.05, denoiser.sigma_min), denoiser.sigma_max)
        start = torch.zeros_like(denoiser.encode(work.plate_disp))
        drawn = concept_images(denoiser, condition, config.guidance.sampled_concepts, start, sigmas, seed=config.seed)
        sets.append(Examples(drawn, condition))
    with contextlib.ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        personalise(denoiser, denoiser.adaptable, sets, config.personalise, folder, on_event)


# ------------------------------------------------------------------------------------------------ provenance
def plate_hash(scene: Scene) -> str:
    """Checksum of the plate's pixels, every one at 16 bits."""
    pixels = (scene.plate.disp * 65535).round().to(torch.int32).cpu().contiguous().numpy()
    return run_hash(hashlib.sha256(pixels.tobytes()).hexdigest(), scene.plate.size)


def _provenance(scene: Scene, work: Work, config: InsertConfig, materials: dict[str, Tensor]) -> dict:
    notes = [*scene.notes, *unfitted(scene, config)]
    return {"seed": config.seed, "scene": scene.name, "prompt": scene.prompt, "times": {},
            "versions": versions(_PACKAGES), "device": device.current().record(),
            "hashes": {"plate": plate_hash(scene), "assets": [asset_hash(o.asset) for o in scene.objects]},
            "materials": {k: v.tolist() for k, v in materials.items() if v.numel() <= 16},
            "geometry": geometry_of(scene),
            "light": work.light.to_dict(), "light_guesses": work.light.guesses_to_dict(),
            "notes": [*final_quality(config.final)[2], *map(str, notes)], "warnings": warnings_in(notes)}
