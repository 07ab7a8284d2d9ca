"""Single files of weights, each named for what it is by its header alone."""
from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.single_file.kinds import is_foreign, look
from dipir.disk import shipped
from dipir.errors import PriorError
from dipir.insert.config import load_config
from dipir.insert.method import find_prior

U, V = "model.diffusion_model.", "first_stage_model."
UNET = {f"{U}input_blocks.0.0.weight": (320, 4, 3, 3), f"{U}out.2.bias": (4,)}
VAE = {f"{V}encoder.conv_in.weight": (128, 3, 3, 3), f"{V}decoder.conv_out.bias": (3,)}
CLIP = {"cond_stage_model.transformer.text_model.final_layer_norm.bias": (768,)}
OPEN_CLIP = {"cond_stage_model.model.ln_final.bias": (1024,)}
XL = {"conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": (768,),
      "conditioner.embedders.1.model.ln_final.bias": (1280,)}
REFINER = {"conditioner.embedders.0.model.ln_final.bias": (1280,)}
HINT = {f"{U}input_blocks.0.0.weight": (320, 9, 3, 3)}


def write(path, shapes, metadata=None):
    save_file({name: torch.zeros(shape, dtype=torch.uint8) for name, shape in shapes.items()}, path, metadata=metadata)
    return path


@pytest.mark.parametrize("shapes, what", [
    ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320), "a.alpha": ()}, "a LoRA"),
    ({"unet.down_blocks.0.attentions.0.to_k.lora_A.weight": (4, 320)}, "a LoRA"),
    ({"unet.mid_block.attentions.0.processor.to_k_lora.down.weight": (4, 320)}, "a LoRA"),
    (VAE, "a VAE alone"), ({"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.bias": (9,)}, "a VAE alone"),
    ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "a ControlNet"),
    ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (320, 4, 3, 3),
      "down_blocks.0.resnets.0.conv1.bias": (1,)}, "a ControlNet"),
    ({f"{U}joint_blocks.0.x_block.mlp.fc1.weight": (4, 4)} | VAE, "a Stable Diffusion 3 checkpoint"),
    ({"double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "a Flux checkpoint"),
    ({f"{U}double_blocks.0.img_attn.qkv.weight": (4, 4)}, "a Flux checkpoint"),
    ({"conv_in.weight": (320, 4, 3, 3), "down_blocks.0.resnets.0.conv1.bias": (1,)}, "the U-Net of a diffusers folder"),
    ({"text_model.final_layer_norm.bias": (768,)}, "a text encoder alone"), ({"emb_params": (2, 768)}, "a textual inv"),
    ({"ip_adapter.1.to_k_ip.weight": (4, 4)}, "an IP-Adapter"),
    ({"down_blocks.0.motion_modules.0.proj_in.weight": (4, 4)}, "motion modules of AnimateDiff"),
    (UNET | VAE | REFINER, "the refiner of a single-file Stable Diffusion XL"),
    (UNET | HINT | VAE | CLIP, "an inpainting single-file Stable Diffusion 1.x checkpoint"),
    (UNET, "a single-file Stable Diffusion checkpoint without text encoder and VAE"),
    (UNET | CLIP, "a single-file Stable Diffusion 1.x checkpoint without VAE"),
    ({"encoder.layer.0.weight": (3, 3)}, "a file of 1 tensors (first: encoder.layer.0.weight), of no model"),
    ({}, "a file without a tensor")])
def test_what_is_no_whole_model_is_named(tmp_path, shapes, what):
    path = write(tmp_path / "x.safetensors", shapes)
    assert not look(path).whole and is_foreign(path)
    with pytest.raises(PriorError) as caught:
        load_pretrained(path)
    assert f"x.safetensors' is {what}" in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("shapes, what, xl", [(CLIP, "1.x", False), (OPEN_CLIP, "2.x", False), (XL, "XL", True)])
def test_whole_checkpoints(tmp_path, shapes, what, xl):
    held = look(write(tmp_path / "x.safetensors", UNET | VAE | shapes))
    assert held.whole and held.xl == xl and held.what == f"a single-file Stable Diffusion {what} checkpoint"


def test_our_own_weights_are_ours(tmp_path):
    """They go to their own readers; an adapter of ours is none of them; broken files are left to the readers too."""
    for name in ("insert", "relight", "layout", "light", "illuminet"):
        assert look(shipped("assets/priors") / f"{name}.safetensors").own
    adapter = write(tmp_path / "a.safetensors", {"x": (1,)}, {"format": "dipir-lora-1"})
    assert "adapter that dipir trained" in look(adapter).what
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    assert not is_foreign(tmp_path / "b.safetensors") and not is_foreign(tmp_path / "absent.safetensors")
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        look(tmp_path / "b.safetensors")


def test_insert_names_what_it_is_given(tmp_path):
    path = write(tmp_path / "style.safetensors", {"lora_te_x.lora_up.weight": (4, 4)})
    with pytest.raises(PriorError, match="is a LoRA. It changes another model"):
        find_prior(path, load_config("default", None, ["guidance.kind=lds"]))
