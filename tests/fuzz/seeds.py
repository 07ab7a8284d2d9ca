"""A valid file of every format that is read, small; and who reads it."""
from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import safetensors.torch
import torch
import trimesh
from PIL import Image as Pillow
from PIL import ImageCms
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl_ascii

from dipir.captures.co3d import read_category
from dipir.captures.colmap import read_colmap
from dipir.captures.nerfstudio import read_transforms
from dipir.captures.point_cloud import read_points, write_points
from dipir.captures.rti import read_capture
from dipir.diffusion.single_file.kinds import look
from dipir.errors import DipirError
from dipir.fit.checkpoint import State
from dipir.fit.checkpoint import load as load_checkpoint
from dipir.fit.checkpoint import save as save_checkpoint
from dipir.image.files import read_image, write_exr
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.result import load_light, load_result
from dipir.layout.regions import load_layout
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.light import SphericalGaussians
from dipir.scene.photo_camera.files import load_camera, read_camera
from dipir.scene.photo_camera.lens import to_photo, to_straight
from dipir.scene.scene_file import load_scene_file
from dipir.settings.read import merge
from dipir.settings.yaml import dump_yaml, load_yaml
from dipir.suite.file import load_suite
from dipir.tensors import read_tensors
from tests.support.fspy_files import parameters, project
from tests.support.posed_folders import SIZE, as_binary, as_text, as_transforms

CUBE = trimesh.creation.box()
RAMP = np.add.outer(np.arange(SIZE[1]), 3 * np.arange(SIZE[0])).astype(np.uint8)[..., None].repeat(3, -1)
Reader = Callable[[Path], object]


def tensors(path: Path) -> object:
    """Every caller of ``read_tensors`` makes an error of ours of its ValueError."""
    try:
        return read_tensors(path)
    except ValueError as problem:
        raise DipirError(str(problem)) from problem


def looked_through(path: Path) -> object:
    """The camera of a file with a lens, and the way there and back through it."""
    given = read_camera(path, (64, 48))
    if given.lens is None:
        return given
    return to_photo(given.lens, given.camera), to_straight(given.lens, given.camera)


# Format -> (file that is changed, what reads it), both in the format's own folder.
READERS: dict[str, tuple[str, Reader]] = {
    "scene": ("scene.yaml", load_scene_file), "scene json": ("scene.json", load_scene_file),
    "config": ("config.yaml", lambda p: merge(InsertConfig(), load_yaml(p))), "suite": ("suite.yaml", load_suite),
    "layout": ("layout.yaml", load_layout), "camera": ("camera.yaml", load_camera),
    "camera json": ("camera.json", load_camera), "camera lens": ("camera.json", looked_through),
    "fspy": ("a.fspy", load_camera), "fspy json": ("a.json", load_camera), "single file": ("m.safetensors", look),
    "light": ("light.json", load_light),
    "result": ("result.json", lambda p: load_result(p.parent)), "png": ("a.png", read_image),
    "jpeg": ("a.jpg", read_image), "exr": ("a.exr", read_image), "hdr": ("a.hdr", read_image),
    "tiff": ("a.tif", read_image), "tiff float": ("a.tif", read_image), "dpx": ("a.dpx", read_image),
    "webp": ("a.webp", read_image), "png profile": ("a.png", read_image), "exr parts": ("a.exr", read_image),
    "obj": ("a.obj", load_asset), "mtl": ("a.mtl", lambda p: load_asset(p.with_suffix(".obj"))),
    "ply": ("a.ply", load_asset), "ply text": ("a.ply", load_asset), "stl": ("a.stl", load_asset),
    "stl text": ("a.stl", load_asset), "glb": ("a.glb", load_asset), "gltf": ("a.gltf", load_asset),
    "co3d": ("cup/frame_annotations.jgz", lambda p: read_category(p.parents[1], "cup")),
    "co3d sequence": ("cup/sequence_annotations.jgz", lambda p: read_category(p.parents[1], "cup")),
    "colmap text": ("sparse/0/images.txt", lambda p: read_colmap(p.parents[2])),
    "colmap cameras": ("sparse/0/cameras.txt", lambda p: read_colmap(p.parents[2])),
    "colmap points": ("sparse/0/points3D.txt", lambda p: read_colmap(p.parents[2])),
    "colmap binary": ("sparse/images.bin", lambda p: read_colmap(p.parents[1])),
    "colmap binary cameras": ("sparse/cameras.bin", lambda p: read_colmap(p.parents[1])),
    "colmap binary points": ("sparse/points3D.bin", lambda p: read_colmap(p.parents[1])),
    "points": ("a.ply", read_points), "points text": ("a.ply", read_points),
    "nerfstudio": ("transforms.json", read_transforms), "lp": ("a.lp", read_capture), "npz": ("a.npz", read_capture),
    "safetensors": ("a.safetensors", tensors), "checkpoint": ("c.safetensors", lambda p: load_checkpoint(p, "hash"))}


