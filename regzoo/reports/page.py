"""A page: one HTML file with its style, script and data, which may load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import regzoo
from regzoo.output.files import finished_file

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def embedded(value: Any) -> Markup:
    """JSON that can stand in a script element, whatever its texts hold."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPED.items():
        found = found.replace(character, escape)
    return Markup(found)


def render(template: str, layout: str = "page.html", **content: Any) -> str:
    """HTML of a page.

    Parameters
    ----------
    template : str
        File in `regzoo/reports/templates`.
    layout : str
        'page.html', or 'fragment.html' for the content alone, of templates that extend `layout`.
    **content
        Variables of the template. Text is escaped.

    Returns
    -------
    str
    """
    loader = PackageLoader("regzoo.reports")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["embedded"] = embedded
    style, charts, script = (source(name) for name in ("page.css", "charts.css", "report.js"))
    return environment.get_template(template).render(
        style=style,
        chart_style=charts,
        script=script,
        digest=digest(script),
        version=regzoo.__version__,
        layout=layout,
        **content,
    )


def source(name: str) -> Markup:
    """Text of a file in `regzoo/reports/templates`."""
    return Markup((resources.files("regzoo.reports") / "templates" / name).read_text(encoding="utf-8"))


def digest(script: str) -> str:
    """Hash of an inline script, as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def write_page(html: str, path: str | Path) -> None:
    """Write a page, whole or not at all."""
    with finished_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace", newline="\n")
