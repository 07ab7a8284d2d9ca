"""Score distillation with Stable Diffusion 1.5's architecture and random weights: its folder, one iteration and where
its time goes, and a whole run of the preset ``paper``. Weights do not change how long anything takes."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

STAGES = ("encode", "U-Net", "render", "backward")
_UNET = {"sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 768,
         "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8,
         "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
         "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}
_VAE = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2, "sample_size": 512, "scaling_factor": 0.18215,
        "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
_TEXT = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12, "max_position_embeddings": 77, "projection_dim": 768}


# ------------------------------------------------------------------------------------------------------ the folder
def write_sd15(folder: Path) -> Path:
    """A diffusers folder of Stable Diffusion 1.5 as to shapes and files, 2.1 GB; the tokenizer knows letters only."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from dipir import device
    from tests.support.tiny_diffusion import VOCAB, write_tokenizer

    where, words = device.current().torch, len(VOCAB)
    text = CLIPTextConfig(**_TEXT, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1)
    half, full = torch.bfloat16, torch.float32
    for name, make, dtype in (("unet", lambda: UNet2DConditionModel(**_UNET), half),
                              ("text_encoder", lambda: CLIPTextModel(text), half),
                              ("vae", lambda: AutoencoderKL(**_VAE), full)):
        _filled(make, where, dtype).save_pretrained(folder / name)
    DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  clip_sample=False).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "DDPMScheduler"]}))
    return folder


