"""Checkpoints in a single file: the same model as the folder that they were made from, and what is refused."""
from __future__ import annotations

import json
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file

from dipir.diffusion.pretrained import PretrainedDenoiser, load_pretrained
from dipir.errors import PriorError
from dipir.insert import method as insert_method
from dipir.layout import method as layout_method
from dipir.layout.config import LayoutConfig
from dipir.relight import method as relight_method
from dipir.relight.config import RelightConfig
from dipir.relight.method import RelightRequest
from tests.support.ldm_names import as_single_file
from tests.support.tiny_diffusion import build_pipeline

KINDS = {"sd1": "1.x", "sd2": "2.x", "xl": "XL"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sd")
    return {kind: build_pipeline(root / kind, kind) for kind in KINDS}


def bare(folder, to):
    """Configurations and tokenizers without weights."""
    return shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.fixture
def no_network(monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_as_the_folder(folders, tmp_path, kind, no_network):
    """Every weight is equal, and what denoiser, VAE and text encoders give is as well, to the last digits (kernels may
    differ with where a weight lies in memory); the configurations lie beside the file."""
    path = as_single_file(folders[kind], tmp_path / "model.safetensors", kind)
    bare(folders[kind], tmp_path / "model")
    one, other = load_pretrained(path), load_pretrained(folders[kind])
    for mine, theirs in zip((one.parts.unet, one.parts.vae, *one.parts.text_encoders),
                            (other.parts.unet, other.parts.vae, *other.parts.text_encoders), strict=True):
        state, expected = mine.state_dict(), theirs.state_dict()
        assert state.keys() == expected.keys() and len(state) > 20
        assert all(torch.equal(state[name], expected[name]) for name in state)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    condition, expected = one.encode_text("car"), other.encode_text("car")
    assert torch.allclose(condition.text, expected.text, atol=1e-5) and condition.text.abs().max() > 0.1
    assert kind != "xl" or torch.allclose(condition.text_pooled, expected.text_pooled, atol=1e-5)
    latent, sigma = other.encode(image), torch.tensor([2.0])
    assert torch.allclose(one.encode(image), latent, atol=1e-5)
    assert torch.allclose(one.decode(latent), other.decode(latent), atol=1e-5)
    assert torch.allclose(one(latent, sigma, condition), other(latent, sigma, expected), atol=1e-5)
    assert one.parts.prediction == other.parts.prediction and one.sigma_max == other.sigma_max
    # Another seed's weights are another model.
    changed = load_pretrained(build_pipeline(tmp_path / "other", kind, seed=3))
    assert not torch.allclose(changed(latent, sigma, expected), other(latent, sigma, expected), atol=1e-3)


def test_where_configurations_are_looked_for(folders, tmp_path):
    """Given, beside the file by its name, or around it; else the file is named and both remedies."""
    path = as_single_file(folders["sd1"], tmp_path / "model.safetensors", "sd1")
    with pytest.raises(PriorError) as caught:
        load_pretrained(path)
    text = str(caught.value)
    assert "is a single-file Stable Diffusion 1.x checkpoint" in text and "--prior-config DIR" in text
    assert "huggingface-cli download stable-diffusion-v1-5/stable-diffusion-v1-5 --include '*.json' '*.txt'" in text
    given = bare(folders["sd1"], tmp_path / "elsewhere")
    assert load_pretrained(path, config=given).factor == 2
    around = bare(folders["sd1"], tmp_path / "around")
    assert load_pretrained(shutil.copy(path, around / "any.safetensors")).factor == 2
    with pytest.raises(PriorError, match="is for single files"):
        load_pretrained(folders["sd1"], config=given)
    shutil.rmtree(given / "tokenizer")
    with pytest.raises(PriorError, match="tokenizer/ is missing"):
        load_pretrained(path, config=given)


def test_every_method_takes_them(folders, tmp_path):
    """By its settings ``prior`` and ``prior_config``."""
    path = as_single_file(folders["sd1"], tmp_path / "model.safetensors", "sd1")
    given = {"prior": str(path), "prior_config": str(bare(folders["sd1"], tmp_path / "elsewhere"))}
    words = [f"{key}={value}" for key, value in given.items()]
    config = insert_method.load_config("default", None, [*words, "guidance.kind=lds"])
    layout = LayoutConfig(**given)
    assert not layout.grammar
    for found in (insert_method.find_prior(config.prior, config), layout_method.find_prior(layout),
                  relight_method.find_engine(RelightConfig(**given), RelightRequest(prompt="x")).network):
        assert isinstance(found, PretrainedDenoiser) and found.hash == str(path)


def test_files_that_do_not_belong_to_their_configurations(folders, tmp_path):
    path = as_single_file(folders["sd1"], tmp_path / "model.safetensors", "sd1")
    with pytest.raises(PriorError, match="configurations of another kind"):
        load_pretrained(path, config=folders["xl"])
    config = bare(folders["sd1"], tmp_path / "model")
    state = load_file(path)
    for change, text in ((lambda s: s.pop("model.diffusion_model.out.2.weight"), "weights of unet are absent"),
                         (lambda s: s.pop("first_stage_model.decoder.conv_out.bias"), "weights of vae are absent"),
                         (lambda s: s.pop("cond_stage_model.transformer.text_model.final_layer_norm.bias"),
                          "weights of text_encoder are absent")):
        less = dict(state)
        change(less)
        save_file(less, path)
        with pytest.raises(PriorError, match=text):
            load_pretrained(path)
    save_file(state | {"model.diffusion_model.out.2.weight": torch.zeros(4, 9, 3, 3)}, path)
    with pytest.raises(PriorError, match="cannot be loaded"):
        load_pretrained(path)
    save_file(state | {"v_pred": torch.zeros(1)}, path)
    with pytest.raises(PriorError, match="predicts v_prediction, and .* says epsilon"):
        load_pretrained(path)
    save_file(state, path, metadata={"modelspec.prediction_type": "v"})
    with pytest.raises(PriorError, match="predicts v_prediction"):
        load_pretrained(path)
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        load_pretrained(path)
    assert json.loads((config / "model_index.json").read_text())


def test_pickles_are_not_read(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04N.")
    with pytest.raises(PriorError, match="may be pickled, which can run code"):
        load_pretrained(tmp_path / "model.ckpt")
