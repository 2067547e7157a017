"""Rows that do not belong together, and a selection that keeps those that do."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.db.core import convert_str_to_int_float_bool_or_str

from ase_dkl.dataset.columns import DECISIVE, ORDERED, SECONDARY, Columns, setting_words

SHOWN_IDS = 8
EXCLUDED_IDS = 12
"""The longest list of single rows that a proposed selection leaves out."""


@dataclass
class Findings:
    """What is wrong with the data.

    Attributes:
        select: the selection that the rows came from.
        problems: what stops.
        warnings: what the user should know.
        selections: one for each problem that a selection mends.
    """

    select: str | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    selections: list[str] = field(default_factory=list)

    def refuse(self, problem: str, columns: Columns, keep: np.ndarray, prefer: Sequence[str] = ()) -> None:
        """Add a problem that is gone when only the rows `keep`, shape (n,), are read."""
        selection, kept = selection_of(columns, keep, prefer), f"{keep.sum()} of the {len(keep)} rows"
        if selection is not None:
            self.selections.append(selection)
            problem += f" To keep {kept}: {self._option(selection)}"
        elif keep.any():
            problem += f" No key tells {kept} from the others: copy them to a database of their own."
        self.problems.append(problem)

    def listed(self) -> list[str]:
        """The problems, and a last line with the selection that mends several of them at once."""
        together = list(dict.fromkeys(self.selections))
        if len(together) < 2:
            return self.problems
        return [*self.problems, f"All these selections together: {self._option(','.join(together))}"]

    def _option(self, selection: str) -> str:
        return "--select " + shlex.quote(",".join(filter(None, (self.select, selection))))

    def one_kind(
        self, what: str, labels: Sequence[str], columns: Columns, why: str, prefer: Sequence[str] = ()
    ) -> np.ndarray:
        """Refuse rows of several kinds, and propose the most frequent one.

        Returns:
            Which rows are of that kind, shape (n,).
        """
        kinds = counted(labels)
        keep = np.zeros(len(labels), dtype=bool)
        if kinds:
            keep[next(iter(kinds.values()))] = True
        if len(kinds) > 1:
            listing = "; ".join(f"{kind} ({rows_in_words(columns.ids[at])})" for kind, at in kinds.items())
            self.refuse(f"{len(kinds)} {what}: {listing}. {why}", columns, keep, prefer)
        return keep


def counted(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Positions of each label, the most frequent label first."""
    positions = defaultdict(list)
    for i, label in enumerate(labels):
        positions[label].append(i)
    return {label: np.array(at) for label, at in sorted(positions.items(), key=lambda item: -len(item[1]))}


def check_settings(columns: Columns, findings: Findings) -> dict[str, str]:
    """Look for rows computed in different ways.

    Returns:
        The settings that every row names alike.
    """
    names = {name for settings in columns.settings for name in settings}
    values = {name: [settings.get(name) for settings in columns.settings] for name in sorted(names)}
    varying = [name for name, of_rows in values.items() if len(set(of_rows) - {None}) > 1]
    decisive = [name for name in varying if setting_words(name) & DECISIVE]
    labels = [" ".join(f"{name}={settings.get(name, '?')}" for name in decisive) for settings in columns.settings]
    why = "Their energies have no common zero."
    findings.one_kind("ways of computing", labels, columns, why, prefer=decisive)
    for name in varying:
        if setting_words(name) & SECONDARY:
            kinds = counted([str(value) for value in values[name] if value is not None])
            listing = ", ".join(f"{value} ({_count(at)})" for value, at in list(kinds.items())[:5])
            findings.warnings.append(f"{name} differs among the rows: {listing}{', …' if len(kinds) > 5 else ''}.")
    for name, of_rows in values.items():
        missing = np.array([value is None for value in of_rows])
        if name not in varying and missing.any():
            known = next(value for value in of_rows if value is not None)
            findings.warnings.append(
                f"{name} is {known} where it is given, and not given in {rows_in_words(columns.ids[missing])}."
            )
    return {name: of_rows[0] for name, of_rows in values.items() if len(set(of_rows)) == 1 and of_rows[0] is not None}


def selection_of(columns: Columns, keep: np.ndarray, prefer: Sequence[str] = ()) -> str | None:
    """A selection in the language of `ase.db` that holds for the rows `keep` and for no other, or None.

    Args:
        columns: n rows.
        keep: shape (n,), bool.
        prefer: keys to try first.
    """
    if not keep.any() or keep.all():
        return None
    keys = {key for pairs in columns.pairs for key in pairs}
    named = [*(name for name in prefer if name in keys), *sorted(keys - set(prefer))]
    for key in (name for name in named if name not in ORDERED):
        kept = {columns.pairs[i].get(key) for i in np.flatnonzero(keep)}
        others = {columns.pairs[i].get(key) for i in np.flatnonzero(~keep)}
        if len(kept) == 1 and kept.isdisjoint(others) and _can_be_selected(value := kept.pop()):
            return f"{key}={value}"
    for key in (name for name in prefer if name in ORDERED):
        values = np.array([pairs.get(key, np.nan) for pairs in columns.pairs])
        for sign, bound in (("<", _between(values[keep], values[~keep])), (">", _between(values[~keep], values[keep]))):
            if bound is not None:
                return f"{key}{sign}{bound}"
    kept_ids, other_ids = columns.ids[keep], columns.ids[~keep]
    if columns.ids.dtype.kind == "U":  # rows of several files
        return ",".join(f"row!={name}" for name in other_ids) if can_be_listed(other_ids) else None
    if kept_ids.max() < other_ids.min():
        return f"id<={kept_ids.max()}"
    if kept_ids.min() > other_ids.max():
        return f"id>={kept_ids.min()}"
    if can_be_listed(other_ids):
        return ",".join(f"id!={row_id}" for row_id in other_ids)
    return None


def can_be_listed(ids: np.ndarray) -> bool:
    """Whether a selection can leave rows out one by one."""
    return len(ids) <= EXCLUDED_IDS and all(map(_can_be_selected, ids.tolist()))


def _between(lower: np.ndarray, upper: np.ndarray) -> float | None:
    """A short number that all of some values are below and all others above; None where there is none."""
    low, high = lower.max(), upper.min()
    bound = float(f"{0.5 * (low + high):.2g}")
    return bound if low < bound < high else None


def rows_in_words(ids: np.ndarray) -> str:
    """Row ids, shortened: "3 rows: 4, 5, 6"."""
    shown = ", ".join(str(row_id) for row_id in ids[:SHOWN_IDS])
    return f"{_count(ids)}: {shown}{', …' if len(ids) > SHOWN_IDS else ''}"


def _count(rows: np.ndarray) -> str:
    return f"{len(rows)} row{'' if len(rows) == 1 else 's'}"


def _can_be_selected(value: Any) -> bool:
    text = str(value)
    plain = bool(text) and not set(text) & set(",<>=!") and text == text.strip()
    return value is not None and plain and convert_str_to_int_float_bool_or_str(text) == value
