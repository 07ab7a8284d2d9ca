"""Bad and hostile files end in AssetError that names the file; real assets load."""
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

import dipir.scene.assets.files as asset_files
from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.scene.assets.files import decode_image, find_beside, read_reference
from dipir.scene.assets.load import load_asset
from tests.support.asset_samples import BOX, BOX_FACES, OBJ, gltf, ply, png, write

TEXTURED = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}


def refused(path, match=None, **options):
    with pytest.raises(AssetError, match=match) as error:
        load_asset(path, **options)
    assert options or path.name in str(error.value)


@pytest.mark.parametrize("uri", ["/etc/hostname", "../secret.png", "%2e%2e/secret.png", "http://x.org/a.png",
                                 "file:///etc/hostname", "C:\\a.png", "..\\secret.png", "link.png",
                                 "sub/../../secret.png"])
@pytest.mark.parametrize("used", [True, False])
def test_outside_references_are_refused_although_the_file_is_there(tmp_path, uri, used):
    folder = tmp_path / "asset"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png(np.zeros((2, 2, 3))))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    material = TEXTURED if used else {}
    refused(write(folder, gltf(material=material, images=[uri])), "absolute path or a web|leads outside")
    buffers = gltf()
    buffers["buffers"][0]["uri"] = uri
    refused(write(folder, buffers), "absolute path or a web|leads outside")
    if used:
        (folder / "a.mtl").write_text(f"newmtl m\nmap_Kd {uri}\n")
        (folder / "a.obj").write_text(f"mtllib a.mtl\n{OBJ}usemtl m\nf 1/1 2/2 3/3\n")
        refused(folder / "a.obj", "absolute path or a web|leads outside")
        (folder / "b.obj").write_text(f"mtllib {uri}\n{OBJ}usemtl m\nf 1/1 2/2 3/3\n")
        refused(folder / "b.obj", "absolute path or a web|leads outside")
        (folder / "a.ply").write_text(ply(header=f"comment TextureFile {uri}\n"))
        refused(folder / "a.ply", "absolute path or a web|leads outside")


def test_inside_references_are_read(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.png").write_bytes(b"x")
    (tmp_path / "inner.png").symlink_to(tmp_path / "sub" / "a b.png")
    for uri in ("sub/a%20b.png", "./sub/a b.png", "sub/../inner.png"):
        assert read_reference(tmp_path / "a.gltf", uri, "texture") == b"x"


def test_missing_files_are_named(tmp_path):
    refused(write(tmp_path, gltf(material=TEXTURED, images=["gone.png"])), "texture 'gone.png' is missing")
    document = gltf()
    document["buffers"][0]["uri"] = "gone.bin"
    refused(write(tmp_path, document), "buffer 'gone.bin' is missing")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd gone.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{OBJ}usemtl m\nf 1/1 2/2 3/3\n")
    refused(tmp_path / "a.obj", "texture 'gone.png' is missing")


def test_files_that_are_none(tmp_path):
    refused(tmp_path / "no.glb", "does not exist")
    refused(tmp_path / "a.fbx", r"'.fbx' is not supported; accepted are .glb, .gltf, .obj, .ply, .stl")
    for name in ("a.glb", "a.gltf", "a.obj", "a.ply", "a.stl"):
        path = tmp_path / name
        path.write_bytes(b"")
        refused(path, "empty")
        path.write_bytes(os.urandom(300))
        refused(path)
    (tmp_path / "d.glb").mkdir()
    refused(tmp_path / "d.glb", "is a folder")


@pytest.mark.parametrize("name", ["a.gltf", "a.ply", "a.stl"])
def test_truncated_files(tmp_path, name):
    stl = b"\0" * 80 + struct.pack("<I", 12) + b"".join(struct.pack("<12fH", 0, 0, 0, *t.reshape(-1), 0)
                                                        for t in BOX[BOX_FACES])
    full = {"a.gltf": json.dumps(gltf()).encode(), "a.ply": ply().encode(), "a.stl": stl}[name]
    path = tmp_path / name
    path.write_bytes(full)
    load_asset(path)
    path.write_bytes(full[:len(full) * 2 // 3])
    refused(path)


def test_corrupt_and_large_textures(tmp_path, monkeypatch):
    good = png(np.random.default_rng(0).integers(0, 255, (64, 64, 3)))
    for bad, match in ((good[:len(good) // 2], "corrupt or truncated"), (b"hello", "not an image")):
        (tmp_path / "t.png").write_bytes(bad)
        refused(write(tmp_path, gltf(material=TEXTURED, images=["t.png"])), match)
    # Headers that claim a huge picture, without the pixels: the size must be judged before decoding. Pillow itself
    # refuses the first one only.
    for side in (60000, 11000):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + good[33:])
        refused(write(tmp_path, gltf(material=TEXTURED, images=["t.png"])), "megapixels")
    monkeypatch.setattr(asset_files, "MAX_TEXTURE_SIDE", 16)
    pixels, note = decode_image(png(np.full((32, 64, 4), [200, 100, 50, 0])), "t")
    assert pixels.shape == (8, 16, 4) and pixels[0, 0].tolist() == [200, 100, 50, 0] and "64 x 32 to 16 x 8" in note


def test_large_files_are_refused_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(asset_files, "MAX_FILE_BYTES", 100)
    refused(write(tmp_path, gltf()), "GiB")


@pytest.mark.parametrize("name, found", [
    ("a.png", "a.png"), ("A.PNG", "a.png"), ("sub\\b.png", "sub/b.png"), ("SUB/./B.png", "sub/b.png"),
    ("a.png # old", "a.png"), ("x%20y.png", "x%20y.png"), ("x%20z.png", "x z.png"), (".\\a.png", "a.png")])
def test_names_that_follow_no_rule(tmp_path, name, found):
    (tmp_path / "sub").mkdir()
    for file in ("a.png", "sub/b.png", "x%20y.png", "x y.png", "x z.png"):
        (tmp_path / file).write_bytes(b"x")
    assert find_beside(tmp_path / "a.obj", name, "texture") == ((tmp_path / found).resolve(), None)


def test_a_name_that_is_elsewhere(tmp_path):
    (tmp_path / "b.png").write_bytes(b"x")
    for name in ("D:\\maps\\B.png", "maps/b.png", "/maps/b.png", "../b.png"):
        path, note = find_beside(tmp_path / "a.obj", name, "texture")
        assert path == (tmp_path / "b.png").resolve() and is_warning(note) and name in note
        with pytest.raises(AssetError, match="missing|absolute|outside"):
            find_beside(tmp_path / "a.obj", name, "texture", anywhere=False)


def test_no_spelling_leads_out_of_the_folder(tmp_path):
    folder = tmp_path / "asset"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("../secret.png", "%2e%2e/secret.png", "LINK.png", "x/../../secret.png",
                 str(tmp_path / "secret.png")):
        with pytest.raises(AssetError, match="outside|absolute"):
            find_beside(folder / "a.obj", name, "texture")


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_textures_of_wide_numbers_are_refused(tmp_path, kind):
    """They were black."""
    Pillow.fromarray(np.full((4, 4), 1, kind)).save(tmp_path / "a.tif")
    with pytest.raises(AssetError, match="8 or 16 bits"):
        decode_image((tmp_path / "a.tif").read_bytes(), "a.tif")
