"""HTML pages from the templates beside this file, escaped by default.

A page is one file: pictures are data: URIs, no address outside itself is read.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

import jinja2
import yaml

from dipir.report import figures


def render(template: str, **values: object) -> str:
    """The page of a file in ``templates``; every value is escaped. A name that is missing raises UndefinedError."""
    return environment().get_template(template).render(values)


@cache
def environment() -> jinja2.Environment:
    """With the filters ``uri`` (picture -> data: URI), ``yaml`` and ``json`` (mapping -> text)."""
    made = jinja2.Environment(loader=jinja2.PackageLoader("dipir.report"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    made.filters["uri"] = figures.data_uri
    made.filters["yaml"] = lambda value: yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    made.filters["json"] = lambda value: json.dumps(dict(value), indent=2, default=str, ensure_ascii=False)
    return made


def curves_of(rows: Sequence[Mapping[str, object]]) -> list[figures.Chart]:
    """A chart of every number in the rows of a fit, "step" left out."""
    charts = []
    for name in dict.fromkeys(key for row in rows for key in row if key != "step"):
        # Several stages may each count from 0; the row number is then the axis.
        points = [(i, float(row[name])) for i, row in enumerate(rows)
                  if isinstance(row.get(name), (int, float)) and not isinstance(row[name], bool)]
        charts.append(figures.line_chart({name: points}, name) if len(points) > 1 else None)
    return [chart for chart in charts if chart is not None]
