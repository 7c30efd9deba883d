"""Tables of a report: small static ones, and one that the page sorts, filters and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

#: Rows on one page of a table.
PAGE = 50


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        Column of the data frame.
    label : str
    digits : int or None
        Decimals of a number, None for text.
    sign : bool
        Write the sign of positive numbers.
    help : str
        What it holds, shown in the head.
    """

    name: str
    label: str
    digits: int | None = None
    sign: bool = False
    help: str = ""

    def shown(self, value: Any) -> str:
        """A value as text; '–' where there is none."""
        if value is None or value == "" or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
            return "–"
        if self.digits is None:
            return str(value)
        return f"{value:{'+' if self.sign else ''},.{self.digits}f}".replace("-", "−")

    def kind(self, words: str) -> str:
        """Style of a cell."""
        return "number" if self.digits is not None else "text long" if len(words) > 60 else "text"


@dataclass
class Table:
    """A table of any number of rows.

    Attributes
    ----------
    name : str
        Distinct within a page: the element's id, and the stem of the file that is saved.
    title : str
        Caption, for readers of the screen.
    columns : sequence of Column
    rows : pandas.DataFrame
    filters : sequence of str
        Columns that can be filtered by one of their values.
    flag : tuple of str
        Column of 0 and 1, and the label of the box by which only its rows are shown, initially so; none when empty.
    links : sequence of str
        For each row the id of the section that it opens, '' without one; they are links of the first text column.
    note : str
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: pd.DataFrame
    filters: Sequence[str] = ()
    flag: tuple[str, str] | tuple[()] = ()
    links: Sequence[str] = ()
    note: str = ""
    link_column: str = field(default="")

    def first(self) -> list[dict[str, Any]]:
        """Rows of the first page: their cells as text, and what they open."""
        rows = self.rows.assign(_link=list(self.links) or "")
        if self.flag:
            rows = rows[rows[self.flag[0]].astype(bool)]
        names = [column.name for column in self.columns]
        return [
            {"link": row["_link"], "cells": [column.shown(row[name]) for column, name in zip(self.columns, names)]}
            for row in rows.head(PAGE).to_dict("records")
        ]

    def choices(self, name: str) -> list[str]:
        """Values of a column, sorted."""
        return sorted({str(value) for value in self.rows[name] if value not in ("", None)})

    def data(self) -> dict[str, Any]:
        """All rows, column by column, as the page's script reads them."""
        columns = [
            {
                "name": column.name,
                "label": column.label,
                "digits": column.digits,
                "sign": column.sign,
                "link": column.name == self.link_column,
                **_packed(self.rows[column.name], column.digits),
            }
            for column in self.columns
        ]
        flag = self.rows[self.flag[0]].astype(int).tolist() if self.flag else None
        return {"columns": columns, "flag": flag, "links": list(self.links), "page": PAGE, "size": len(self.rows)}


def _packed(values, digits):
    """Numbers, with null where there is none; or the distinct texts and the index of each row's own."""
    if digits is not None:
        numbers = pd.to_numeric(values).to_numpy(float)
        return {"values": [float(f"{value:.6g}") if np.isfinite(value) else None for value in numbers]}
    codes, levels = pd.factorize(values.fillna("").astype(str))
    return {"levels": levels.tolist(), "codes": codes.tolist()}
