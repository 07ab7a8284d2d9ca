"""report.html of a suite: its table, what every varied number does, failures, a picture of every job."""
from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from dipir.disk import write_text
from dipir.errors import ImageError
from dipir.image.files import read_image
from dipir.report import figures as report_figures
from dipir.report import page as report_page
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
    count = {state: sum(r.state == state for r in rows) for state in ("done", "failed", "running", "waiting")}
    sections = [report_page.head(name, "", {k: str(v) for k, v in count.items()}), _table(rows), _plots(rows),
                _failures(rows), _pictures(out, rows)]
    write_text(out / "report.html", report_page.page(name, [s for s in sections if s]))
    return out / "report.html"


def _table(rows: Sequence[Row]) -> str:
    head, lines = grouped(rows)
    cells = lambda line, tag: "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in line) + "</tr>"
    return ('<h2>Results</h2><p class="dim">Means over jobs; half of the 95 % bootstrap interval after the sign.</p>'
            f'<table>{cells(head, "th")}{"".join(cells(line, "td") for line in lines)}</table>')


def _plots(rows: Sequence[Row]) -> str:
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
                charts.append(report_figures.line_chart({figure: points}, f"{figure} over {key}"))
    return f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _failures(rows: Sequence[Row]) -> str:
    items = [f"<li><b>{html.escape(r.name)}</b><pre>{html.escape(r.cause.strip()[-1500:])}</pre></li>"
             for r in rows if r.state == "failed"]
    return f"<h2>Failed</h2><ul>{''.join(items)}</ul>" if items else ""


def _pictures(out: Path, rows: Sequence[Row]) -> str:
    shown = {}
    for r in rows:
        folder = job_folder(out, r.name) / RESULT
        path = next((folder / n for n in PICTURES if (folder / n).is_file()), None)
        if path is not None and len(shown) < _MOST:
            try:
                shown[r.name, r.label] = read_image(path).pixels
            except ImageError:
                continue
    return f"<h2>Pictures</h2>{report_page.grid(shown)}" if shown else ""