def write(root: Path) -> dict[str, Path]:
    """All of them below ``root``; format -> file."""
    for name in READERS:
        (root / name).mkdir(parents=True)
    _settings(root)
    _pictures(root)
    _captures(root)
    _meshes(root)
    safetensors.torch.save_file({"a": torch.rand(3, 2)}, root / "safetensors" / "a.safetensors", {"k": "v"})
    names = ("model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.x", "cond_stage_model.transformer.x")
    safetensors.torch.save_file({name: torch.zeros(1, 4, 3, 3) for name in names},
                                root / "single file" / "m.safetensors")
    save_checkpoint(root / "checkpoint" / "c.safetensors", State(1, {"a": torch.rand(2)}, {}, [{"loss": 1.0}]), "hash")
    return {name: root / name / file for name, (file, _) in READERS.items()}


def _settings(root: Path) -> None:
    scene = {"plate": "p.png", "prompt": "a cube", "camera": {"fov_deg": 50.0, "pitch_deg": 15.0, "height_m": 1.6},
             "objects": [{"asset": "c.obj", "at": [64, 70], "height_m": 0.5, "yaw_deg": 20.0}], "name": "yard"}
    camera = {"width": 640, "height": 480, "fx": 500.0, "cx": 320.0, "height_m": 1.6, "pitch_deg": 10.0, "yaw_deg": 5.0}
    light = SphericalGaussians.uniform(torch.ones(3), 3).to_dict()
    tone = ToneCurve.identity().to_dict()
    for name in ("scene", "scene json"):
        Pillow.fromarray(RAMP).save(root / name / "p.png")
        CUBE.export(root / name / "c.obj")
    dump_yaml(scene, root / "scene" / "scene.yaml")
    (root / "scene json" / "scene.json").write_text(json.dumps(scene))
    dump_yaml(camera, root / "camera" / "camera.yaml")
    (root / "camera json" / "camera.json").write_text(json.dumps(camera))
    lens = {"lens": "FULL_OPENCV", "distortion": [-0.2, 0.05, 0.001, -0.002, 0.01, 0.02, 0.003, 0.001]}
    (root / "camera lens" / "camera.json").write_text(json.dumps(camera | lens))
    project(root / "fspy" / "a.fspy", parameters())
    (root / "fspy json" / "a.json").write_text(json.dumps(parameters()))
    dump_yaml(InsertConfig(), root / "config" / "config.yaml")
    dump_yaml({"method": "insert", "scenes": ["s.yaml"], "seeds": [0, 1], "grid": {"fit.steps": [1, 2]}},
              root / "suite" / "suite.yaml")
    (root / "suite" / "s.yaml").write_text("{}")
    dump_yaml({"caption": "a mug", "regions": [{"caption": "a mug", "box": [0.1, 0.2, 0.5, 0.9]}]},
              root / "layout" / "layout.yaml")
    (root / "light" / "light.json").write_text(json.dumps(light))
    folder = root / "result"
    (folder / "light.json").write_text(json.dumps(light))
    dump_yaml(InsertConfig(), folder / "config.yaml")
    (folder / "result.json").write_text(json.dumps({
        "format": 1, "camera": Camera.looking(64, 48, 50).to_dict(), "tone_fg": tone, "tone_shadow": tone,
        "provenance": {"seed": 1}}))


