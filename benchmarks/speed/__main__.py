"""Time and memory: the whole run, one light update through transport against path replay, the start of the program.

1. `dipir insert scenes/demo.yaml`, final picture 512 wide, presets default and fast: wall time, peak memory.
2. One light update (forward, composite, backward to a 16x32 map) at 64x64 pixels. The image's gradient is held fixed,
   as score distillation hands it down, so what differs between two runs is the renderer's noise alone: the variance of
   the map's gradient over seeds, summed over texels, divided by the squared length of the mean gradient. Transport is
   noisy in its recording only; path replay is noisy in every step.
3. `import dipir` and `dipir --help`, fresh processes, interpreter included.
4. The parts `full`, `plain`, `noise` and `preview`, only when named: full-size pictures (speed/full.py).
5. The part `live`, only when named: a light or an object dragged, to the picture (speed/live.py).
6. The part `gpu`, only when named: what a GPU does in a second (speed/gpu.py); exit code 2 without one.

usage: python -m benchmarks.speed [--parts run,update,start] [--seeds 12] [--spp 4,16,64,256] [--set key=value]
                                  [--name speed]
       python -m benchmarks.speed --parts full,plain,noise,preview --name speed_full
       python -m benchmarks.speed --parts live --name speed_live
       python -m benchmarks.speed --parts gpu [--minutes 8] [--smoke] [--name gpu/speed]
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile

from benchmarks.common import DEMO, RESULTS, as_command, machine, markdown, timed_process, write
from benchmarks.speed import full, live, update
from benchmarks.speed.update import verdict

PARTS = ("run", "update", "start")
MORE = (*full.PARTS, "live", "gpu")  # Only when named.
RUN_BARS = {"default": (120.0, 4.0), "fast": (30.0, 4.0)}  # Seconds, GiB.
START_BARS = {"import dipir": 0.3, "dipir --help": 0.5}



# ------------------------------------------------------------------------------------------------- whole program
def whole_runs(overrides: list[str]) -> dict:
    """Preset -> seconds and peak GiB."""
    results = {}
    for preset in RUN_BARS:
        with tempfile.TemporaryDirectory() as out:
            settings = [word for s in ("final.size=512", *overrides) for word in ("--set", s)]
            seconds, peak = timed_process([sys.executable, "-m", "dipir", "insert", str(DEMO), "--preset", preset,
                                           "--out", out, "--quiet", *settings])
        bar_s, bar_gib = RUN_BARS[preset]
        results[preset] = {"seconds": seconds, "peak_gib": peak, "bar_s": bar_s, "bar_gib": bar_gib}
    return results


def starts(repeats: int = 7) -> dict:
    """Median seconds of fresh processes."""
    commands = {"import dipir": ["-c", "import dipir"], "dipir --help": ["-m", "dipir", "--help"]}
    return {name: {"seconds": statistics.median(timed_process([sys.executable, *words])[0] for _ in range(repeats)),
                   "bar_s": START_BARS[name]} for name, words in commands.items()}


# -------------------------------------------------------------------------------------------------------- report
def table(result: dict) -> str:
    """Markdown."""
    text = f"Made by `{result['command']}`; {result['machine']}; load average at the start {result['load']:.1f}.\n"
    if "run" in result:
        rows = [["preset", "time (s)", "bar", "", "peak memory (GiB)", "bar", ""]]
        rows += [[k, f"{v['seconds']:.1f}", f"{v['bar_s']:.0f}", verdict(v["seconds"], v["bar_s"]),
                  f"{v['peak_gib']:.2f}", f"{v['bar_gib']:.0f}", verdict(v["peak_gib"], v["bar_gib"])]
                 for k, v in result["run"].items()]
        text += f"\n## Whole run, demo scene, 512 wide{_with(result['set'])}\n\n" + markdown(rows)
    text += full.table(result)
    text += live.table(result)
    if "update" in result:
        text += update.table(result["update"])
    if "start" in result:
        rows = [["command", "time (s), median of 7", "bar", ""]]
        rows += [[k, f"{v['seconds']:.2f}", f"{v['bar_s']}", verdict(v["seconds"], v["bar_s"])]
                 for k, v in result["start"].items()]
        text += "\n## Start, fresh process\n\n" + markdown(rows)
    return text


def _with(overrides: list[str]) -> str:
    return f", with {', '.join(overrides)}" if overrides else ""


def main(arguments: list[str] | None = None) -> int | None:
    """See the module's text; an exit code other than 0."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--spp", default="4,16,64,256")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of the whole runs")
    parser.add_argument("--name", help="of the files of results (default: speed; gpu/speed for the part gpu)")
    parser.add_argument("--merge", action="store_true", help="keep the other parts of the earlier result of that name")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the part gpu: wall time")
    parser.add_argument("--smoke", action="store_true", help="of the part gpu: tiny, on the CPU; nothing is written")
    args = parser.parse_args(arguments)
    parts = args.parts.split(",")
    if set(parts) - {*PARTS, *MORE}:
        sys.exit(f"benchmarks.speed: --parts {args.parts}: accepted are {', '.join((*PARTS, *MORE))}")
    if "gpu" in parts:
        from benchmarks.speed import gpu

        return gpu.main(args)  # Other figures come from other machines: they keep their own file.
    words = [*([f"--parts {args.parts}"] if set(parts) != set(PARTS) else []),
             *([f"--seeds {args.seeds}", f"--spp {args.spp}"] if "update" in parts else []),
             *(f"--set {s}" for s in args.set), *([f"--name {args.name}"] if args.name else []),
             *(["--merge"] if args.merge else [])]
    result = {"command": f"python -m benchmarks.speed {' '.join(words)}", "machine": machine(),
              "load": os.getloadavg()[0], "set": args.set}
    result |= full.measure(parts)
    result |= live.measure(parts)
    if "start" in parts:
        result["start"] = starts()
    if "run" in parts:
        result["run"] = whole_runs(args.set)
    if "update" in parts:
        result["update"] = update.update_part([int(s) for s in args.spp.split(",")], args.seeds)
    earlier = RESULTS / f"{args.name or 'speed'}.json"
    if args.merge and earlier.is_file():
        kept = json.loads(earlier.read_text())
        result = {**kept, **result, "command": f"{kept['command']}`, then `{result['command']}"}
    write(args.name or "speed", result, table(result))
    return None


if __name__ == "__main__":
    as_command(main)
