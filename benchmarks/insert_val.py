"""Light found on environments that were held out from training: 6 `val` panoramas x 3 `val` meshes x 2 views.

Plate = 8-bit photo cut from the panorama (60 degrees, horizon above the middle, auto-exposed, clipped); truth = the
same object lit and shadowed by the true panorama. A method sees the plate, the camera and the plane. `val` serves to
choose weights and settings; it is not used in training.

usage: python -m benchmarks.insert_val [--size 192] [--spp 64] [--methods a,b] [--set key=value] [--sheet FILE.png]
"""
from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time

import numpy as np
import torch

from benchmarks.common import DATA, machine, markdown, write

METHODS = ("ambient", "mirrored", "light_prior", "ours", "oracle_sg")
COLUMNS = {"rmse": "foreground RMSE", "si_rmse": "foreground si-RMSE", "rel_rmse": "RMSE / mean",
           "rel_si": "si-RMSE / mean", "composite": "composite RMSE",
           "shadow": "shadow-ratio RMSE", "exposure": "log2 exposure error",
           "direction_deg": "dominant direction, deg (median)", "azimuth_deg": "azimuth, deg (median)"}


def make_case(env_name: str, mesh_name: str, view: int, size: int):
    """(scene, true map (256, 512, 3) in plate units) of one case."""
    from dipir.image import latlong
    from dipir.image.color import linear_to_srgb, srgb_to_linear
    from dipir.image.files import read_envmap
    from dipir.methods.prior_insert import training_meshes
    from dipir.scene.asset import load_asset
    from dipir.scene.camera import Camera
    from dipir.scene.description import Scene
    from dipir.scene.framing import grounded
    from dipir.scene.plate import Plate
    from dipir.scene.proxy import PlacedAsset
    from dipir.synth.crops import auto_exposure, perspective_crop, quantise

    rng = np.random.default_rng([11, view, *env_name.encode()])
    panorama = latlong.rotate_yaw(read_envmap(DATA / "hdri" / env_name), float(rng.uniform(0, 360)))
    camera = Camera.looking(size * 4 // 3, size, 60.0, 1.5, 9.0)
    crop = perspective_crop(panorama, camera)
    gain = auto_exposure(crop)
    disp = quantise(linear_to_srgb((crop * gain).clamp(0, 1)))[None]
    true = latlong.resize(panorama, 256, 512) * gain
    path = next(p for p in training_meshes("val", DATA) if p.parent.name == mesh_name)
    asset = load_asset(path)
    low, high = asset.bounds
    foot_ray = camera.directions(np.array([camera.width * 0.5, camera.height * 0.8]))
    foot = camera.position - foot_ray * camera.position[1] / foot_ray[1]
    extent = 0.38 * size / camera.focal_px * float(np.linalg.norm(foot - camera.position))
    height = extent * float((high - low)[1] / (high - low).max())
    placed = PlacedAsset(asset, grounded(float((high - low)[1]), height, foot, math.radians(180 + 35)), mesh_name)
    return Scene(Plate(disp, srgb_to_linear(disp)), camera, (placed,), name=f"{env_name}/{mesh_name}/{view}"), true


def estimates(scene, true, methods, config) -> dict:
    """Method -> map; what each of them believes to be the light."""
    from dipir.diffusion.embedded import SIZE, EmbeddedPrior
    from dipir.diffusion.light_prior import LightPrior
    from dipir.image import latlong
    from dipir.methods import insert as method
    from dipir.methods.insert_fit import final_light
    from dipir.methods.insert_work import ambient_light, prepare
    from dipir.scene.light import fit_gaussians

    prior = LightPrior.load()
    work = prepare(scene, config, SIZE, prior)
    out = {"ambient": (ambient_light(scene), None), "mirrored": (work.mirrored, None)}
    if "light_prior" in methods:
        out["light_prior"] = (prior.estimate(*_small(scene)), None)
    if "oracle_sg" in methods:
        out["oracle_sg"] = (fit_gaussians(latlong.resize(true, 32, 64), config.light.lobes).envmap(256, 512), None)
    if "ours" in methods:
        denoiser = EmbeddedPrior.load() if config.guidance.kind != "none" else EmbeddedPrior.untrained()
        parameters, _, _ = method.fit(scene, work, config, denoiser, lambda e: None, None, False)
        tones = [method._detached(method.tone_of(parameters, n)) for n in ("tone_fg", "tone_shadow")]
        out["ours"] = (final_light(parameters, config).envmap(256, 512), tones)
    return {m: out[m] for m in methods}


def _small(scene):
    from dipir.methods.insert_work import small_plate

    return small_plate(scene)


def run_case(job) -> dict:
    """All figures of one case, in its own process (Mitsuba keeps the memory of scenes)."""
    env_name, mesh_name, view, a, overrides = job
    from dipir.image.color import linear_to_srgb
    from dipir.image.composite import flatten_disp, insert_layers
    from dipir.image.metrics import azimuth_error_deg, direction_error_deg, rmse, si_rmse
    from dipir.methods.insert_config import load_config
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings
    from dipir.scene.light import dominant_direction

    config = load_config("default", None, overrides)
    scene, true = make_case(env_name, mesh_name, view, a["size"])
    began = time.monotonic()
    maps = estimates(scene, true, a["methods"], config)
    seconds = time.monotonic() - began
    tracer = PathTracer(scene, settings=RenderSettings(a["spp"], 4), gbuffer_samples=4)
    with torch.no_grad():
        truth = tracer.passes(true, seed=1, spp=4 * a["spp"])
        flatten = lambda p, tones: flatten_disp(insert_layers(
            scene.plate.lin, scene.plate.disp, p.object_rgb, p.alpha, p.shadow_ratio, *(tones or (None, None))))
        target, mask = flatten(truth, None), truth.alpha
        solid = (mask > 0.999).float()
        straight = lambda p: p.object_rgb / p.alpha.clamp_min(1e-6)
        rows, images = {}, {"plate": scene.plate.disp, "truth": target}
        for name, (env, tones) in maps.items():
            passes = tracer.passes(env, seed=2, spp=a["spp"])
            got, want = straight(passes), straight(truth)
            if tones is not None:
                # The figure in linear light includes the tone curve: it is part of what the method believes.
                from dipir.image.color import srgb_to_linear

                got = srgb_to_linear(tones[0](linear_to_srgb(got)))
            image = flatten(passes, tones)
            near = ((1 - truth.shadow_ratio).amax(1, keepdim=True) > 0.02).float() * (1 - mask)
            d0, d1 = dominant_direction(true), dominant_direction(env)
            mean = lambda t: float((t * solid).sum() / (3 * solid.sum()))
            rows[name] = {
                "rmse": float(rmse(got, want, solid)), "si_rmse": float(si_rmse(got, want, solid)),
                "rel_rmse": float(rmse(got, want, solid)) / mean(want),
                "rel_si": float(si_rmse(got, want, solid)) / mean(want), "composite": float(rmse(image, target)),
                "shadow": float(rmse(passes.shadow_ratio, truth.shadow_ratio, near)) if near.sum() > 0 else 0.0,
                "exposure": abs(math.log2(max(mean(got), 1e-6) / mean(want))),
                "direction_deg": float(direction_error_deg(d0, d1)), "azimuth_deg": float(azimuth_error_deg(d0, d1))}
            images[name] = image
    small = {k: (v[0].clamp(0, 1) * 255).byte().numpy() for k, v in images.items()} if a["sheet"] else {}
    return {"case": scene.name, "rows": rows, "seconds": seconds, "images": small}


def summary(cases: list[dict], methods) -> dict:
    """Mean of every column (median of angles), with bootstrap 95 % intervals of the means."""
    rng = np.random.default_rng(0)
    out = {}
    for m in methods:
        out[m] = {}
        for c in COLUMNS:
            v = np.array([case["rows"][m][c] for case in cases])
            pick = np.nanmedian if c.endswith("_deg") else np.mean
            boot = pick(v[rng.integers(len(v), size=(1000, len(v)))], axis=1)
            out[m][c] = {"value": float(pick(v)), "low": float(np.quantile(boot, 0.025)),
                         "high": float(np.quantile(boot, 0.975))}
    return out


def _cell(figure: dict) -> str:
    """Value and interval; "none" for a direction that the method does not have (a constant map)."""
    if math.isnan(figure["value"]):
        return "none"
    return f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"


def table(result: dict) -> str:
    """Markdown."""
    rows = [["method", *COLUMNS.values()]]
    for m, v in result["summary"].items():
        rows.append([m, *(_cell(v[c]) for c in COLUMNS)])
    return (f"Made by `python -m benchmarks.insert_val`; {len(result['cases'])} cases "
            f"({result['what']}), {result['size']} rows, {result['spp']} spp; {result['machine']}. Bootstrap 95 % "
            "intervals in brackets.\n\n" + markdown(rows))


def main(arguments: list[str] | None = None) -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--spp", type=int, default=64)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--sheet", default="")
    parser.add_argument("--name", default="insert_val")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--meshes", default="spot_cow,barrel,tea_set_01")
    parser.add_argument("--views", type=int, default=2)
    args = parser.parse_args(arguments)
    splits = json.loads((DATA / "splits.json").read_text())
    a = {"size": args.size, "spp": args.spp, "methods": args.methods.split(","), "sheet": args.sheet}
    jobs = [(e, m, v, a, args.set)
            for e in splits["hdri"]["val"] for m in args.meshes.split(",") for v in range(args.views)]
    with multiprocessing.get_context("spawn").Pool(args.workers, maxtasksperchild=3) as pool:
        cases = list(pool.imap(run_case, jobs))
    if args.sheet:
        _sheet(cases, args.sheet, ["plate", *a["methods"], "truth"])
    cases = [{k: v for k, v in c.items() if k != "images"} for c in cases]
    result = {"machine": machine(), "size": args.size, "spp": args.spp, "set": args.set,
              "what": f"6 `val` environments x {len(args.meshes.split(','))} `val` meshes x {args.views} views",
              "summary": summary(cases, a["methods"]), "cases": cases}
    write(args.name, result, table(result))


def _sheet(cases: list[dict], path: str, names: list[str]) -> None:
    import cv2

    rows = [np.concatenate([c["images"][n] for n in names], 2) for c in cases]
    image = np.concatenate(rows, 1).transpose(1, 2, 0)[..., ::-1]
    cv2.imwrite(path, image)


if __name__ == "__main__":
    main()