@torch.no_grad()
def _filled(make: Callable[[], torch.nn.Module], where: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Made without values, then filled so that signals keep their size: the usual initialisation takes a minute."""
    with torch.device("meta"):
        model = make()
    model = model.to(dtype).to_empty(device=where)
    torch.manual_seed(0)
    for name, value in model.named_parameters():
        if value.ndim > 1:
            value.normal_(0, value[0].numel() ** -0.5)
        else:
            value.fill_(float(name.endswith("weight")))
    return model


# ------------------------------------------------------------------------------------------------- one iteration
class Stages:
    """Time of named stretches: CUDA events on a GPU, which nobody waits for, else the clock."""

    def __init__(self, where: torch.device) -> None:
        self._cuda = where.type == "cuda"
        self._spans: list[tuple[str, object, object]] = []
        self._open: list[object] = []

    def begin(self) -> None:
        self._open.append(self._now())

    def end(self, name: str) -> None:
        self._spans.append((name, self._open.pop(), self._now()))

    def wrapped(self, name: str, function: Callable) -> Callable:
        """``function``, its time counted under ``name``."""
        def timed(*args, **kwargs):
            self.begin()
            try:
                return function(*args, **kwargs)
            finally:
                self.end(name)
        return timed

    def totals_ms(self) -> dict[str, float]:
        """Of all stretches since the start."""
        if self._cuda:
            torch.cuda.synchronize()
        totals = dict.fromkeys(STAGES, 0.0)
        for name, a, b in self._spans:
            totals[name] += a.elapsed_time(b) if self._cuda else 1e3 * (b - a)
        return totals

    def _now(self):
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


@contextmanager
def watched(stages: Stages, denoiser) -> Iterator[None]:
    """Inside, the stages of an iteration are timed: ``render`` is the light's map, the transport and the composite,
    ``backward`` all of the gradient, through encoder and renderer."""
    from dipir.insert import objective as insert_fit

    network = denoiser.network
    with ExitStack() as stack:
        for handle in (network.register_forward_pre_hook(lambda *_: stages.begin()),
                       network.register_forward_hook(lambda *_: stages.end("U-Net"))):
            stack.callback(handle.remove)
        # In the code of the fit itself, so that what is timed is what runs.
        for owner, name, stage in ((denoiser, "encode", "encode"), (insert_fit, "maps_of", "render"),
                                   (insert_fit, "composite", "render"),
                                   (insert_fit.Objective, "_passes", "render"),
                                   (torch.Tensor, "backward", "backward")):
            wrapped = stages.wrapped(stage, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, wrapped))
        yield


@dataclass(frozen=True)
class Loop:
    """Size and length of the measurement."""

    size: int = 512
    warm: int = 10
    steps: int = 50
    split_steps: int = 20
    settings: tuple[str, ...] = ()  # overrides of the preset ``paper``


def lds_iteration(scene, folder: Path, loop: Loop, split: bool = True) -> dict:
    """Milliseconds of an iteration of the fit (``ms``), with ``split`` also those of its stages, ``host`` being the
    rest: the optimiser, and what the GPU waits for the CPU. A run with timers has its own ``split_ms``."""
    from dipir import device
    from dipir.fit.loop import FitConfig, minimise
    from dipir.insert import method
    from dipir.insert.objective import Objective, make_parameters
    from dipir.insert.problem import prepare
    from dipir.scene.light import fit_gaussians

    where = device.current().torch
    config = method.load_config("paper", None, ["personalise.steps=1", "guidance.sampled_concepts=0",
                                                "guidance.concepts=0", f"guidance.size={loop.size}", *loop.settings])
    denoiser = method.find_prior(str(folder), config)
    work = prepare(scene, config, loop.size, None)
    parameters = make_parameters(config, fit_gaussians(work.start, config.light.lobes), None)
    guidance = method.make_guidance(scene, work, config, denoiser, lambda event: None, None)
    objective = Objective(work, config, parameters, guidance)

    def run(steps: int) -> float:
        began = time.perf_counter()
        minimise(objective, parameters, FitConfig(steps=steps, preview_every=0))
        if where.type == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - began) / steps
    run(loop.warm)
    found = {"ms": run(loop.steps), "steps": loop.steps, "size": loop.size,
             "dtype": str(next(denoiser.network.parameters()).dtype).removeprefix("torch.")}
    if split:
        stages = Stages(where)
        with watched(stages, denoiser):
            found["split_ms"] = run(loop.split_steps)
        shares = {name: ms / loop.split_steps for name, ms in stages.totals_ms().items()}
        found["stages"] = {**shares, "host": max(0.0, found["split_ms"] - sum(shares.values()))}
    return found


# ------------------------------------------------------------------------------------------------------ a whole run
class Clock:
    """Takes the events of a run, and says what a longer one would have taken."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[int, float]]] = {}

    def __call__(self, event) -> None:
        self._seen.setdefault(event.stage, []).append((event.step, time.perf_counter()))

    def step_s(self, stage: str) -> float:
        """Seconds of a step, the first ones, which compile, left out. ValueError with less than two events."""
        seen = self._seen.get(stage, [])
        if len(seen) < 2:
            raise ValueError(f"{len(seen)} events of '{stage}': too few to tell how long a step takes")
        (first, began), (last, ended) = seen[min(len(seen) // 5, len(seen) - 2)], seen[-1]
        return (ended - began) / (last - first)


def whole_run(scene, folder: Path, settings: tuple[str, ...], short: int, left_s: float) -> dict:
    """Seconds of ``insert`` with the preset ``paper``, from loading the prior to the final picture. First with
    ``short`` steps each of fit and personalisation; the whole only when ``left_s`` are enough for what that
    foretells."""
    from dipir.insert import method

    def run(*more: str) -> tuple[float, Clock]:
        clock, began = Clock(), time.perf_counter()
        method.insert(scene, method.load_config("paper", None, [*settings, *more]), prior=str(folder), on_event=clock)
        return time.perf_counter() - began, clock
    planned = method.load_config("paper", None, list(settings))
    steps = {"personalise": planned.personalise.steps, "fit": planned.fit.steps}
    seconds, clock = run(f"personalise.steps={short}", f"fit.steps={short}")
    step_s = {name: clock.step_s(name) for name in steps}
    foretold = seconds + sum(step_s[name] * (steps[name] - short) for name in steps)
    found = {"steps": steps, "step_s": step_s, "short": short, "foretold_s": foretold, "seconds": foretold,
             "extrapolated": True}
    # Some of what is left was spent on the start of this process.
    if foretold * 1.2 + 15 < left_s - seconds:
        found |= {"seconds": run()[0], "extrapolated": False}
    return found
