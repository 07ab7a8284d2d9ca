"""The jobs of the open questions: what is asked, what is done to light, the plate in a light map."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.questions import __main__ as questions
from benchmarks.questions import job as jobs
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.scene.light import dominant_direction
from dipir.suite.file import load_suite
from dipir.suite.table import Row

ROOT = Path(questions.ROOT)


def test_settings_are_told_apart():
    q, rest = jobs.split({"method": "lds", "material": "glass", "personalise.rank": 2, "light.two_maps": True})
    assert (q.method, q.material) == ("lds", "glass") and rest == ["personalise.rank=2", "light.two_maps=True"]
    for wrong in ({"material": "wood"}, {"holder": "mpa"}, {"light": "green"}, {"fit": "both"}):
        with pytest.raises(ConfigError, match="accepted are"):
            jobs.split(wrong)


def test_lights_are_what_their_names_say():
    grey = torch.full((32, 64, 3), 0.5)
    rays = latlong.directions(32, 64)
    for name, change in jobs.CHANGES.items():
        got = change(grey)
        assert got.shape == grey.shape and (got >= 0).all(), name
    red, blue = jobs.CHANGES["red"](grey), jobs.CHANGES["blue"](grey)
    assert (red[..., 0] > 3 * red[..., 2]).all() and (blue[..., 2] > 3 * blue[..., 0]).all()
    mixed = jobs.CHANGES["mixed"](grey)
    left, right = mixed[rays[..., 0] > 0.9].mean(0), mixed[rays[..., 0] < -0.9].mean(0)
    assert left[0] > 2 * left[2] and right[2] > right[0]


def test_three_suns_each_light_as_much_as_all_that_was_there():
    fine = torch.full((128, 256, 3), 0.5)
    share = latlong.solid_angles(128, 256)[..., None] / (4 * torch.pi)
    added = ((jobs.CHANGES["three suns"](fine) - fine) * share).sum()
    # A sun whose irradiance is pi L has the mean radiance L / 4; colours of the lamps sum to 1.9, 2.3, 2.7.
    assert float(added) == pytest.approx(0.5 / 4 * (1.9 + 2.3 + 2.7), rel=0.02)


def test_every_suite_of_the_questions_can_be_read(monkeypatch, tmp_path):
    (tmp_path / "hdri").mkdir()
    for name in ("hilly_terrain_01", "chinese_garden", "leadenhall_market", "empty_warehouse_01", "dancing_hall",
                 "dikhololo_night"):
        (tmp_path / "hdri" / f"{name}_1k.hdr").write_text("x")
    monkeypatch.setenv("DIPIR_DATA", str(tmp_path))
    for name in questions.SUITES:
        suite = load_suite(ROOT / "configs" / "suites" / f"{name}.yaml")
        assert suite.name == name and len(suite.jobs) >= 6
        for job in suite.jobs:
            q, rest = jobs.split(job.settings)
            jobs.settings_of(q.method, 0, rest)
    monkeypatch.delenv("DIPIR_DATA")
    with pytest.raises(ConfigError, match=r"\$DIPIR_DATA.*does not exist"):
        load_suite(ROOT / "configs" / "suites" / "material.yaml")


def test_the_table_pairs_scenes():
    rng = np.random.default_rng(0)
    rows = [Row(f"{k}{v}", "m", f"/{k}.hdr", 0, {"light.fusion": v}, "done",
                {"fg_si_rmse_rel": float(rng.normal()) * 0.01 + (0.5 if v == "none" else 0.0)}, 1.0)
            for v in ("linear", "none") for k in "abcdef"]
    text = questions.table("fusion", rows)
    assert "means over 6 views of 6 panoramas" in text
    (line,) = [part for part in text.split("**Differences")[1].splitlines() if part.startswith("| fusion = none")]
    assert line.split("|")[2].strip() == "fusion = linear" and 0.45 < float(line.split("|")[3]) < 0.55
    assert float(line.split("|")[5]) == pytest.approx(2 ** -5, abs=0.01)


def test_groups_are_compared_with_the_one_that_differs_in_one_thing():
    varied = [{"method": m, "holder": h, "material": t} for m in "ab" for h in "xyz" for t in "pq"]
    members = {str(v): [Row("n", "m", "s", 0, v, "done", {})] for v in varied}
    for v in varied:
        assert questions.base_of("material", members, str(v)) == str({**v, "holder": "x"})
        assert questions.base_of("lora", members, str(v)) == str(varied[0 if v["method"] == "a" else 6])


@pytest.mark.data
def test_objects_stand_apart_and_have_their_material():
    from benchmarks.insert.cases import panorama_files

    q = replace(jobs.Question(), mesh="spot_cow+barrel+tea_set_01", material="mirror", size=64)
    alone, together, true = jobs.scenes_of(panorama_files(None, "val")["chinese_garden_1k"], q, 0)
    assert len(alone) == 3 == len(together.objects) and true.shape == (256, 512, 3)
    feet = np.stack([o.to_world[[0, 2], 3] for o in together.objects])
    assert min(np.linalg.norm(feet[i] - feet[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 0.3
    assert all(p.material.metallic == 1 for o in together.objects for p in o.parts)
    lamps = jobs.scenes_of(panorama_files(None, "val")["dancing_hall_1k"], replace(q, light="three suns"), 0)[2]
    assert torch.isfinite(dominant_direction(lamps)).all()
