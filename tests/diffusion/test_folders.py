"""Diffusers folders: what is missing is named before anything is loaded."""
from __future__ import annotations

import json
import shutil

import pytest
import torch

from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import PriorError


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of the SD 1 folder to be damaged."""
    return shutil.copytree(folders["sd1"], tmp_path / "prior")


def test_fp16_named_files_are_found(broken, folders):
    long = "diffusion_pytorch_model"
    for part, stem in (("unet", long), ("vae", long), ("text_encoder", "model")):
        (broken / part / f"{stem}.safetensors").rename(broken / part / f"{stem}.fp16.safetensors")
    again, plain = load_pretrained(broken), load_pretrained(folders["sd1"])
    assert torch.equal(again.encode_text("car").text, plain.encode_text("car").text)


def test_hub_name_tells_what_to_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PriorError) as caught:
        load_pretrained("stabilityai/stable-diffusion-2-1")
    text = str(caught.value)
    assert "huggingface-cli download stabilityai/stable-diffusion-2-1 --local-dir priors/stable-diffusion-2-1" in text
    assert "--prior priors/stable-diffusion-2-1" in text


def test_missing_folder_and_single_file(tmp_path):
    with pytest.raises(PriorError, match="no such folder(.|\n)*huggingface-cli download"):
        load_pretrained(tmp_path / "absent")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(PriorError, match="is a file"):
        load_pretrained(tmp_path / "model.ckpt")
    with pytest.raises(PriorError, match="no model_index.json"):
        load_pretrained(tmp_path)


def test_every_missing_part_is_named_at_once(broken):
    shutil.rmtree(broken / "vae")
    shutil.rmtree(broken / "tokenizer")
    (broken / "scheduler" / "scheduler_config.json").unlink()
    (broken / "text_encoder" / "config.json").unlink()
    with pytest.raises(PriorError) as caught:
        load_pretrained(broken)
    assert all(word in str(caught.value) for word in ("4 problems", "vae/ is missing", "tokenizer/ is missing",
                                                      "scheduler_config.json", "text_encoder/ lacks config.json"))


def test_pickles_are_not_opened(broken):
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(PriorError, match=r"pickled weights(.|\n)*unet/\*\.safetensors"):
        load_pretrained(broken)
    file.with_suffix(".bin").unlink()
    with pytest.raises(PriorError, match="no safetensors weights"):
        load_pretrained(broken)


@pytest.mark.parametrize("kind,text", [("StableDiffusion3Pipeline", "accepted: StableDiffusionPipeline"),
                                       (None, "_class_name")])
def test_other_pipelines(broken, kind, text):
    (broken / "model_index.json").write_text(json.dumps({"_class_name": kind} if kind else []))
    with pytest.raises(PriorError, match=text):
        load_pretrained(broken)
