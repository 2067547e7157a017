"""Parts of the page: sections of figures, tables and sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import plotly.graph_objects as go

from ase_dkl.wording import plus_minus


@dataclass
class Section:
    """A section of the page.

    Attributes:
        name: short, for links and JSON.
        title: what it shows.
        headlines: its most important numbers, for the top of the page.
        parts: HTML, in order.
        missing: why something is not shown, in words.
        warnings: what was found while it was made.
    """

    name: str
    title: str
    headlines: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """What links within the page lead to."""
        return self.name.lower().replace(" ", "-")

    def html(self) -> str:
        """The section, with what is missing and the warnings in its place."""
        notes = [f'<p class="missing">{escape(text)}</p>' for text in self.missing]
        notes += [f'<p class="warning">{escape(text)}</p>' for text in self.warnings]
        return "\n".join(
            [f'<section id="{self.identity}">', f"<h2>{self.title}</h2>", *self.parts, *notes, "</section>"]
        )


def figure(identity: str, drawn: go.Figure, caption: str) -> str:
    """A figure for the page's script to draw, and its caption."""
    height = drawn.layout.height
    return (
        f'<figure><div class="plot" id="{identity}" style="min-height: {height}px"></div>'
        f'<script type="application/json" data-figure="{identity}">{within_script(drawn.to_json())}</script>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def side_by_side(*parts: str) -> str:
    """Parts in two columns where the screen has room."""
    return f'<div class="columns">{"".join(parts)}</div>'


def facts(rows: Mapping[str, str]) -> str:
    """Names and values in two columns; the values are plain text."""
    lines = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(_printed(rows[name]))}</td></tr>' for name in rows)
    return f'<table class="facts">{"".join(lines)}</table>'


def measured(value: float, std: float, unit: str = "") -> str:
    """A value and its standard deviation, with signs as they are set in print."""
    return _printed(plus_minus(float(value), float(std), unit))


def _printed(text: str) -> str:
    return re.sub(r"(?<!\w)-(?=\d)", "−", text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of numbers, plain text, with a caption."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="numbers"><caption>{caption}</caption><tr>{top}</tr>{body}</table>'


def within_script(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def json_script(identity: str, value: object) -> str:
    """Data for the page's scripts."""
    text = within_script(json.dumps(value, allow_nan=False))
    return f'<script type="application/json" id="{identity}">{text}</script>'
