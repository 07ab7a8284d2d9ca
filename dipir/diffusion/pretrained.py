"""Stable Diffusion 1.x, 2.x and XL from local diffusers folders; nothing is ever fetched from the network.

Only safetensors are read (a pickle can run code). ``diffusers`` and ``transformers`` are imported when a prior is
loaded.
"""
from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dipir.diffusion.denoiser import AbstractDenoiser, Condition, denoise_epsilon, denoise_v, select
from dipir.diffusion.phrases import positions
from dipir.diffusion.schedule import sigmas_from_alphas
from dipir.errors import ConfigError, PriorError, raise_all

PIPELINES = {"StableDiffusionPipeline": False, "StableDiffusionXLPipeline": True}  # class in model_index.json -> XL?
ADAPTERS = {"epsilon": denoise_epsilon, "v_prediction": denoise_v}
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class MemoryOptions:
    """What is given up to save memory.

    attention_slicing : attention one slice at a time (slower, less memory)
    vae_slicing : encode and decode batches one image at a time
    gradient_checkpointing : recompute activations of U-Net and VAE in the backward pass
    controlnet : local folder of a ControlNet for this model, fed by ``Condition.control``, or None
    """

    attention_slicing: bool = False
    vae_slicing: bool = True
    gradient_checkpointing: bool = False
    controlnet: str | None = None


@dataclass(frozen=True)
class Parts:
    """The loaded networks. table : (T,) sigma of every training time; prediction : "epsilon" or "v_prediction"."""

    unet: nn.Module
    vae: nn.Module
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    table: Tensor
    prediction: str
    controlnet: nn.Module | None = None

    @property
    def xl(self) -> bool:
        """SD XL has two text encoders and size conditioning."""
        return len(self.text_encoders) == 2


