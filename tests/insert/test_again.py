"""Results rendered again: the same picture, another light, objects moved; results of results."""
from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch
import trimesh

from dipir.errors import ConfigError
from dipir.event import warnings_in
from dipir.image.color import srgb_to_linear
from dipir.image.files import read_image, write_exr, write_png
from dipir.image.formats.ocio import BUILT_IN, find_space
from dipir.image.tone import ToneCurve
from dipir.insert import method
from dipir.insert.again import Changes, Move, changed_scene, described, guessed, material_of, render_again
from dipir.insert.result import load_light, save
from dipir.priors import light as light_prior
from dipir.priors.insertion import InsertionPrior
from dipir.scene.light import SphericalGaussians, azimuth_elevation_deg
from dipir.scene.light_edit import LampEdit, LightEdit
from dipir.scene.plate import PlateColours
from dipir.scene.rig import MAP_NAME, Rig
from dipir.scene.scene_file import SceneFile, build_scene, load_scene_file, write_scene_file
from dipir.scene.source import luminance_of
from tests.support.insertions import quick
from tests.support.looks import CHANCES, DIRECTIONS, SHARES, SayingPrior


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Path:
    """A box on a grey plate in even light, inserted and saved."""
    folder = tmp_path_factory.mktemp("again")
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    write_png(folder / "plate.png", noise * 0.02 + 0.6)
    trimesh.creation.box((0.5, 0.8, 0.5)).export(folder / "box.obj")
    (folder / "s.yaml").write_text("plate: plate.png\ncamera: {fov_deg: 40, pitch_deg: 17, height_m: 1.2}\n"
                                   "objects: [{asset: box.obj, at: [32, 40], height_m: 0.6}]\n")
    scene_file = load_scene_file(folder / "s.yaml")
    out = folder / "out"
    made = method.insert(build_scene(scene_file), quick("guidance.kind=none"), prior=InsertionPrior.untrained())
    save(made, out)
    write_scene_file(scene_file, out / "scene.yaml")
    return out


def test_remarks_about_the_inputs_are_kept_and_said_again(result, tmp_path):
    """A result says in words what was warned of; a render of another mesh says what there is about that one."""
    stored = json.loads((result / "result.json").read_text())["provenance"]
    assert any("box.obj: OBJ states no unit" in note for note in stored["notes"]) and stored["warnings"] == []
    (tmp_path / "b.obj").write_text("mtllib gone.mtl\nusemtl x\n" + (result.parent / "box.obj").read_text())
    told = []
    made, _ = render_again(result, Changes(asset=tmp_path / "b.obj", size=(32, 32)), lambda e: told.extend(e.remarks))
    warning, other = made.provenance["warnings"]
    assert "'x' is not defined" in other
    assert warning.startswith("b.obj: material file 'gone.mtl' is missing") and warning in made.provenance["notes"]
    assert warnings_in(told) == [warning, other] and not any("box.obj" in note for note in made.provenance["notes"])


def kept(result: Path, out: Path, changes: Changes) -> Path:
    """Rendered again into ``out``, which is a result again."""
    made, scene_file = render_again(result, changes)
    save(made, out)
    write_scene_file(scene_file, out / "scene.yaml")
    return out


def test_the_same_picture(result):
    first = load_picture(result)
    again, _ = render_again(result)
    torch.testing.assert_close(again.composite_disp, first, atol=4e-3, rtol=0)
    assert render_again(result, Changes(size=(32, 32)))[0].composite_disp.shape == (1, 3, 32, 32)
    with pytest.raises(ConfigError, match="aspect"):
        render_again(result, Changes(size=(32, 20)))


def load_picture(folder: Path) -> torch.Tensor:
    return read_image(folder / "composite.png")[0]


def shadow_sides(made) -> tuple[float, float]:
    """How much light the ground loses left and right of the box."""
    lost = (1 - made.passes.shadow_ratio.mean(1)[0]) * (made.passes.alpha[0, 0] == 0)
    return float(lost[:, :32].sum()), float(lost[:, 32:].sum())


