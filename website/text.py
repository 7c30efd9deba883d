"""Markdown and HTML of generated pages. Everything that comes from a file is escaped."""

import re
import string
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from regzoo.reports.page import embedded

_HERE = Path(__file__).parent
_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")


def escaped(text: str) -> str:
    """Text as Markdown that shows it literally, on one line."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(str(text).split()))


def fenced(kind: str, text: str) -> str:
    """A fenced block that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}\n"


def raw(html: str) -> str:
    """HTML as a block of a MyST page."""
    return fenced("{raw} html", html)


def prose(text: str) -> Markup:
    """HTML of the prose of a docstring. HTML in it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).disable("image").render(text.strip()))


def render(template: str, **content: Any) -> str:
    """HTML of a template in website/templates. Values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": embedded, "prose": prose}
    return environment.get_template(template).render(**content)