class PretrainedDenoiser(AbstractDenoiser):
    """A latent diffusion model behind the prior contract. Latents are scaled by the VAE's scaling factor (std near 1).

    ``network`` is the U-Net, the module that personalisation adapts. No weight asks for a gradient.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.network = parts.unet
        self.sigma_min, self.sigma_max = float(parts.table[0]), float(parts.table[-1])
        self.factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        condition = select(condition, range(len(x)))
        if condition.text is None:
            raise PriorError("Stable Diffusion needs a text condition; make one with encode_text('...'), '' for none.")
        dtype = next(self.network.parameters()).dtype
        extra = self._added(x, condition) if self.parts.xl else {}
        text = condition.text.to(dtype)

        def network(z: Tensor, t: Tensor) -> Tensor:
            given = {"encoder_hidden_states": text, "added_cond_kwargs": extra or None, "return_dict": False}
            # Times are fractional; the sinusoidal embedding is defined between the integers it was trained on.
            z, t = z.to(dtype), t.to(torch.float32)
            if condition.control is not None:
                given |= self._control(z, t, condition.control.to(dtype), given)
            return self.network(z, t, **given)[0].to(x.dtype)

        return ADAPTERS[self.parts.prediction](network, x, sigma, self.parts.table)

    def encode(self, image_disp: Tensor, generator: Generator | None = None) -> Tensor:
        """(B, 3, H, W) display [0, 1] -> (B, 4, H/8, W/8) scaled latent, differentiable.

        generator : draw from the VAE's posterior; None takes its mean. H and W must be multiples of ``factor``.
        """
        if image_disp.ndim != 4 or image_disp.shape[1] != 3 or any(s % self.factor for s in image_disp.shape[2:]):
            raise PriorError(f"image of shape {tuple(image_disp.shape)}; accepted is (B, 3, H, W) with H and W "
                             f"multiples of {self.factor}. Resize or pad the image.")
        vae = self.parts.vae
        # The VAE of SD XL overflows in float16, and autocast would lower even a float32 VAE.
        with torch.autocast(image_disp.device.type, enabled=False):
            posterior = vae.encode(2 * image_disp.to(vae.dtype) - 1).latent_dist
            latent = posterior.mean if generator is None else posterior.sample(generator)
            return latent * vae.config.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        vae = self.parts.vae
        with torch.autocast(latent.device.type, enabled=False):
            image = vae.decode(latent.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
            return ((image + 1) / 2).clamp(0, 1)

    @torch.no_grad()
    def encode_text(self, prompts: str | Sequence[str]) -> Condition:
        """One prompt or a list of B prompts -> text (B, 77, D), and for XL the pooled embedding (B, P)."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        pairs = zip(self.parts.tokenizers, self.parts.text_encoders, strict=True)
        outputs = [self._run_encoder(*pair, prompts) for pair in pairs]
        if not self.parts.xl:
            return Condition(text=outputs[0][0].float())
        # SD XL was trained on the last but one layer of both encoders, side by side.
        text = torch.cat([out.hidden_states[-2] for out in outputs], -1)
        return Condition(text=text.float(), text_pooled=outputs[1][0].float())

    def encode_pair(self, prompt: str, negative: str = "") -> tuple[Condition, Condition]:
        """(condition of the prompt, condition of the negative prompt), for :class:`GuidedDenoiser`."""
        return self.encode_text(prompt), self.encode_text(negative)

    def token_positions(self, prompt: str, phrase: str) -> list[int]:
        """Rows of ``encode_text(prompt).text`` where the words of ``phrase`` stand, the first time that they do.
        ConfigError when they do not, or only where the prompt is cut off."""
        tokenizer = self.parts.tokenizers[0]  # Both of SD XL cut words alike.
        whole = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
        return positions(prompt, phrase, whole, tokenizer(phrase, add_special_tokens=False).input_ids)

    def _run_encoder(self, tokenizer: Any, encoder: nn.Module, prompts: list[str]) -> Any:
        longest = tokenizer.model_max_length
        for prompt, ids in zip(prompts, tokenizer(prompts).input_ids, strict=True):
            if len(ids) > longest:
                warnings.warn(f"the prompt '{prompt[:60]}...' has {len(ids)} tokens; only the first {longest} count.",
                              stacklevel=4)
        batch = tokenizer(prompts, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
        return encoder(batch.input_ids.to(encoder.device), output_hidden_states=True)

    def _added(self, x: Tensor, condition: Condition) -> dict[str, Tensor]:
        if condition.text_pooled is None:
            raise PriorError("Stable Diffusion XL needs text_pooled in the condition; make it with encode_text('...').")
        dtype = next(self.network.parameters()).dtype
        height, width = (s * self.factor for s in x.shape[2:])
        # Default: an uncropped original of the working size.
        size = condition.size if condition.size is not None else torch.tensor([[height, width, 0, 0, height, width]])
        return {"text_embeds": condition.text_pooled.to(dtype), "time_ids": size.expand(len(x), 6).to(x.device, dtype)}

    def _control(self, z: Tensor, t: Tensor, image: Tensor, given: dict[str, Any]) -> dict[str, Any]:
        if self.parts.controlnet is None:
            raise PriorError("the condition has a control image, but no ControlNet was loaded; give its local folder "
                             "in MemoryOptions(controlnet=...).")
        down, mid = self.parts.controlnet(z, t, controlnet_cond=image, **given)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


# ------------------------------------------------------------------------------------------------------------ loading
def load_pretrained(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None,
                    options: MemoryOptions | None = None) -> PretrainedDenoiser:
    """Load a diffusers folder of SD 1.x, 2.x or XL.

    dtype : of U-Net and text encoders; None = bfloat16 on a GPU, float32 on the CPU. The VAE is float32 always.
    Raises PriorError (missing, pickled, truncated or foreign weights; hub names) and ConfigError (half float on CPU).
    """
    device, options = torch.device(device), options or MemoryOptions()
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    if device.type == "cpu" and dtype in HALF:
        raise ConfigError(f"dtype {dtype} on the CPU; half floats are for a GPU. Use torch.float32 (or device 'cuda').")
    folder = _find(path)
    xl = _pipeline_kind(folder)
    _check_parts(folder, xl)
    with _quiet():
        parts = _load_parts(folder, xl, dtype, options)
    if parts.unet.config.in_channels != 4 or parts.vae.config.latent_channels != 4:
        raise PriorError(f"{folder}: its U-Net takes {parts.unet.config.in_channels} channels; accepted are "
                         "text-to-image models with 4. Inpainting, depth and upscaling variants cannot be used.")
    for module in (parts.unet, parts.vae, *parts.text_encoders, *([parts.controlnet] if parts.controlnet else [])):
        module.to(device).requires_grad_(False).eval()
    _save_memory(parts, options)
    return PretrainedDenoiser(replace(parts, table=parts.table.to(device)))


def _load_parts(folder: Path, xl: bool, dtype: torch.dtype, options: MemoryOptions) -> Parts:
    from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    names = ("", "_2") if xl else ("",)
    encoders = (CLIPTextModel, CLIPTextModelWithProjection)
    scheduler = _guard(folder / "scheduler", lambda: DDPMScheduler.from_pretrained(
        folder / "scheduler", local_files_only=True))
    prediction = scheduler.config.prediction_type
    if prediction not in ADAPTERS:
        raise PriorError(f"{folder / 'scheduler'}: prediction_type is '{prediction}'; accepted: {', '.join(ADAPTERS)}.")
    parts = Parts(
        unet=_load_weights(UNet2DConditionModel, folder / "unet", dtype),
        vae=_load_weights(AutoencoderKL, folder / "vae", torch.float32),
        tokenizers=tuple(_guard(folder / f"tokenizer{n}", lambda n=n: CLIPTokenizer.from_pretrained(
            folder / f"tokenizer{n}", local_files_only=True)) for n in names),
        text_encoders=tuple(_load_weights(kind, folder / f"text_encoder{n}", dtype)
                            for kind, n in zip(encoders, names, strict=False)),  # SD 1.x and 2.x have only the first.
        # A zero terminal SNR has alphabar = 0 at the last time; 2^-24 is what it can be told from 0 in float32.
        table=sigmas_from_alphas(scheduler.alphas_cumprod.double().clamp_min(2**-24)),
        prediction=prediction,
        controlnet=_load_weights(ControlNetModel, _find(options.controlnet), dtype) if options.controlnet else None)
    for tokenizer, encoder in zip(parts.tokenizers, parts.text_encoders, strict=True):
        if len(tokenizer) > encoder.config.vocab_size:
            raise PriorError(f"{folder}: a tokenizer has {len(tokenizer)} words, its text encoder "
                             f"{encoder.config.vocab_size}; they are of different models. Download the folder again.")
    return parts


def _load_weights(kind: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """``from_pretrained`` that accepts no hole: by default absent weights would be filled with random numbers."""
    variant = _variant(folder)
    model, info = _guard(folder, lambda: kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, variant=variant, torch_dtype=dtype,
        output_loading_info=True))
    missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info.get("mismatched_keys", ()))
    if missing:
        raise PriorError(f"{folder}: {len(missing)} weights are absent or of another shape (first: {missing[0]}). The "
                         "file does not belong to its config.json; download the folder again.")
    return model