def test_a_deep_plate_stays_deep_again_and_again(tmp_path):
    """A plate of 16 bits in a file: inserted, saved, rendered again; far from the object no bit changes."""
    codes = torch.randint(36000, 42000, (1, 3, 48, 48), generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "plate.png", codes / 65535.0, 16)
    trimesh.creation.box((0.5, 0.8, 0.5)).export(tmp_path / "box.obj")
    (tmp_path / "s.yaml").write_text("plate: plate.png\ncamera: {fov_deg: 40, pitch_deg: 17, height_m: 1.2}\n"
                                     "objects: [{asset: box.obj, at: [24, 40], height_m: 0.2}]\n")
    scene_file = load_scene_file(tmp_path / "s.yaml")
    made = method.insert(build_scene(scene_file), quick("guidance.kind=none"), prior=InsertionPrior.untrained())
    save(made, tmp_path / "out")
    write_scene_file(scene_file, tmp_path / "out" / "scene.yaml")
    again = kept(tmp_path / "out", tmp_path / "two", Changes(edit=LightEdit(exposure_stops=-1)))
    for folder in (tmp_path / "out", again):
        back, _, info = read_image(folder / "composite.png")
        assert info.bits == 16
        same = ((back.double() * 65535).round().long() == codes).all(1)
        assert same[:, :8].all() and int((~same).sum()) > 100


@pytest.mark.parametrize("azimuth, darker", [(90, 0), (-90, 1)])
def test_a_sun_from_one_side_throws_a_shadow_to_the_other(result, azimuth, darker):
    """From the picture's right: the shadow falls to the left."""
    made, _ = render_again(result, Changes(edit=LightEdit(sun=LampEdit(azimuth, 40, 0.8))))
    sides = shadow_sides(made)
    assert sides[darker] > 4 * sides[1 - darker]
    assert float(made.passes.shadow_ratio.amin()) < 0.25, "as dark as the strength says"
    assert made.light.share("sun") == pytest.approx(0.8, abs=1e-3)
    assert any("share 0.8" in line for line in made.provenance["changes"])


def test_a_result_of_a_result_of_a_result(result, tmp_path):
    first = kept(result, tmp_path / "one", Changes(edit=LightEdit(sun=LampEdit(90, 40, 0.8))))
    second = kept(first, tmp_path / "two", Changes(move=Move(at=(20, 44), yaw_deg=45)))
    third, scene_file = render_again(second, Changes(edit=LightEdit(exposure_stops=-1)))
    assert scene_file.objects[0].at == (20, 44) and scene_file.objects[0].yaw_deg == 45
    assert len(third.provenance["changes"]) == 3 and "exposure_stops -1" in third.provenance["changes"][2]
    before = load_light(second).sun.source.irradiance
    torch.testing.assert_close(third.light.sun.source.irradiance, before / 2, rtol=1e-3, atol=0)
    moved = third.passes.alpha[0, 0].nonzero().float().mean(0)
    assert moved[1] < 28, "it stands further left"


@pytest.mark.parametrize("guess", [1, 2, 3])
def test_a_guess_is_the_sun_that_insert_would_take(result, tmp_path, monkeypatch, guess):
    """Direction and strength are the guess's own; the same as a whole new run with it."""
    monkeypatch.setattr(light_prior.LightPrior, "load", staticmethod(lambda path=None: SayingPrior()))
    scene = build_scene(load_scene_file(result / "scene.yaml"))
    rig = guessed(scene, quick(), guess)
    assert float(rig.sun.source.direction @ DIRECTIONS[guess - 1]) > 1 - 1e-6
    assert rig.share("sun") == pytest.approx(SHARES[guess - 1], abs=0.03) and len(CHANCES) == 3
    whole = method.insert(scene, quick("light.start=prior", f"light.guess={guess}", "guidance.kind=none"),
                          light_prior=SayingPrior(), prior=InsertionPrior.untrained())
    torch.testing.assert_close(rig.envmap(16, 32), whole.light.envmap(16, 32), rtol=1e-3, atol=1e-4)


def test_a_probe_lights_the_scene_as_it_is(result, tmp_path):
    """Its colours and its sun's side stay; only its brightness is made that of the ground."""
    sun = SphericalGaussians.of(torch.tensor([[-1.0, 1.0, 0.0]]), torch.full((1, 3), 400.0), torch.tensor([0.06]))
    sky = SphericalGaussians.uniform(torch.tensor([0.2, 0.2, 0.9]), 8).joined(sun)
    envmap = 50 * sky.envmap(64, 128)
    write_exr(tmp_path / "probe.exr", dict(zip("RGB", envmap.unbind(-1), strict=True)))
    out = kept(result, tmp_path / "lit", Changes(light=tmp_path / "probe.exr"))
    again = load_light(out)
    assert (out / MAP_NAME).is_file() and not again.lamps
    ratio = again.envmap(64, 128) / envmap
    assert float(ratio.std() / ratio.mean()) < 1e-3
    made, _ = render_again(out)
    left, right = shadow_sides(made)
    assert left > 3 * right, "the sun stands on the picture's right"
    turned, _ = render_again(out, Changes(edit=LightEdit(rotate_deg=180)))
    left, right = shadow_sides(turned)
    assert right > 3 * left


