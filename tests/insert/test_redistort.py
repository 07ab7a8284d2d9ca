"""The lens put back: lines go where the lens puts them, pixels that nothing touches are the photo's."""
from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import OpenEXR
import pytest
import torch
import trimesh

from dipir.errors import ConfigError, SceneError
from dipir.image.files import read_image, write_png
from dipir.insert import method
from dipir.insert.again import Changes, render_again
from dipir.insert.redistort import bent_view, geometry_of
from dipir.insert.result import save
from dipir.priors.insertion import InsertionPrior
from dipir.render.renderer import GBuffers, Passes
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.lens import Lens, straightened, to_photo, warped
from dipir.scene.plate import plate_from_tensor
from dipir.scene.scene import Scene
from dipir.scene.scene_file import build_scene, load_scene_file, write_scene_file
from tests.support.insertions import quick

SIZE = (96, 72)
BARREL = ("OPENCV", (-0.25, 0.07, 0.004, -0.003))
LENSES = [BARREL, ("OPENCV", (0.2, 0, 0, 0)), ("OPENCV_FISHEYE", (0.05, -0.02, 0.01, 0)), ("FOV", (0.9,))]


def photo() -> torch.Tensor:
    return torch.rand(1, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0)) * 0.3 + 0.4


def scene_with(model, distortion) -> Scene:
    lens = Lens.of(model, SIZE, (80.0, 80.0), (50.0, 34.0), distortion)
    camera, _ = lens.pinhole(Camera.looking(2, 2, 50, 1.2, 17).to_world)
    return Scene(straightened(plate_from_tensor(photo()), lens, camera), camera, (), redistort=True)


def passes_of(camera: Camera, image: torch.Tensor) -> Passes:
    """Passes all of whose planes are ``image`` (1, 1, h, w), no object and no shadow."""
    nothing = torch.zeros_like(image)
    buffers = {f.name: image for f in fields(GBuffers)} | {"alpha": nothing, "ground": nothing + 1}
    return Passes(image.expand(1, 3, -1, -1), nothing + 1, nothing + 1, GBuffers(**buffers), nothing.bool())


@pytest.mark.parametrize("model, distortion", LENSES)
@pytest.mark.parametrize("scale", [1, 2])
def test_straight_lines_go_where_the_lens_puts_them(model, distortion, scale):
    """Rows and columns of the straight picture as pictures of their own numbers: bent, each pixel of the photo has the
    number that the lens's formula says, to 0.1 pixels; all of the photo is reached, also beyond the straight plate."""
    scene = scene_with(model, distortion)
    camera = scene.camera.resized(scale * scene.camera.width, scale * scene.camera.height)
    view = bent_view(scene, camera)
    lens = scene.plate.original.lens
    y, x = np.mgrid[0:view.camera.height, 0:view.camera.width] + 0.5
    found = []
    for number in (x, y):
        bent = view.bent(passes_of(view.camera, torch.from_numpy(number).float()[None, None]))
        assert bent.object_rgb.shape == (1, 3, scale * SIZE[1], scale * SIZE[0])
        assert (bent.gbuffers.depth - bent.object_rgb[:, :1]).abs().max() <= 0.51  # The nearest pixel's.
        found.append(bent.object_rgb[0, 0].numpy())
    # Back through the lens by the forward formula alone: the photo's own pixels.
    rays = (np.stack(found, -1) - [view.camera.cx, view.camera.cy]) / view.camera.focal_px
    v, u = np.mgrid[0:scale * SIZE[1], 0:scale * SIZE[0]] + 0.5
    off = np.abs(lens.seen(rays) * scale - np.stack([u, v], -1)).max()
    assert off < 0.1
    assert view.camera.width >= camera.width - 40 and view.photo.size == (scale * SIZE[0], scale * SIZE[1])


