"""Stable Diffusion 1.x, 2.x and XL from local diffusers folders; nothing is ever fetched from the network.

Only safetensors are read (a pickle can run code). ``diffusers`` and ``transformers`` are imported when a prior is
loaded.
"""
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.hooks import RemovableHandle

from dipir.diffusion import memory, schedule
from dipir.diffusion.attention import Record, watch_unet
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, denoise_epsilon, denoise_v, select
from dipir.diffusion.folders import check_parts, find_folder, is_xl, variant_of
from dipir.diffusion.memory import HALF, MemoryOptions, MemorySettings, PartPlaces
from dipir.diffusion.phrases import positions
from dipir.diffusion.schedule import sigmas_from_alphas
from dipir.diffusion.single_file.load import SingleFile, find_single_file
from dipir.errors import PriorError

ADAPTERS = {"epsilon": denoise_epsilon, "v_prediction": denoise_v}


@dataclass(frozen=True)
class Parts:
    """The loaded networks."""

    unet: nn.Module
    vae: nn.Module
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    table: Tensor
    """(T,) sigma of every training time."""
    prediction: str
    """Either "epsilon" or "v_prediction"."""
    controlnet: nn.Module | None = None

    @property
    def xl(self) -> bool:
        """SD XL has two text encoders and size conditioning."""
        return len(self.text_encoders) == 2


