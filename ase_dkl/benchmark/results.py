"""A study's results: a table to which a row is added with each fit, and the settings that searches found beside it."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ase_dkl.benchmark.settings import BadStudy
from ase_dkl.files import written_whole
from ase_dkl.tables import harmless

OF_QUANTITY = (
    "rmse_{0} mae_{0} nll crps_{0} coverage_68 coverage_95 miscalibration_area ence sharpness_{0} spearman "
    "risk_coverage_{0}"
)
SCORES = (
    *(f"energy_{each}" for each in OF_QUANTITY.format("meV").split()),
    *(f"stress_{each}" for each in OF_QUANTITY.format("GPa").split()),
    *"auroc outside_rmse_meV outside_coverage_95 outside_auroc".split(),
    *"fit_s predict_us predict_stress_us single_ms memory_MiB passes".split(),
)
COLUMNS = (*"key data method label n labels seed".split(), *SCORES, *"error warnings settings".split())
_HEADING = ",".join(COLUMNS) + "\n"

Row = Mapping[str, Any]


class Results:
    """A CSV file, and searches in a JSON file of the same name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.searches: dict[str, dict[str, Any]] = {}
        self.rows: list[Row] = []
        if self._beside.exists():
            try:
                self.searches = json.loads(self._beside.read_text(encoding="utf-8"))
            except ValueError as error:
                raise BadStudy(
                    f"{self._beside} holds no settings that searches found. Name another table with --results."
                ) from error
        if path.exists():
            self._read()

    @classmethod
    @contextmanager
    def written(cls, path: Path) -> Iterator[Self]:
        """Open results to add to them, for one process at a time.

        Raises:
            BadStudy: another process writes them, or the file is no table of results.
        """
        with path.open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadStudy(
                    f"{path} is being written by another process. Wait for it, or name another file."
                ) from None
            results = cls(path)
            results._mend()
            yield results

    def add(self, row: Row) -> None:
        """Write one row, so that it is there whatever happens next."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(harmless(row))
            file.flush()
            os.fsync(file.fileno())
        self.rows.append({name: _text(row.get(name)) for name in COLUMNS})

    def add_search(self, key: str, found: dict[str, Any]) -> None:
        """Write what a search found."""
        self.searches[key] = found
        with written_whole(self._beside) as path:
            path.write_text(json.dumps(self.searches, indent=1), encoding="utf-8")

    def done(self) -> set[tuple[str, int]]:
        """Cases, by their key, and seeds that have a row, a failure's included."""
        return {(row["key"], int(row["seed"])) for row in self.rows}

    @property
    def _beside(self) -> Path:
        return self.path.with_suffix(".settings.json")

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if not text.startswith(_HEADING) and not _HEADING.startswith(text):
            raise BadStudy(
                f"{self.path} is no table of results, or one with other columns: another version wrote it. Name "
                "another file with --results."
            )
        self.rows = list(csv.DictReader(whole.splitlines(keepends=True)))

    def _mend(self) -> None:
        """Begin the table where there is none, and take off a row that was cut short."""
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1] or _HEADING
        if whole != text:
            with self.path.open("r+", encoding="utf-8", newline="") as file:
                file.write(whole)
                file.truncate()


def _text(value: Any) -> str:
    return "" if value is None else str(value)
