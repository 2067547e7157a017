"""How results show themselves: a line at a prompt, a small table in a notebook, and plain values for JSON."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Shown:
    """What a result is, told by its heading and its most important values in words."""

    def _summary(self) -> tuple[str, Mapping[str, str]]:
        """Heading, and names and values in words, each of one line."""
        raise NotImplementedError

    def _derived(self) -> tuple[str, ...]:
        """Names of what follows from the fields and belongs to `to_dict`."""
        return ()

    def words(self) -> Mapping[str, str]:
        """Names and values in words, as a table shows them in full."""
        return self._summary()[1]

    def record(self) -> dict[str, Any]:
        """What the command line prints as JSON."""
        return {name: plain(value) for name, value in self._record().items()}

    def _record(self) -> dict[str, Any]:
        """The same, of whatever `plain` takes."""
        return self.to_dict()

    def __repr__(self) -> str:
        heading, rows = self._summary()
        told = ", ".join(f"{name} = {words}" for name, words in rows.items())
        return f"{heading}: {told}" if told else heading

    def _repr_html_(self) -> str:
        heading, rows = self._summary()
        lines = (f"<tr><th>{escape(name)}</th><td>{escape(words)}</td></tr>" for name, words in rows.items())
        return f"<table><caption>{escape(heading)}</caption>{''.join(lines)}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers, text, lists and dictionaries, for JSON; None in place of what is not a finite number."""
        names = (*(field.name for field in fields(self)), *self._derived())  # type: ignore[arg-type]
        return {name: plain(getattr(self, name)) for name in names}


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays as lists, records as dictionaries."""
    if isinstance(value, Shown):
        return value.to_dict()
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return plain(value.tolist())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path | str) else value