def _guard(folder: Path, load: Callable[[], Any]) -> Any:
    """Turn whatever the loaders raise for damaged files into one PriorError."""
    try:
        return load()
    except MemoryError:
        raise
    except Exception as error:  # The tokenizer library raises bare Exception, so nothing narrower would do.
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PriorError(f"{folder} cannot be loaded ({first}). A file is truncated or belongs to another model; "
                         "download the folder again.") from error


# ------------------------------------------------------------------------------------------------- looking at folders
def _remedy(name: str, target: str) -> str:
    return (f"Download it once with\n    huggingface-cli download {name} --local-dir {target} --exclude '*.bin' "
            f"'*.ckpt' '*.msgpack'\nand give the folder:  --prior {target}")


def _find(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise PriorError(f"prior '{path}' is a file; accepted is a diffusers folder (with model_index.json, unet/, "
                         "vae/, text_encoder/, tokenizer/, scheduler/). Convert single weight files first.")
    name = str(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "~")):
        raise PriorError(f"prior '{name}' is no local folder; it looks like a hub name; nothing is fetched.\n"
                         + _remedy(name, "priors/" + name.split("/")[1]))
    raise PriorError(f"prior '{name}': there is no such folder.\n"
                     + _remedy("stable-diffusion-v1-5/stable-diffusion-v1-5", name))


