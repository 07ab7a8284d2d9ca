"""A tiny diffusers folder as a single file with the names of the first Stable Diffusion program.

Only what the converters of diffusers undo: U-Net with ``layers_per_block`` 1, VAE, CLIP, and OpenCLIP with its joined
query, key and value.
"""
from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RESNET = (("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
          ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"))
HEAD = (("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"))
OPEN_CLIP = (("embeddings.token_embedding.weight", "token_embedding.weight"),
             ("embeddings.position_embedding.weight", "positional_embedding"), ("final_layer_norm", "ln_final"),
             ("encoder.layers.", "transformer.resblocks."), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
             ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn.out_proj", "attn.out_proj"))


def unet_name(name: str) -> str:
    """Two blocks, of which the deeper one has attention."""
    for ours, theirs in HEAD:
        if name.startswith(ours + "."):
            return name.replace(ours, theirs, 1)
    place = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    middle = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
    if middle:
        kind, k, rest = middle.groups()
        return f"middle_block.1.{rest}" if kind == "attentions" else f"middle_block.{2 * int(k)}.{_resnet(rest)}"
    way, i, kind, j, rest = place.groups()
    i, j = int(i), int(j)
    number = {"down": 1 + 2 * i + j, "up": 2 * i + j}[way]
    if kind == "downsamplers":
        return f"input_blocks.{2 * (i + 1)}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{2 * i + 1}.{2 if i == 0 else 1}.{rest}"
    side = {"down": "input_blocks", "up": "output_blocks"}[way]
    return f"{side}.{number}.{1 if kind == 'attentions' else 0}.{_resnet(rest) if kind == 'resnets' else rest}"


def _resnet(rest: str) -> str:
    for ours, theirs in RESNET:
        rest = rest.replace(ours, theirs, 1)
    return rest


def vae_name(name: str, blocks: int = 2) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{blocks - 1 - int(m[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample.", name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    for ours, theirs in (("mid_block.attentions.0.", "mid.attn_1."), ("group_norm.", "norm."), ("to_q.", "q."),
                         ("to_k.", "k."), ("to_v.", "v."), ("to_out.0.", "proj_out."), ("conv_norm_out", "norm_out"),
                         ("conv_shortcut", "nin_shortcut")):
        name = name.replace(ours, theirs, 1)
    return name


def open_clip(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    made, joined = {}, {}
    for name, tensor in state.items():
        name = name.removeprefix("text_model.")
        part = re.match(r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\.(weight|bias)", name)
        if name == "text_projection.weight":
            made[f"{prefix}text_projection"] = tensor.T
        elif part:
            joined.setdefault((part[1], part[3]), {})[part[2]] = tensor
        elif "position_ids" not in name:
            for ours, theirs in OPEN_CLIP:
                name = name.replace(ours, theirs, 1)
            made[prefix + name] = tensor
    for (layer, kind), three in joined.items():
        made[f"{prefix}transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat([three[k] for k in "qkv"])
    return made


def as_single_file(folder: Path, path: Path, kind: str, metadata: dict[str, str] | None = None) -> Path:
    """kind : as of ``tiny_diffusion.build_pipeline``."""
    def part(name: str) -> dict[str, torch.Tensor]:
        (file,) = (folder / name).glob("*.safetensors")
        return load_file(file)

    made = {"model.diffusion_model." + unet_name(name): tensor for name, tensor in part("unet").items()}
    for name, tensor in part("vae").items():
        new = vae_name(name)
        # Its attention was written as convolutions of one pixel.
        conv = ".mid.attn_1." in f".{new}" and tensor.ndim == 2
        made["first_stage_model." + new] = tensor[:, :, None, None] if conv else tensor
    encoder = part("text_encoder")
    if kind == "sd2":
        made |= open_clip(encoder, "cond_stage_model.model.")
    else:
        prefix = "conditioner.embedders.0.transformer." if kind == "xl" else "cond_stage_model.transformer."
        made |= {prefix + name: tensor for name, tensor in encoder.items()}
    if kind == "xl":
        made |= open_clip(part("text_encoder_2"), "conditioner.embedders.1.model.")
    made["model_ema.decay"] = torch.zeros(1)
    save_file({k: v.clone().contiguous() for k, v in made.items()}, path, metadata=metadata)
    return path
