"""Parts of the figures: elements, scales and axes as SVG text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

#: Outlines of the letters of a sequence logo in a box of one by one, y downwards.
LETTERS = {
    "A": "M0 1L.39 0H.61L1 1H.79L.71.76H.29L.21 1ZM.35.58H.65L.5.17Z",
    "C": "M1 .34C.95.11.77 0 .54 0 .21 0 0 .2 0 .5 0 .8.21 1 .54 1 .77 1 .95.89 1 .66L.79.62C.76.76.67.83.54.83.34.83"
    ".21.71.21.5.21.29.34.17.54.17.67.17.76.24.79.38Z",
    "G": "M.99.32C.93.11.77 0 .53 0 .2 0 0 .2 0 .5 0 .8.2 1 .53 1 .72 1 .88.94 1 .83V.47H.53V.63H.8V.76C.74.81.65.84.53"
    ".84.33.84.21.71.21.5.21.29.33.16.53.16.66.16.75.22.79.36Z",
    "T": "M0 0H1V.17H.6V1H.4V.17H0Z",
}


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # not allowed in XML


@dataclass
class Figure:
    """A picture with its data.

    Attributes
    ----------
    name : str
        Distinct within a page: the element's id, and the stem of the files that are saved.
    title, description : str
        Text alternative of the picture.
    content : markupsafe.Markup
        Elements inside <svg>.
    width, height : float
        Size in its own units, which are CSS pixels at full size.
    data : pandas.DataFrame
        What is drawn.
    caption : str
    least : int
        Width in CSS pixels below which the picture scrolls instead of shrinking.
    """

    name: str
    title: str
    description: str
    content: Markup
    width: float
    height: float
    data: pd.DataFrame
    caption: str = ""
    least: int = 0

    @property
    def tsv(self) -> str:
        """The data as tab-separated text."""
        return self.data.to_csv(sep="\t", index=False, float_format="%.6g", lineterminator="\n")

    @property
    def svg(self) -> Markup:
        """The picture as an <svg> element."""
        size = f"0 0 {number(self.width)} {number(self.height)}"
        labels = f"{self.name}-title {self.name}-desc"
        picture = tag(
            "svg",
            tag("title", self.title, id=f"{self.name}-title"),
            tag("desc", self.description, id=f"{self.name}-desc"),
            self.content,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=size,
            width=self.width,
            height=self.height,
            role="img",
            tabindex="0",
            aria_labelledby=labels,
            style=f"min-width:{self.least}px" if self.least else None,
        )
        return Markup(_CONTROL.sub("\ufffd", picture))


def number(value: float) -> str:
    """A coordinate as text, with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if "." in f"{value:.2f}" else f"{value:.2f}"


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """An element. Content and attributes are escaped; attributes that are None are left out.

    Parameters
    ----------
    name : str
    *content : str or markupsafe.Markup
    **attributes
        `_` stands for `-` in names, and is dropped at the end (`class_`). Numbers have at most two decimals.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{words}>{''.join(map(escape, content))}</{name}>")


def join(parts: Any) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def text(x: float, y: float, content: str, **attributes: Any) -> Markup:
    """A text whose baseline starts at a point."""
    return tag("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str = "axis", **attributes: Any) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **attributes)


def rect(x: float, y: float, width: float, height: float, class_: str, **attributes: Any) -> Markup:
    """A rectangle."""
    return tag("rect", x=x, y=y, width=width, height=height, class_=class_, **attributes)


def circle(x: float, y: float, radius: float, class_: str, **attributes: Any) -> Markup:
    """A circle."""
    return tag("circle", cx=x, cy=y, r=radius, class_=class_, **attributes)


def letter(base: str, x: float, y: float, width: float, height: float) -> Markup:
    """A base as a letter that fills a box; upside down where the height is negative, as below the line of a logo."""
    if base not in LETTERS or not height:
        return Markup("")
    top = y - height
    matrix = f"matrix({number(width)} 0 0 {number(height)} {number(x)} {number(top)})"
    return tag("path", d=LETTERS[base], class_=f"base-{base}", transform=matrix)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to coordinates.

    Attributes
    ----------
    low, high : float
        Values at `start` and `end`.
    start, end : float
        Coordinates.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Coordinate of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return float(self.start + share * (self.end - self.start))

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the scale, about `count`."""
        span = abs(self.high - self.low)
        if not span or not np.isfinite(span):
            return [self.low]
        rough = span / max(1, count)
        power = 10.0 ** np.floor(np.log10(rough))
        step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        first = np.ceil(min(self.low, self.high) / step - 1e-9)
        last = np.floor(max(self.low, self.high) / step + 1e-9)
        return [float(i * step) + 0.0 for i in np.arange(first, last + 1)]


def short(value: float) -> str:
    """A value as the label of an axis: at most four digits, thousands grouped."""
    if not np.isfinite(value):
        return "–"
    value = value + 0.0  # -0 is 0
    words = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return words.replace("-", "−")


def bottom_axis(scale: Scale, y: float, label: str = "", count: int = 5) -> Markup:
    """A horizontal axis with ticks, and its label below."""
    parts = [line(scale.start, y, scale.end, y)]
    for value in scale.ticks(count):
        x = scale(value)
        parts += [line(x, y, x, y + 4), text(x, y + 16, short(value), text_anchor="middle")]
    middle = (scale.start + scale.end) / 2
    return join([*parts, text(middle, y + 33, label, text_anchor="middle", class_="label") if label else ""])


def left_axis(scale: Scale, x: float, label: str = "", count: int = 5, right: float | None = None) -> Markup:
    """A vertical axis with ticks, its label turned, and grid lines up to `right`."""
    parts = []
    for value in scale.ticks(count):
        y = scale(value)
        parts.append(text(x - 7, y + 4, short(value), text_anchor="end"))
        parts.append(line(x, y, right, y, "grid") if right is not None else line(x - 4, y, x, y))
    middle = (scale.start + scale.end) / 2
    turned = text(
        0, 0, label, text_anchor="middle", class_="label", transform=f"translate({x - 40:.0f} {middle:.0f}) rotate(-90)"
    )
    return join([*parts, turned if label else ""])


def shortened(words: str, most: int) -> str:
    """A text of at most `most` characters, with an ellipsis where it is cut."""
    return words if len(words) <= most else words[: most - 1] + "…"