class PretrainedDenoiser(AbstractDenoiser):
    """A latent diffusion model behind the prior contract. Latents are scaled by the VAE's scaling factor (std near 1).

    ``network`` is the U-Net, the module that personalisation adapts. No weight asks for a gradient.
    """

    channels = 4
    language = "text"

    def __init__(self, parts: Parts, places: PartPlaces | None = None, exact_vae: bool = False, name: str = "") -> None:
        """exact_vae : no TF32 for a float32 VAE on a GPU
        name : for results; "" = that of the class
        """
        self.parts = parts
        self.places = places or PartPlaces(parts.table.device, offload=False)
        self._tf32 = not exact_vae
        self.network = self.adaptable = parts.unet
        self.hash, self.takes_control = name, parts.controlnet is not None
        self.sigma_min, self.sigma_max = float(parts.table[0]), float(parts.table[-1])
        self.factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)

    @property
    def usual_size(self) -> int:
        return self.network.config.sample_size * self.factor

    @property
    def device(self) -> torch.device:
        return self.parts.table.device

    def ladder(self, steps: int) -> Tensor:
        return schedule.ladder(self.parts.table.cpu(), steps)

    def word_layers(self, record: Record) -> list[RemovableHandle]:
        return watch_unet(self.network, record)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        condition = select(condition, range(len(x)))
        if condition.text is None:
            raise PriorError("Stable Diffusion needs a text condition; make one with encode_text('...'), '' for none.")
        self.places.bring(self.network, *([self.parts.controlnet] if condition.control is not None
                                          and self.parts.controlnet is not None else []))
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

        def run(image: Tensor) -> Tensor:
            posterior = vae.encode(2 * image.to(vae.dtype) - 1).latent_dist
            latent = posterior.mean if generator is None else posterior.sample(generator)
            return _no_half(latent * vae.config.scaling_factor)
        return self._by_vae(run, image_disp)

    def decode(self, latent: Tensor) -> Tensor:
        vae = self.parts.vae

        def run(latent: Tensor) -> Tensor:
            image = vae.decode(latent.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
            return _no_half(((image + 1) / 2).clamp(0, 1))
        return self._by_vae(run, latent)

    def _by_vae(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``run(x)``; where that takes the VAE from the CPU or another kind of product, its backward pass as well."""
        where = x.device

        @contextmanager
        def ready() -> Iterator[None]:
            self.places.bring(self.parts.vae)
            # The VAE of SD XL overflows in float16, and autocast would lower even a float32 VAE.
            with memory.full_precision(where), memory.tf32(self._tf32) if where.type == "cuda" else nullcontext():
                yield
        if where.type == "cuda" or self.places.offload:
            return memory.within(ready, run, x)
        with memory.full_precision(where):
            return run(x)

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
        self.places.bring(encoder)
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
        size = condition.size if condition.size is not None else _whole_picture(height, width, x.device)
        return {"text_embeds": condition.text_pooled.to(dtype), "time_ids": size.expand(len(x), 6).to(x.device, dtype)}

    def _control(self, z: Tensor, t: Tensor, image: Tensor, given: dict[str, Any]) -> dict[str, Any]:
        if self.parts.controlnet is None:
            raise PriorError("the condition has a control image, but no ControlNet was loaded; give its local folder "
                             "in MemoryOptions(controlnet=...).")
        down, mid = self.parts.controlnet(z, t, controlnet_cond=image, **given)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def _no_half(x: Tensor) -> Tensor:
    return x.float() if x.dtype in HALF else x


@functools.lru_cache(maxsize=8)
def _whole_picture(height: int, width: int, where: torch.device) -> Tensor:
    """Size conditioning of an uncropped original; kept, because making it anew would wait for the device."""
    return torch.tensor([[height, width, 0, 0, height, width]], device="cpu").to(where)


# ------------------------------------------------------------------------------------------------------------ loading
def load_pretrained(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None,
                    options: MemorySettings | None = None, *, config: str | Path = "") -> PretrainedDenoiser:
    """Load a diffusers folder of SD 1.x, 2.x or XL, or a checkpoint of them in a single .safetensors file.

    config : the folder of a file's configurations, "" = beside it
    dtype : of U-Net and text encoders; None = as ``options`` say, by default bfloat16 on a GPU, float32 on the CPU
    Raises PriorError (missing, pickled, truncated or foreign weights; hub names) and ConfigError (half float on CPU).
    """
    device, options = torch.device(device), options or MemoryOptions()
    dtypes = memory.precisions(device, dtype, options)
    file = find_single_file(Path(path).expanduser(), config) if Path(path).expanduser().is_file() else None
    folder = find_folder(path) if file is None else file.config
    xl = is_xl(folder)
    if file is None:
        if config:
            raise PriorError(f"--prior-config {config} is for single files, and '{path}' is a folder with "
                             "configurations of its own. Leave it out.")
        check_parts(folder, xl)
    controlnet = options.controlnet if isinstance(options, MemoryOptions) else None
    with _quiet():
        parts = _load_parts(folder, xl, dtypes, controlnet, file)
    if parts.unet.config.in_channels != 4 or parts.vae.config.latent_channels != 4:
        raise PriorError(f"{folder}: its U-Net takes {parts.unet.config.in_channels} channels; accepted are "
                         "text-to-image models with 4. Inpainting, depth and upscaling variants cannot be used.")
    places = PartPlaces(device, options.offload == "model")
    for module in (parts.unet, parts.vae, *parts.text_encoders, *([parts.controlnet] if parts.controlnet else [])):
        module.to("cpu" if places.offload else device).requires_grad_(False).eval()
    memory.set_up(parts.unet, parts.vae, device, options)
    parts = replace(parts, table=parts.table.to(device))
    return PretrainedDenoiser(parts, places, options.vae_dtype == "float32", str(path))


def _load_parts(folder: Path, xl: bool, dtypes: tuple[torch.dtype, torch.dtype], controlnet: str | None,
                file: SingleFile | None) -> Parts:
    """dtypes : of U-Net and text encoders, of the VAE;  file : has the weights instead of the folder"""
    from diffusers import ControlNetModel, DDPMScheduler
    from transformers import CLIPTokenizer

    names = ("", "_2") if xl else ("",)
    scheduler = _guard(folder / "scheduler", lambda: DDPMScheduler.from_pretrained(
        folder / "scheduler", local_files_only=True))
    prediction = scheduler.config.prediction_type
    if prediction not in ADAPTERS:
        raise PriorError(f"{folder / 'scheduler'}: prediction_type is '{prediction}'; accepted: {', '.join(ADAPTERS)}.")
    if file is not None:
        file.check_prediction(prediction)
    unet, vae, text_encoders = _networks(folder, names, dtypes, file)
    parts = Parts(
        unet=unet, vae=vae, text_encoders=text_encoders,
        tokenizers=tuple(_guard(folder / f"tokenizer{n}", lambda n=n: CLIPTokenizer.from_pretrained(
            folder / f"tokenizer{n}", local_files_only=True)) for n in names),
        # A zero terminal SNR has alphabar = 0 at the last time; 2^-24 is what it can be told from 0 in float32.
        table=sigmas_from_alphas(scheduler.alphas_cumprod.double().clamp_min(2**-24)),
        prediction=prediction,
        controlnet=_load_weights(ControlNetModel, find_folder(controlnet), dtypes[0]) if controlnet else None)
    for tokenizer, encoder in zip(parts.tokenizers, parts.text_encoders, strict=True):
        if len(tokenizer) > encoder.config.vocab_size:
            raise PriorError(f"{folder}: a tokenizer has {len(tokenizer)} words, its text encoder "
                             f"{encoder.config.vocab_size}; they are of different models. Download the folder again.")
    return parts


def _networks(folder: Path, names: tuple[str, ...], dtypes: tuple[torch.dtype, torch.dtype], file: SingleFile | None
              ) -> tuple[nn.Module, nn.Module, tuple[nn.Module, ...]]:
    """(U-Net, VAE, text encoders)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    encoders = (CLIPTextModel, CLIPTextModelWithProjection)[:len(names)]
    if file is not None:
        return file.networks(encoders, dtypes, _guard)
    return (_load_weights(UNet2DConditionModel, folder / "unet", dtypes[0]),
            _load_weights(AutoencoderKL, folder / "vae", dtypes[1]),
            tuple(_load_weights(kind, folder / f"text_encoder{n}", dtypes[0])
                  for kind, n in zip(encoders, names, strict=True)))


def _load_weights(kind: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """``from_pretrained`` that accepts no hole: by default absent weights would be filled with random numbers."""
    variant = variant_of(folder)
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
