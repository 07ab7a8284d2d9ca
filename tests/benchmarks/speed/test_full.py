"""Full-size pictures of the speed benchmark."""
from __future__ import annotations

import pytest
import yaml
from PIL import Image

from benchmarks.common import DEMO
from benchmarks.speed import full as speed_full
from dipir.scene.scene_file import build_scene, load_scene_file


def test_the_enlarged_demo_is_the_demo(tmp_path):
    """Objects stand at the same places of the world."""
    path = speed_full.enlarged_demo(tmp_path, 2.0)
    large, small = (build_scene(load_scene_file(p), str(p)) for p in (path, DEMO))
    width, height = Image.open(tmp_path / "plate.png").size
    assert abs(width * height / 2e6 - 1) < 0.01 and large.plate.size == (width, height)
    for a, b in zip(large.objects, small.objects, strict=True):
        assert abs(a.to_world[:3, 3] - b.to_world[:3, 3]).max() < 0.02


@pytest.mark.parametrize("kind", ["none", pytest.param("posterior", marks=pytest.mark.slow)])
def test_stages_add_up(tmp_path, kind):
    """Where nothing is fitted, nothing is asked of a prior either."""
    import time

    scene = yaml.safe_load(DEMO.read_text())
    scene["objects"] = [{**scene["objects"][0], "asset": str(DEMO.parent / scene["objects"][0]["asset"])}]
    scene["plate"] = str(DEMO.parent / scene["plate"])
    scene.pop("light")
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({**scene, "name": "one"}))
    began = time.perf_counter()
    settings = ["final.size=64", f"guidance.kind={kind}", "fit.steps=2", "guidance.sampler_steps=2"]
    stages = speed_full.staged_run(path, "fast", tmp_path / "out", settings)
    whole = time.perf_counter() - began
    assert set(stages) == {"start", "prepare", "prior", "fit", "render", "write"}
    idle = {name for name, seconds in stages.items() if seconds == 0}
    assert idle == ({"prior", "fit"} if kind == "none" else set()) and min(stages.values()) >= 0
    assert sum(stages.values()) == pytest.approx(whole, rel=0.05)
    assert (tmp_path / "out" / "composite.png").is_file()


def test_tables_say_what_is_met():
    stages = dict.fromkeys(("start", "prepare", "prior", "fit", "render", "write"), 1.0)
    error = {"all": 0.002, "object": 0.006, "outline": 0.01, "shadow": 0.001}
    results = {"full": [{"size": "1280x960", "preset": "default", "seconds": 31.0, "peak_gib": 1.5, "bar_s": 30.0,
                         "stages": stages}],
               "plain": {"ours": {"object": 1.0, "shadow": 2.0}, "plain_s": 6.0, "ratio": 0.5, "bar": 1.5, "spp": 64,
                         "final_s": 5.0, "final_ratio": 0.8},
               "noise": {"before": {k: 3 * v for k, v in error.items()}, "now": error, "ratio": 1 / 3, "bar": 0.5,
                         "spp": 4096, "final_spp": 32},
               "preview": {"size": 512, "a_second": 12.0, "bar": 30.0, "record_s": 3.0, "mib": 40.0,
                           "mib_dense": 400.0}}
    text = " ".join(speed_full.table(results).split())
    assert "31.0 | 30, missed" in text and "0.50 | 1.5, met" in text and "0.33; bar 0.5, met" in text
    assert "12 | 30, missed" in text and text.count("## ") == 4
    assert all(row.count("|") <= 6 for row in text.splitlines() if row.startswith("|")), "five columns at most"
