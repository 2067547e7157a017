"""Rows and columns as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def rows_of(columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Columns of equal length as the rows of a table."""
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a CSV table."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(map(harmless, rows))
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as a CSV table."""
    path.write_text(as_csv(rows), encoding="utf-8", newline="")


def harmless(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in which text that spreadsheets would run as a formula has an apostrophe in front."""
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for name, value in row.items()
    }