def _pipeline_kind(folder: Path) -> bool:
    index = folder / "model_index.json"
    if not index.is_file():
        raise PriorError(f"{folder}: no model_index.json, so this is no diffusers folder. Give the folder that holds "
                         "model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/.")
    try:
        kind = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise PriorError(f"{index}: not readable as JSON with a _class_name; download the folder again.") from error
    if kind not in PIPELINES:
        raise PriorError(f"{folder} holds a {kind}; accepted: {', '.join(PIPELINES)} (SD 1.x, 2.x and XL).")
    return PIPELINES[kind]


def _check_parts(folder: Path, xl: bool) -> None:
    """All problems at once, each with its remedy."""
    problems, second = [], ["text_encoder_2", "tokenizer_2"] if xl else []
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler", *second]:
        here = folder / part
        if not here.is_dir():
            problems.append(f"{part}/ is missing: huggingface-cli download OWNER/MODEL --include '{part}/*' "
                            f"--local-dir {folder}")
        elif part.startswith("tokenizer"):
            absent = [n for n in ("vocab.json", "merges.txt") if not (here / n).is_file()]
            if absent and not (here / "tokenizer.json").is_file():
                problems.append(f"{part}/ lacks {' and '.join(absent)}: download {part}/ again.")
        elif part == "scheduler":
            if not (here / "scheduler_config.json").is_file():
                problems.append("scheduler/ lacks scheduler_config.json: download scheduler/ again.")
        else:
            problems += _weight_problem(here)
    raise_all(PriorError, f"prior {folder}", problems)


def _weight_problem(here: Path) -> list[str]:
    if not (here / "config.json").is_file():
        return [f"{here.name}/ lacks config.json: download {here.name}/ again."]
    try:
        _variant(here)
    except PriorError as error:
        return [str(error)]
    return []


def _variant(folder: Path) -> str | None:
    """None or "fp16": which safetensors of a part are there."""
    for variant in (None, "fp16"):
        dot = f".{variant}" if variant else ""
        for stem in ("diffusion_pytorch_model", "model"):
            if any((folder / f"{stem}{end}").is_file() for end in (
                    f"{dot}.safetensors", f".safetensors.index{dot}.json")):
                return variant
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in (".bin", ".ckpt", ".pt", ".pth")]
    if pickles:
        raise PriorError(f"{folder.name}/ holds only pickled weights ({pickles[0]}), which can run code and are not "
                         f"loaded: huggingface-cli download OWNER/MODEL --include '{folder.name}/*.safetensors' "
                         f"--local-dir {folder.parent}")
    raise PriorError(f"{folder.name}/ holds no safetensors weights: huggingface-cli download OWNER/MODEL --include "
                     f"'{folder.name}/*' --local-dir {folder.parent}")


# ------------------------------------------------------------------------------------------------------------- memory
def _save_memory(parts: Parts, options: MemoryOptions) -> None:
    if options.attention_slicing:
        parts.unet.set_attention_slice("auto")
    if options.vae_slicing:
        parts.vae.enable_slicing()
    if options.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
        parts.vae.enable_gradient_checkpointing()


class _quiet:
    """No progress bars of the loaders on the terminal: the program has its own."""

    def __enter__(self) -> None:
        from diffusers.utils import logging as diffusers_log
        from transformers.utils import logging as transformers_log

        self.logs = [log for log in (diffusers_log, transformers_log) if log.is_progress_bar_enabled()]
        for log in self.logs:
            log.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        for log in self.logs:
            log.enable_progress_bar()
