"""Tables of the insertion benchmark, as Markdown."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.common import markdown
from benchmarks.insert.figures import FIGURES
from benchmarks.insert.overall import BEST, NEAR_DEG, NOTHING, RATIOS, WAYS

SHOWN_FAILURES = 20


def tables(result: Mapping) -> str:
    """What was run, what failed, images, the way to the oracle, cast shadows, light and time."""
    parts = [_head(result), _failures(result), _images(result), _ways(result), _shadows(result), _light(result)]
    return "\n\n".join(p.strip() for p in parts if p) + "\n"


def _images(result: Mapping) -> str:
    s, ratio = result["summary"], result["ratios"]
    keys = ["fg_si_rmse", "fg_rmse", "composite_rmse", "composite_si_rmse", "ssim", "shadow_rmse"]
    keys += ["lpips"] if any("lpips" in v for v in s.values()) else []
    shares = [head for _, base in RATIOS for head in (f"/ {base}", f"case by case / {base}")]
    rows = [["method", "cases", FIGURES[keys[0]], *shares, *(FIGURES[f] for f in keys[1:])]]
    for m in s:
        cells = [_worst(s[m].get(f)) for f in keys]
        shares = [_cell(ratio.get(m, {}).get(f"{f}/{b}"), name) for f, b in RATIOS for name in ("ratio", "typical")]
        rows.append([m, str(s[m].get("composite_rmse", {}).get("n", 0)), cells[0], *shares, *cells[1:]])
    return markdown(rows)


def _ways(result: Mapping) -> str:
    rows = [[f"share of the way from {NOTHING} to {BEST}", *(FIGURES[f] for f in WAYS)]]
    rows += [[m, *(_percent(v.get(f), "way") for f in WAYS)] for m, v in result["ways"].items()]
    return markdown(rows) if len(rows) > 1 else ""


def _shadows(result: Mapping) -> str:
    """The cast shadow, where the truth has a hard one; and whether a method knows where that is."""
    hard, auc = result["hard_shadow"], result["decisions"]
    rows = [["method", f"cast shadow within {NEAR_DEG:g} deg", f"{FIGURES['cast_deg']}: median", "mean",
             f"{FIGURES['darkest_log2']}: median", "mean", f"{FIGURES['penumbra_log2']}: median",
             "hard shadow or none, AUC"]]
    for m in result["summary"]:
        def find(f, name, m=m):
            return _cell(hard["summary"].get(m, {}).get(f), name)

        near = hard["within"].get(m, {}).get("cast_deg")
        rows.append([m, _percent(near, "share"), find("cast_deg", "median"), _worst(hard["summary"].get(m, {}).get(
            "cast_deg")), find("darkest_log2", "median"), _worst(hard["summary"].get(m, {}).get("darkest_log2")),
            find("penumbra_log2", "median"), _cell(auc.get(m), "auc")])
    return markdown(rows)


def _light(result: Mapping) -> str:
    s, one = result["summary"], result["single_light"]
    rows = [["method", FIGURES["exposure_log2"], "direction error (deg), all: median", "mean",
             "with a sun or one strong lamp: median", "mean", f"within {NEAR_DEG:g} deg there",
             "azimuth error there (deg): median", f"first guess within {NEAR_DEG:g} deg", "one of three guesses",
             "seconds"]]
    for m in s:
        def find(group, f, name, m=m):
            return _cell(group.get(m, {}).get(f), name)

        def share(f, m=m):
            return _percent(one["within"].get(m, {}).get(f), "share")

        rows.append([m, find(s, "exposure_log2", "mean"), find(s, "direction_deg", "median"),
                     find(s, "direction_deg", "mean"), find(one["summary"], "direction_deg", "median"),
                     _worst(one["summary"].get(m, {}).get("direction_deg")), share("direction_deg"),
                     find(one["summary"], "azimuth_deg", "median"), share("first_guess_deg"), share("guesses_deg"),
                     find(s, "seconds", "mean")])
    return markdown(rows)


def _head(result: Mapping) -> str:
    settings, one, hard = result["settings"], result["single_light"], result["hard_shadow"]

    def count(n, what):
        return f"{n} {what}{'' if n == 1 else 'es' if what.endswith('sh') else 's'}"

    text = (f"Made by `{result['command']}`; {count(len(result['cases']), 'case')} "
            f"({count(len(result['environments']), 'environment')} x {count(len(result['meshes']), 'mesh')} x "
            f"{count(settings['views'], 'view')}), plates of {settings['size']} rows, {settings['spp']} spp; "
            f"{result['machine']}, one thread a case. Means, with bootstrap 95 % intervals in brackets, then the worst "
            f"decile; \"/ ambient\" and \"/ projected\" are ratios of mean foreground si-RMSE, which the strongest "
            f"lights decide, \"case by case\" geometric means of each case's own ratio. A sun or one strong lamp: "
            f"{', '.join(one['environments']) or 'no environment'}. True shadows that are hard: "
            f"{len(hard['cases'])} of {len(result['cases'])} cases.")
    return text + (" **The code was changed during the run.**" if result["code_changed"] else "")


def _failures(result: Mapping) -> str:
    """Every row that failed, so that nobody takes the means for those of all cases."""
    failed = [(c["name"], m, text) for c in result["cases"] for m, text in c["errors"].items()]
    if not failed:
        return ""
    lines = [f"* `{name}`, {m}: {' '.join(text.split())[:200]}" for name, m, text in failed[:SHOWN_FAILURES]]
    more = [f"* and {len(failed) - SHOWN_FAILURES} more"] if len(failed) > SHOWN_FAILURES else []
    plural = "" if len(failed) == 1 else "s"
    return "\n".join([f"**{len(failed)} row{plural} failed** and {'is' if len(failed) == 1 else 'are'} left out of the "
                      "means; methods with fewer cases do not compare with the others:\n", *lines, *more])


# ---- cells -----------------------------------------------------------------------------------------------------------

def _cell(figure: Mapping | None, name: str = "mean") -> str:
    """Value and interval; "none" for a figure that is defined nowhere (the direction of a constant map)."""
    if figure is None:
        return "none"
    return f"{figure[name]:.3g} [{figure[f'{name}_low']:.3g}, {figure[f'{name}_high']:.3g}]"


def _worst(figure: Mapping | None) -> str:
    """Mean, interval and worst decile."""
    return "none" if figure is None else f"{_cell(figure)} {figure['worst']:.3g}"


def _percent(figure: Mapping | None, name: str) -> str:
    if figure is None:
        return "none"
    return f"{figure[name]:.0%} [{figure[f'{name}_low']:.0%}, {figure[f'{name}_high']:.0%}]"


def failures(cases: Sequence[Mapping]) -> list[str]:
    """A line for each row that failed."""
    return [f"{c['name']}, {m}: {text}" for c in cases for m, text in c["errors"].items()]