def _meshes(root: Path) -> None:
    for name in ("obj", "ply", "stl", "glb"):
        CUBE.export(root / name / f"a.{name}")
    write_points(root / "points" / "a.ply", CUBE.vertices, np.zeros((8, 3), np.uint8))
    (root / "points text" / "a.ply").write_bytes(export_ply(trimesh.PointCloud(CUBE.vertices), encoding="ascii"))
    (root / "ply text" / "a.ply").write_bytes(export_ply(CUBE, encoding="ascii"))
    (root / "stl text" / "a.stl").write_text(export_stl_ascii(CUBE))
    Pillow.fromarray(RAMP).save(root / "mtl" / "a.png")
    (root / "mtl" / "a.mtl").write_text("newmtl m\nKd .5 .4 .3\nd 0.9\nNs 20\nPm 1\nmap_Kd -s 2 2 -o .5 a.png\nmap_d "
                                        "-mm 0 1 a.png\nnorm -bm 2 a.png\nnewmtl n\nKe 1 1 1\n")
    (root / "mtl" / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\n"
                                        "f 1/1 2/2 3/3\nusemtl n\nf 1 3 2\n")
    packed = base64.b64encode(np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).tobytes() + np.uint16([0, 1, 2]).tobytes())
    (root / "gltf" / "a.gltf").write_text(json.dumps({
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "extensionsUsed": ["EXT_mesh_gpu_instancing", "KHR_texture_transform"],
        "nodes": [{"children": [1], "scale": [1, 2, 1]},
                  {"mesh": 0, "skin": 0, "rotation": [0, 0, 0, 1], "extensions": {"EXT_mesh_gpu_instancing": {
                      "attributes": {"TRANSLATION": 0}}}}],
        "skins": [{"joints": [0, 1], "skeleton": 0}], "images": [{"uri": "a.png"}], "textures": [{"source": 0}],
        "samplers": [{"wrapS": 33071}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1], "baseColorTexture": {
            "index": 0, "extensions": {"KHR_texture_transform": {"rotation": 1, "scale": [2, 2]}}}}}],
        "meshes": [{"weights": [0.5], "primitives": [{
            "attributes": {"POSITION": 0, "TEXCOORD_0": 3}, "indices": 1, "material": 0,
            "targets": [{"POSITION": 2}]}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                      {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
                      {"componentType": 5126, "count": 3, "type": "VEC3", "sparse": {
                          "count": 1, "indices": {"bufferView": 1, "componentType": 5123},
                          "values": {"bufferView": 0}}},
                      {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC2"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 6}],
        "buffers": [{"byteLength": 42, "uri": f"data:application/octet-stream;base64,{packed.decode()}"}]}))
    Pillow.fromarray(RAMP).save(root / "gltf" / "a.png")


def _pictures(root: Path) -> None:
    for name in ("tiff", "webp"):
        Pillow.fromarray(RAMP).save(root / name / f"a.{name[:3] if name == 'tiff' else name}", exif=_exif())
    Pillow.fromarray(RAMP).save(root / "png profile" / "a.png", exif=_exif(),
                                icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for name, end, kind in (("tiff float", "tif", "float"), ("dpx", "dpx", "uint16")):
        oiio.ImageBuf(RAMP / np.float32(255)).write(str(root / name / f"a.{end}"), kind)
    parts = [OpenEXR.Part({"type": OpenEXR.scanlineimage, "name": n}, {
        f"{n}.{c}": RAMP[..., 0].astype(np.float32) for c in "RGB"}) for n in ("one", "two")]
    OpenEXR.File(parts).write(str(root / "exr parts" / "a.exr"))
    Pillow.fromarray(RAMP).save(root / "png" / "a.png")
    Pillow.fromarray(RAMP).save(root / "jpeg" / "a.jpg")
    write_exr(root / "exr" / "a.exr", {c: torch.rand(6, 8) for c in "RGB"})
    (root / "hdr" / "a.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n" + bytes(range(64)))


def _exif() -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 35
    return exif


def _captures(root: Path) -> None:
    for name in [name for name in READERS if name.startswith(("colmap", "nerfstudio"))]:
        made = as_transforms if name == "nerfstudio" else as_binary if "binary" in name else as_text
        (root / name / "images").mkdir()
        for k in range(3):
            Pillow.fromarray(RAMP).save(root / name / "images" / f"{k}.png")
        made(root / name)
    note = {"sequence_name": "s", "frame_number": 1, "image": {"path": "cup/a.png", "size": [30, 40]},
            "viewpoint": {"R": np.eye(3).tolist(), "T": [0, 0, 3], "focal_length": [2, 2], "principal_point": [0, 0]}}
    about = {"sequence_name": "s", "category": "cup", "point_cloud": {"path": "p.ply", "quality_score": 1.0}}
    for name in ("co3d", "co3d sequence"):
        (root / name / "cup").mkdir()
        for kind, rows in (("frame", [note]), ("sequence", [about])):
            packed = gzip.compress(json.dumps(rows).encode(), mtime=0)
            (root / name / "cup" / f"{kind}_annotations.jgz").write_bytes(packed)
    lights = np.array([(1.0, 0, 0), (0, 1, 0), (0.6, 0, 0.8), (0, -0.6, 0.8), (0, 0, 1)])
    np.savez(root / "npz" / "a.npz", light_directions=lights, target_images=np.stack([RAMP] * 5))
    rows = []
    for k, light in enumerate(lights):
        Pillow.fromarray(RAMP).save(root / "lp" / f"{k}.png")
        rows.append(f"{k}.png {light[0]} {light[1]} {light[2]}")
    (root / "lp" / "a.lp").write_text("5\n" + "\n".join(rows) + "\n")