@pytest.mark.parametrize("model, distortion", LENSES)
def test_what_nothing_touches_keeps_its_bits(model, distortion):
    """Ground that is in no shadow has a ratio of one exactly, whatever light is on it."""
    scene = scene_with(model, distortion)
    view = bent_view(scene, scene.camera)
    light = torch.rand(1, 3, view.camera.height, view.camera.width, generator=torch.Generator().manual_seed(1)) + 0.1
    lit = replace(passes_of(view.camera, torch.zeros_like(light[:, :1])), ground_lit=light, ground_shadowed=light)
    assert bool((view.bent(lit).shadow_ratio == 1).all())
    assert torch.equal(view.photo.disp, photo())


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A box in a photo of a barrel lens, inserted straight and saved."""
    folder = tmp_path_factory.mktemp("lens")
    write_png(folder / "plate.png", photo())
    trimesh.creation.box((0.5, 0.8, 0.5)).export(folder / "box.obj")
    (folder / "camera.json").write_text(json.dumps({
        "width": SIZE[0], "height": SIZE[1], "fx": 80, "cx": 50, "cy": 34, "height_m": 1.2, "pitch_deg": 17,
        "lens": BARREL[0], "distortion": list(BARREL[1])}))
    (folder / "s.yaml").write_text("plate: plate.png\ncamera: {file: camera.json}\n"
                                   "objects: [{asset: box.obj, at: [80, 45], height_m: 0.6}]\n")
    scene_file = load_scene_file(folder / "s.yaml")
    made = method.insert(build_scene(scene_file), quick("guidance.kind=none", "final.spp=64"),
                         prior=InsertionPrior.untrained())
    save(made, folder / "out")
    write_scene_file(scene_file, folder / "out" / "scene.yaml")
    return folder / "out"


def test_the_picture_fits_the_photo(result, tmp_path):
    """Rendered again with the lens: outside object and shadow the file's own pixels, bit for bit; its outline made
    straight is that of the straight picture; a result again, which keeps its geometry until told otherwise."""
    straight = read_image(result / "composite.png").pixels
    told = json.loads((result / "result.json").read_text())["provenance"]
    made, scene_file = render_again(result, Changes(redistort=True))
    save(made, tmp_path / "bent")
    write_scene_file(scene_file, tmp_path / "bent" / "scene.yaml")
    bent, plate = (read_image(p).pixels for p in (tmp_path / "bent" / "composite.png", result.parent / "plate.png"))
    untouched = (made.passes.alpha == 0) & (made.passes.shadow_ratio == 1).all(1, keepdim=True)
    assert 0.2 < untouched.float().mean() < 0.95
    assert torch.equal(bent[untouched.expand_as(bent)], plate[untouched.expand_as(plate)])
    assert not torch.equal(bent, plate)
    # The object's outline, made straight.
    scene = build_scene(scene_file)
    to = to_photo(scene.plate.original.lens, scene.camera)
    with OpenEXR.File(str(result / "layers.exr")) as file:
        alpha = torch.from_numpy(file.channels()["alpha.A"].pixels.astype(np.float32))
    again = warped(made.passes.alpha, to)[0, 0]
    assert alpha.max() > 0.99 and (again - alpha).abs().mean() < 0.01
    assert (made.passes.alpha[0, 0] - alpha).abs().mean() > 3 * (again - alpha).abs().mean()
    # What the files say, and a result of the result.
    assert told["geometry"]["pictures"] == "straight"
    assert made.provenance["geometry"] == geometry_of(scene) and geometry_of(scene)["pictures"] == "photo"
    with OpenEXR.File(str(tmp_path / "bent" / "layers.exr")) as file:
        assert "Pixels are those of the photo" in file.header()["comments"]
        assert file.channels()["alpha.A"].pixels.shape == SIZE[::-1]
    kept, _ = render_again(tmp_path / "bent", Changes())
    assert (kept.composite_disp - made.composite_disp).abs().max() < 0.51 / 255
    back, _ = render_again(tmp_path / "bent", Changes(redistort=False))
    assert (back.composite_disp - straight).abs().max() < 0.51 / 255


def test_remarks_and_refusals(result, tmp_path):
    scene_file = load_scene_file(result / "scene.yaml")
    assert any("the lens (OPENCV) was taken out" in note for note in build_scene(scene_file).notes)
    plain = replace(scene_file, camera=replace(scene_file.camera, file=tmp_path / "plain.yaml", redistort=True))
    (tmp_path / "plain.yaml").write_text(f"{{width: {SIZE[0]}, height: {SIZE[1]}, fov_x_deg: 60, height_m: 1}}")
    with pytest.raises(SceneError, match="has no lens, so that redistort has nothing to put back"):
        build_scene(plain)
    with pytest.raises(SceneError, match="a field of view cannot be given as well"):
        build_scene(replace(scene_file, camera=replace(scene_file.camera, fov_deg=50)))
    (tmp_path / "wide.yaml").write_text(f"{{width: {SIZE[0]}, height: {SIZE[1]}, fx: 24, height_m: 1, "
                                        "lens: OPENCV_FISHEYE, distortion: [0, 0, 0, 0]}")
    wide = replace(scene_file, camera=replace(scene_file.camera, file=tmp_path / "wide.yaml", redistort=True))
    (warning,) = (note for note in build_scene(wide).notes if getattr(note, "warning", False))
    assert "of the photo is too far outside the straight picture" in warning


def test_redistort_needs_a_camera_file(tmp_path):
    from dipir.insert.again import changed_scene
    from dipir.scene.scene_file import ObjectSpec, SceneFile

    scene = SceneFile(tmp_path / "p.png", (ObjectSpec(tmp_path / "a.obj", (1, 2)),))
    with pytest.raises(ConfigError, match="redistort says something of a camera file"):
        changed_scene(scene, Changes(redistort=True))