def test_another_results_light_and_the_same_scene(result, tmp_path):
    lit = kept(result, tmp_path / "lit", Changes(edit=LightEdit(sun=LampEdit(90, 40, 0.6))))
    made, _ = render_again(result, Changes(light=lit / "light.json"))
    torch.testing.assert_close(made.composite_disp, load_picture(lit), atol=0.02, rtol=0)
    found, wanted = (float(luminance_of(light.ground())) for light in (made.light, load_light(lit)))
    assert found == pytest.approx(wanted, rel=1e-3)


def test_insert_starts_from_a_given_light(result, tmp_path):
    """A light.json is taken as it is, lamps and all, and the picture is that of the result which it is from."""
    lit = kept(result, tmp_path / "lit", Changes(edit=LightEdit(sun=LampEdit(90, 40, 0.6))))
    notes = []
    made = method.insert(build_scene(load_scene_file(lit / "scene.yaml")),
                         quick(f"light.start={lit / 'light.json'}", "guidance.kind=none"),
                         prior=InsertionPrior.untrained(), on_event=lambda e: notes.append(e.note) if e.note else None)
    torch.testing.assert_close(made.composite_disp, load_picture(lit), atol=0.02, rtol=0)
    assert len(notes) == 1 and notes[0].startswith("light: as given: sun: azimuth 90, elevation 40")


def test_a_fit_from_a_given_light_keeps_the_suns_direction(result, tmp_path):
    lit = kept(result, tmp_path / "lit", Changes(edit=LightEdit(sun=LampEdit(90, 40, 0.6))))
    made = method.insert(build_scene(load_scene_file(lit / "scene.yaml")), quick(f"light.start={lit / 'light.json'}"),
                         prior=InsertionPrior.untrained())
    azimuth, elevation = azimuth_elevation_deg(made.light.sun.source.direction)
    assert (azimuth, elevation) == (pytest.approx(90, abs=0.01), pytest.approx(40, abs=0.01)) and made.history
    assert isinstance(made.light, Rig) and made.light.share("sun") == pytest.approx(0.6, abs=0.15)


def test_contrast_replaces_the_objects_curve(result):
    made, _ = render_again(result, Changes(contrast=0.5))
    assert made.tone_fg.to_dict() == ToneCurve.contrast(0.5).to_dict()


# ---- scenes ----------------------------------------------------------------------------------------------------------

def two() -> SceneFile:
    from dipir.scene.scene_file import ObjectSpec

    return SceneFile(Path("p.png"), (ObjectSpec(Path("a.glb"), (1, 2), scale=2.0), ObjectSpec(Path("b.glb"), (3, 4))))


def test_one_of_several_objects_is_changed() -> None:
    scene = changed_scene(two(), Changes(object="a", move=Move((5, 6), 0.4, 30, {"*": {"roughness": 0.2}})))
    a, b = scene.objects
    assert (a.at, a.height_m, a.scale, a.yaw_deg, a.material["*"].roughness) == ((5, 6), 0.4, None, 30, 0.2)
    assert b == two().objects[1] and changed_scene(two(), Changes()) == two()
    again = changed_scene(scene, Changes(object="a", move=Move(material={"*": {"metallic": 1.0}})))
    assert again.objects[0].material["*"].roughness == 0.2, "what was changed before stays"
    with pytest.raises(ConfigError, match="--object NAME: a, b"):
        changed_scene(two(), Changes(move=Move(yaw_deg=3)))
    with pytest.raises(ConfigError, match="no object 'c'"):
        changed_scene(two(), Changes(object="c"))
    with pytest.raises(ConfigError, match="positive"):
        changed_scene(two(), Changes(object="a", move=Move(height_m=-1)))


def test_another_asset_takes_the_place_of_the_first() -> None:
    assert changed_scene(two(), Changes(asset=Path("c.glb"))).objects[0].asset == Path("c.glb")
    assert changed_scene(two(), Changes(asset=Path("c.glb"), object="b")).objects[1].asset == Path("c.glb")


