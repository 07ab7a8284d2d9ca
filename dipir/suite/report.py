"""report.html of a suite: its table, what every varied number does, failures, a picture of every job."""
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from dipir.arrays import Image
from dipir.disk import write_text
from dipir.errors import ImageError
from dipir.image.files import read_image
from dipir.report import page as report_page
from dipir.report.figures import Chart, line_chart
from dipir.suite.run import RESULT, job_folder
from dipir.suite.table import Row, grouped, mean_and_error, read_rows, write_parquet

PICTURES = ("composite.png", "relit.png", "image.png")
_MOST = 200


def write_results(out: Path, name: str | None = None) -> list[Row]:
    """``results.parquet`` and ``report.html`` of a run; its rows. name : in the report, else the folder's."""
    rows = read_rows(out)
    write_parquet(out, rows)
    write_report(out, rows, name or out.name)
    return rows


def write_report(out: Path, rows: Sequence[Row], name: str) -> Path:
    """``report.html`` in ``out``: self-contained."""
    facts = {state: str(sum(r.state == state for r in rows)) for state in ("done", "failed", "running", "waiting")}
    head, lines = grouped(rows)
    failed = {r.name: r.cause.strip()[-1500:] for r in rows if r.state == "failed"}
    write_text(out / "report.html", report_page.render(
        "suite.html", name=name, facts=facts, table_head=head, table_lines=lines, curves=_curves(rows), failed=failed,
        pictures=_pictures(out, rows)))
    return out / "report.html"


def _curves(rows: Sequence[Row]) -> list[Chart]:
    """A chart for every figure over every setting that is a number with at least three values."""
    charts = []
    for key in dict.fromkeys(k for r in rows for k in r.varied):
        values = sorted({r.varied[key] for r in rows if isinstance(r.varied.get(key), (int, float))
                         and not isinstance(r.varied.get(key), bool)})
        for figure in dict.fromkeys(f for r in rows for f in r.figures) if len(values) >= 3 else ():
            points = []
            for value in values:
                got = [r.figures[figure] for r in rows if r.varied.get(key) == value and figure in r.figures]
                if got:
                    points.append((float(value), mean_and_error(got)[0]))
            if len(points) >= 2:
                charts.append(line_chart({figure: points}, f"{figure} over {key}"))
    return [chart for chart in charts if chart is not None]


def _pictures(out: Path, rows: Sequence[Row]) -> dict[tuple[str, str], Image]:
    shown = {}
    for r in rows:
        folder = job_folder(out, r.name) / RESULT
        path = next((folder / n for n in PICTURES if (folder / n).is_file()), None)
        if path is not None and len(shown) < _MOST:
            with contextlib.suppress(ImageError):
                shown[r.name, r.label] = read_image(path).pixels
    return shown
