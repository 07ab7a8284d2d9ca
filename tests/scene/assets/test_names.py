"""dipir.scene.assets.names: what an asset's name says, and a prompt that is never empty."""
from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipir.scene.assets.gltf import stated_names
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.names import NOTHING, prompt_of, with_article, words_of
from tests.support import asset_samples as samples


@pytest.mark.parametrize("name, words", [
    ("SM_WoodenChair_v2_LOD0", "wooden chair"), ("wooden_table_02_1k", "wooden table"), ("red-chair", "red chair"),
    ("chairFinal_export_lowpoly", "chair"), ("old low poly chair", "old chair"), ("TVStand", "TV stand"),
    ("WOODEN_CHAIR", "wooden chair"), ("bed01", "bed"), ("picture_frame_15x20", "picture frame"),
    ("desk_100cm", "desk"), ("OldChair_LOD1_2k_final", "old chair"), ("game_ready_sword", "sword"),
    ("train_model", "train"), ("model_train", "model train"), ("high_chair", "high chair"), ("apple v3.1", "apple"),
    ("chair-512px", "chair"), ("éclair", "éclair"), ("椅子", "椅子")])
def test_words_of_a_name(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize("name", ["model", "untitled", "scene", "mesh_001", "Object", "final", "1k", "007", "x",
                                  "3f2a9c1b77", "8f14e45fceea167a5a36dedd4bea2543", "export_v2", "IMG_2034", "aB3dEf9",
                                  "a81bc81b-dead-4e5d-abff-90865d1e13b1", "low_poly_model", ""])
def test_names_that_say_nothing(name):
    assert words_of(name) == ""


def test_shapes_say_something_only_outside_of_a_file():
    assert words_of("Cube.001") == "cube" and words_of("Cube.001", inside=True) == ""
    assert words_of("OldChair.fbx", inside=True) == "old chair"


@pytest.mark.parametrize("subject, said", [
    ("chair", "a chair"), ("old chair", "an old chair"), ("umbrella", "an umbrella"), ("uniform", "a uniform"),
    ("unicycle", "a unicycle"), ("used chair", "a used chair"), ("hourglass", "an hourglass"), ("house", "a house"),
    ("LED lamp", "an LED lamp"), ("TV stand", "a TV stand"), ("UFO", "a UFO"), ("éclair", "an éclair"),
    ("bananas", "bananas"), ("scissors", "scissors"), ("sunglasses", "sunglasses"), ("glass", "a glass"),
    ("cactus", "a cactus"), ("lens", "a lens"), ("bus", "a bus"), ("canvas", "a canvas"), ("house of cards",
    "a house of cards"), ("cans of beer", "cans of beer"), ("furniture", "furniture"), ("椅子", "椅子")])
def test_articles(subject, said):
    assert with_article(subject) == said


def gltf_prompt(folder, name, **changes):
    document = samples.gltf()
    document["asset"] |= changes.pop("asset", {})
    return prompt_of(load_asset(samples.write(folder, document | changes, name)))


def test_the_file_s_name_is_asked_first_then_what_is_inside(tmp_path):
    mesh = {"meshes": [samples.gltf()["meshes"][0] | {"name": "Old_Umbrella_LOD0"}]}
    nodes = {"nodes": [{"mesh": 0, "name": "Cube.001"}]}
    prompt, why = gltf_prompt(tmp_path, "red_chair.gltf", **mesh, **nodes)
    assert prompt == "a photo of a red chair" and "file's name" in why
    prompt, why = gltf_prompt(tmp_path, "model.gltf", **mesh, **nodes)
    assert prompt == "a photo of an old umbrella" and "Old_Umbrella_LOD0" in why
    titled = {"asset": {"extras": {"title": "Garden gnome"}}}
    assert gltf_prompt(tmp_path, "scene.gltf", **titled, **mesh)[0] == "a photo of a garden gnome"
    prompt, why = gltf_prompt(tmp_path, "scene.gltf", **nodes)
    assert prompt == f"a photo of {NOTHING}" and "correct the prompt" in why


def test_parts_of_an_obj(tmp_path):
    (tmp_path / "mesh_001.obj").write_text("o Old_Table\n" + samples.OBJ + "f 1 2 4\nf 1 4 3\n")
    assert prompt_of(load_asset(tmp_path / "mesh_001.obj"))[0] == "a photo of an old table"
    (tmp_path / "mesh_001.obj").write_text(samples.OBJ + "f 1 2 4\nf 1 4 3\n")
    assert prompt_of(load_asset(tmp_path / "mesh_001.obj"))[0] == f"a photo of {NOTHING}"


@pytest.mark.parametrize("changes", [{"extras": 3}, {"extras": {"title": 4}}, {"extras": {"title": " "}}, {}])
def test_names_of_any_kind_are_read(tmp_path, changes):
    document = samples.gltf()
    document["asset"] |= changes
    document |= {"scenes": [{"nodes": [0], "name": ["odd"]}]}
    path = samples.write(tmp_path, document)
    assert stated_names(path, json.dumps(document).encode()) == ("thing", "box")


@given(st.text(string.ascii_letters + string.digits + "_- .#", max_size=30))
def test_any_name_gives_words_and_a_sentence(name):
    words = words_of(name)
    assert words == words.strip() and "  " not in words
    assert not words or with_article(words).endswith(words)
