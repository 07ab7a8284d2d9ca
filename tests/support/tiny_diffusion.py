"""Tiny Stable Diffusion folders with random weights, saved in the real on-disk format; no network.

The tokenizer is written by hand (letters and two merges). Text encoders are saved with the ``text_model.`` prefix and
the ``position_ids`` buffer, as published folders have them.
"""
from __future__ import annotations

import json
from pathlib import Path

import torch

LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCAB = LETTERS + [c + "</w>" for c in LETTERS] + ["ca", "car</w>", "<|startoftext|>", "<|endoftext|>"]
WIDTH = 8  # of the text embedding


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(VOCAB)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca r</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "errors": "replace",
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>"}))


def write_text_encoder(folder: Path, projected: bool) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(vocab_size=len(VOCAB), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=3,
                            num_attention_heads=2, max_position_embeddings=77, projection_dim=WIDTH,
                            bos_token_id=len(VOCAB) - 2, eos_token_id=len(VOCAB) - 1, pad_token_id=len(VOCAB) - 1)
    (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    state = {k if k.startswith(("text_model.", "text_projection")) else "text_model." + k: v.clone()
             for k, v in load_file(file).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, file, metadata={"format": "pt"})


def build_unet(xl: bool = False, seed: int = 0):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    extra = dict(addition_embed_type="text_time", addition_time_embed_dim=8, transformer_layers_per_block=1,
                 projection_class_embeddings_input_dim=6 * 8 + WIDTH, use_linear_projection=True) if xl else {}
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, cross_attention_dim=2 * WIDTH if xl else WIDTH, **extra)


def build_vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4,
                         down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                         layers_per_block=1, sample_size=16, scaling_factor=0.18215)


def build_pipeline(folder: Path, kind: str = "sd1", seed: int = 0) -> Path:
    """kind : "sd1" (epsilon), "sd2" (v prediction) or "xl". The VAE shrinks by 2 instead of 8."""
    from diffusers import DDPMScheduler

    torch.manual_seed(seed)
    xl, folder = kind == "xl", Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    build_unet(xl, seed).save_pretrained(folder / "unet")
    build_vae().save_pretrained(folder / "vae")
    DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  prediction_type="v_prediction" if kind == "sd2" else "epsilon",
                  clip_sample=False).save_pretrained(folder / "scheduler")
    for i, name in enumerate(("", "_2") if xl else ("",)):
        write_tokenizer(folder / f"tokenizer{name}")
        write_text_encoder(folder / f"text_encoder{name}", projected=i == 1)
    kind_name = "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": kind_name, "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"]}))
    return folder