def test_unit_and_axis_are_those_of_the_file_that_is_shown() -> None:
    """Of another mesh only what was said for it counts; said alone they change the mesh that is there."""
    def axes(scene):
        return [(o.unit, o.up) for o in scene.objects]

    known = changed_scene(two(), Changes(object="b", move=Move(unit="cm", up="z")))
    assert axes(known) == [(None, None), ("cm", "z")]
    assert axes(changed_scene(known, Changes(object="b", move=Move(unit="mm")))) == [(None, None), ("mm", "z")]
    other = Changes(object="b", asset=Path("c.stl"), move=Move(up="-x"))
    assert axes(changed_scene(known, other)) == [(None, None), (None, "-x")]
    assert described(other) == ["asset: c.stl", "b: up -x"]


def test_another_mesh_in_centimetres_that_lies(result, tmp_path):
    """A box 20 wide, 30 deep and 60 high along its z: with its unit and axis it covers what the same box upright and in
    metres does."""
    trimesh.creation.box((0.2, 0.6, 0.3)).export(tmp_path / "upright.obj")
    trimesh.creation.box((20, 30, 60)).export(tmp_path / "lying.obj")
    scene = load_scene_file(result / "scene.yaml")
    free = SceneFile(scene.plate, (replace(scene.objects[0], height_m=None, scale=1.0),), scene.camera)
    write_scene_file(free, tmp_path / "free.yaml")
    masks = [render_again(result, Changes(scene=tmp_path / "free.yaml", asset=tmp_path / f"{name}.obj", move=move,
                                          spp=4))[0].passes.alpha
             for name, move in (("upright", Move(unit="m", up="y")), ("lying", Move(unit="cm", up="z")))]
    assert float((masks[0] - masks[1]).abs().mean()) < 0.01 < float(masks[0].mean())


def test_materials_in_words() -> None:
    assert material_of("roughness=0.2") == ("*", "roughness", 0.2)
    assert material_of("a.b.base_color=1,0.5,0") == ("a.b", "base_color", (1.0, 0.5, 0.0))
    for bad in ("roughness", "rough=1", "base_color=1", "roughness=a", "=1"):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            material_of(bad)


def test_changes_are_told_in_words() -> None:
    told = described(Changes(guess=2, edit=LightEdit(rotate_deg=-30.0, sun=LampEdit(share=0.5)), size=(64, 48),
                             move=Move(at=(1.0, 2.0)), object="vase"))
    assert told == ["light: guess 2 of the light prior", "light: rotate_deg -30, sun (share 0.5)", "vase: at [1, 2]",
                    "size: (64, 48)"]


def test_two_lights_at_once(result):
    with pytest.raises(ConfigError, match="one of them"):
        render_again(result, Changes(guess=1, light=Path("x.json")))
    with pytest.raises(ConfigError, match="no such file"):
        render_again(result, Changes(light=Path("none.json")))


def test_colours_are_remembered_and_can_be_changed(result, tmp_path):
    """The same plate as an EXR in ACEScg without a tag: its result knows that, and another space can be asked for."""
    light = srgb_to_linear(read_image(result.parent / "plate.png").pixels)[0].permute(1, 2, 0).numpy()
    half = find_space("ACEScg", BUILT_IN).from_light(light).astype(np.float16)
    write_exr(tmp_path / "plate.exr", {c: half[..., k] for k, c in enumerate("RGB")}, {"chromaticities": None})
    scene = load_scene_file(result / "scene.yaml")
    shutil.copytree(result, tmp_path / "out")
    write_scene_file(replace(scene, plate=tmp_path / "plate.exr", colour=PlateColours("ACEScg", ocio=BUILT_IN)),
                     tmp_path / "out" / "scene.yaml")
    first = kept(tmp_path / "out", tmp_path / "a", Changes(spp=1))
    file = OpenEXR.File(str(first / "composite.exr"), separate_channels=True)
    made = np.stack([file.channels()[c].pixels for c in "RGB"], -1)
    same = (made == half).all(-1)
    assert made.dtype == np.float16 and same[:8].all() and not same.all()
    assert file.header()["colorInteropID"] == "lin_ap1_scene"
    other = Changes(spp=1, colours=PlateColours(output_colourspace="lin_rec709"))
    second = kept(first, tmp_path / "b", other)
    assert OpenEXR.File(str(second / "composite.exr")).header()["colorInteropID"] == "lin_rec709_scene"
    assert load_scene_file(second / "scene.yaml").colour == PlateColours("ACEScg", None, BUILT_IN, "lin_rec709")
    assert "output_colourspace: lin_rec709" in described(other)
    pictures = [read_image(folder / "composite.exr").pixels for folder in (first, second)]
    assert float((pictures[0] - pictures[1]).abs().max()) < 2e-3
