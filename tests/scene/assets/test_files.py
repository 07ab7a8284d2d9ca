"""Bad and hostile files end in AssetError that names the file; real assets load."""
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

import dipir.scene.assets.files as asset_files
from dipir.errors import AssetError
from dipir.scene.assets.files import decode_image, read_reference
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.obj import map_file
from tests.support.asset_samples import BOX, BOX_FACES, OBJ, embedded, gltf, ply, png, write

DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[3] / "../shared/data"))
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


def test_truncated_buffer(tmp_path):
    document = gltf()
    document["buffers"][0]["byteLength"] += 100
    refused(write(tmp_path, document), "truncated")


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


def test_bad_geometry(tmp_path):
    nan = BOX.copy()
    nan[3, 1] = np.nan
    refused(write(tmp_path, gltf(nan)), "NaN or infinite vertices")
    refused(write(tmp_path, gltf(BOX * 0)), "degenerate")
    refused(write(tmp_path, gltf(faces=BOX_FACES[:, [0, 0, 1]])), "degenerate")
    refused(write(tmp_path, gltf(faces=BOX_FACES + 5)))
    empty = gltf()
    empty["meshes"][0]["primitives"][0]["mode"] = 0
    refused(write(tmp_path, empty), "no faces")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    refused(tmp_path / "points.obj", "no faces")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    refused(tmp_path / "nan.obj", "NaN")


def test_unused_vertices_do_not_count_and_degenerate_faces_go(tmp_path):
    more = np.concatenate([BOX, [[1000, 1000, np.nan]]]).astype(np.float32)
    faces = np.concatenate([BOX_FACES, [[0, 0, 1]]]).astype(np.uint32)
    asset = load_asset(write(tmp_path, gltf(more, faces)))
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 1, 4]) and len(asset.parts[0].faces) == 12


def test_textures_need_uvs(tmp_path):
    color = embedded(np.random.default_rng(0).integers(0, 255, (4, 4, 3)))
    refused(write(tmp_path, gltf(uvs=False, material=TEXTURED, images=[color])), "no UVs")


def test_hostile_gltf_structures(tmp_path):
    refused(write(tmp_path, gltf(nodes=[{"children": [1]}, {"children": [0], "mesh": 0}])), "cyclic")
    refused(write(tmp_path, gltf(nodes=[{"children": [1, 1]}, {"mesh": 0}])), "two parents")
    huge = gltf()
    huge["accessors"].append({"componentType": 5126, "count": 10**15, "type": "VEC3"})
    refused(write(tmp_path, huge), "without data")
    refused(write(tmp_path, gltf(extensionsRequired=["KHR_draco_mesh_compression"])), "KHR_draco")
    refused(write(tmp_path, gltf(material={"normalTexture": {"index": 7}})), "not a valid glTF")
    refused(write(tmp_path, [1, 2]), "glTF 2")
    refused(write(tmp_path, gltf(asset={"version": "1.0"})), "glTF 2")


def test_bad_options(tmp_path):
    path = write(tmp_path, gltf())
    refused(path, "unit 'furlong'", unit="furlong")
    refused(path, "unit -1", unit=-1)
    refused(path, "up axis 'w'", up_axis="w")


@pytest.mark.parametrize("statement, name", [
    ("a.png", "a.png"), ("-s 1 1 1 a b.png", "a b.png"), ("-bm 0.5 a.png", "a.png"), ("-o 0.1 1.png", "1.png"),
    ("-clamp on -imfchan l x.png", "x.png")])
def test_map_options(statement, name):
    assert map_file(statement) == name


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "meshes").is_dir(), reason="shared meshes absent")
@pytest.mark.parametrize("name, parts, size", [
    ("barrel/barrel.glb", 1, (2.53, 3.0, 2.53)), ("dishes/evo_bowl.gltf", 1, (0.147, 0.061, 0.147)),
    ("cutting_board/homecart_cutting_board.gltf", 1, (0.68, 0.025, 0.99)),
    ("dishes/plate_8in.gltf", 1, (0.2, 0.018, 0.2)),
    ("painted_wooden_cabinet/painted_wooden_cabinet_1k.gltf", 5, (1.19, 1.18, 0.62)),
    ("painted_wooden_cabinet_02/painted_wooden_cabinet_02_1k.gltf", 3, (1.0, 2.57, 0.72)),
    ("painted_wooden_stool/painted_wooden_stool_1k.gltf", 1, (0.385, 0.58, 0.41)),
    ("sofa_03/sofa_03_1k.gltf", 2, (2.73, 1.12, 0.93)), ("spot_cow/cow.obj", 1, (0.94, 1.69, 1.72)),
    ("tea_set_01/tea_set_01_1k.gltf", 10, (0.92, 0.165, 0.485)),
    ("wooden_bookshelf_worn/wooden_bookshelf_worn_1k.gltf", 1, (1.37, 2.06, 0.58))])
def test_real_assets(name, parts, size):
    asset = load_asset(DATA / "meshes" / name)
    assert len(asset.parts) == parts
    low, high = asset.bounds
    assert high - low == pytest.approx(size, rel=0.03)
    assert low[1] == pytest.approx(0, abs=1e-6) and low[[0, 2]] == pytest.approx(-high[[0, 2]], abs=1e-5)
    for part in asset.parts:
        m = part.material
        for slot in (m.roughness_texture, m.metallic_texture, m.opacity_texture):
            assert slot is None or (slot.ndim == 2 and slot.dtype == np.float32 and 0 <= slot.min() <= slot.max() <= 1)
        assert m.roughness_texture is None or m.roughness_texture.min() >= 0.05
        assert m.base_color_texture is None or part.uvs.shape == (len(part.vertices), 2)
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-3)
    textured = "dishes" not in name
    assert textured == any(p.material.base_color_texture is not None for p in asset.parts)
