"""What a single file of weights is, by the names and shapes in its header: nothing of it is loaded.

Checkpoints of Stable Diffusion have the names of its first program (``model.diffusion_model`` is the U-Net,
``first_stage_model`` the VAE, ``cond_stage_model`` or ``conditioner`` the text encoders); 1.x, 2.x and XL are told
apart by their text encoders.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dipir.errors import PriorError
from dipir.tensors import read_header

Shapes = Mapping[str, tuple[int, ...]]
UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_CLIP, XL_OPEN_CLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
_FIRST = f"{UNET}input_blocks.0.0.weight"
SD1, SD2, XL = "Stable Diffusion 1.x", "Stable Diffusion 2.x", "Stable Diffusion XL"
_REFINER = "conditioner.embedders.0.model."
_SPECIAL = {9: "an inpainting", 8: "an image-editing (InstructPix2Pix)", 7: "an upscaling", 5: "a depth"}
_OF_VAE = (VAE, "encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "loss.")
_WHOLE = "accepted are whole text-to-image checkpoints of Stable Diffusion 1.x, 2.x and XL, and diffusers folders"


@dataclass(frozen=True)
class Held:
    """What a file holds."""

    what: str
    """For people: "a single-file Stable Diffusion 1.x checkpoint", "a LoRA"."""
    own: bool = False  # weights of one of our own priors
    text_encoders: tuple[str, ...] = ()
    """Of a whole checkpoint the prefixes of its text encoders; else the file is not accepted."""
    remedy: str = f"{_WHOLE}."

    @property
    def whole(self) -> bool:
        """Whether it is a checkpoint that can be loaded."""
        return bool(self.text_encoders)

    @property
    def xl(self) -> bool:
        """Of a whole checkpoint."""
        return len(self.text_encoders) == 2


def _has(*parts: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(part in name for name in shapes for part in parts)


def _begins(*parts: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(name.startswith(parts) for name in shapes)


_ADAPTER = f"It changes another model and is none; {_WHOLE}."
# In this order: a LoRA of a ControlNet is a LoRA.
_OTHERS: tuple[tuple[str, Callable[[Shapes], bool], str], ...] = (
    ("a LoRA", _has("lora_up.", "lora_down.", "lora_A.", "lora_B.", "lora.up.", "lora.down.", "hada_w1", "lokr_w"),
     f"It changes another model and is none: merge it into its model first (diffusers: fuse_lora); {_WHOLE}."),
    ("an IP-Adapter", _begins("ip_adapter.", "image_proj."), _ADAPTER),
    ("a T2I-Adapter", _begins("adapter.body.", "body.0.resnets", "adapter.conv_in"), _ADAPTER),
    ("motion modules of AnimateDiff", _has("motion_modules."), _ADAPTER),
    ("a ControlNet", _has("control_model.", "controlnet_cond_embedding.", "input_hint_block.", "controlnet_blocks."),
     "dipir relight takes a ControlNet as a diffusers folder (--controlnet DIR), beside a whole model."),
    ("a Stable Diffusion 3 checkpoint", _has("joint_blocks."), f"{_WHOLE}."),
    ("a Flux checkpoint", _has("double_blocks.", "single_transformer_blocks."), f"{_WHOLE}."),
    ("a PixArt checkpoint", _has("caption_projection.", "y_embedder."), f"{_WHOLE}."),
    ("a Stable Cascade checkpoint", _has("clip_txt_mapper.", "effnet_mapper."), f"{_WHOLE}."),
    ("a textual inversion", lambda shapes: set(shapes) <= {"emb_params", "clip_l", "clip_g", "*"}, _ADAPTER),
    ("the U-Net of a diffusers folder alone", lambda shapes: "conv_in.weight" in shapes and
     _begins("down_blocks.")(shapes), f"Put it into the unet/ of its folder; {_WHOLE}."),
    ("a VAE alone", lambda shapes: all(name.startswith(_OF_VAE) for name in shapes) and
     _has("encoder.conv_in.")(shapes), f"It has no U-Net; {_WHOLE}."),
    ("a text encoder alone", lambda shapes: _begins("text_model.", "transformer.resblocks.", "encoder.block.")(shapes)
     and not _begins(UNET)(shapes), f"It has no U-Net; {_WHOLE}."))


def look(path: str | Path) -> Held:
    """What a .safetensors file holds. PriorError for one that cannot be read."""
    try:
        shapes, metadata = read_header(path)
    except (OSError, ValueError) as problem:
        raise PriorError(f"{path}: not a complete safetensors file ({' '.join(str(problem).split())[:200]}). Fetch it "
                         "again.") from problem
    if metadata.get("format", "").startswith("dipir-lora"):
        return Held("an adapter that dipir trained on one scene", remedy="It is found again by itself in the --out "
                    "folder of its run; leave --prior as it was there.")
    if "architecture" in metadata and not _begins(UNET, VAE)(shapes):
        return Held("weights of one of our own priors", own=True)
    if not shapes:
        return Held("a file without a tensor")
    for what, holds, remedy in _OTHERS:
        if holds(shapes):
            return Held(what, remedy=remedy)
    return _checkpoint(shapes) if _begins(UNET)(shapes) else Held(
        f"a file of {len(shapes)} tensors (first: {sorted(shapes)[0][:60]}), of no model that is known here")


def _checkpoint(shapes: Shapes) -> Held:
    """A file with a U-Net under its first names."""
    shape = shapes.get(_FIRST, ())
    encoders = next((found for found in ((XL_CLIP, XL_OPEN_CLIP), (CLIP,), (OPEN_CLIP,)) if all(
        _begins(prefix)(shapes) for prefix in found)), ())
    name = {2: XL, 1: SD1 if encoders == (CLIP,) else SD2}.get(len(encoders), "")
    if _begins(_REFINER)(shapes):
        return Held("the refiner of a single-file Stable Diffusion XL")
    if len(shape) == 4 and shape[1] in _SPECIAL:
        return Held(f"{_SPECIAL[shape[1]]} single-file {name or 'Stable Diffusion'} checkpoint")
    if not encoders or not _begins(VAE)(shapes):
        lacks = [what for what, there in (("text encoder", encoders), ("VAE", _begins(VAE)(shapes))) if not there]
        return Held(f"a single-file {name or 'Stable Diffusion'} checkpoint without {' and '.join(lacks)}")
    return Held(f"a single-file {name} checkpoint", text_encoders=encoders)


def is_foreign(prior: str | Path) -> bool:
    """Whether ``prior`` names a .safetensors file that is none of our own priors'; a file that cannot be read counts as
    ours, whose reader says what is wrong."""
    try:
        return str(prior).endswith(".safetensors") and not look(Path(prior).expanduser()).own
    except PriorError:
        return False
