"""Models as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from ase_dkl.arrays import Floats
from ase_dkl.files import check_outputs, written_whole
from ase_dkl.model.calibration import Calibration
from ase_dkl.model.model_file import BadModelFile, checksum, pack, unpack, writer
from ase_dkl.model.records import TrainingReport


class Stored(ABC):
    """What is saved to a model file and read from one.

    Attributes:
        report: what training found.
        calibration: what held-out rows say of the error bars; None where nobody asked.
        written: who wrote the file that the model was read from, and when; None where there is none.
    """

    report: TrainingReport
    calibration: Calibration | None
    written: str | None
    _OF_FREE_IONS: ClassVar[bool] = False

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """What predictions follow from, beside tensors, for JSON."""

    @abstractmethod
    def _tensors(self) -> dict[str, Floats]:
        """Arrays that predictions follow from."""

    @classmethod
    @abstractmethod
    def _of_file(cls, header: dict[str, Any], tensors: dict[str, Floats]) -> Self:
        """Rebuild from these two."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that predictions follow from: equal for equal models, whenever they were trained."""
        return checksum(self._identity(), self._tensors())

    def save(self, path: str | Path) -> None:
        """Write the model to one file, which appears only once it is complete, or takes the place of another model.

        Raises:
            OSError: the file cannot be written, or exists and is no model.
        """
        path = Path(path)
        check_outputs(path, overwrite=True, model=True)
        with written_whole(path) as beside:
            beside.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model file. Nothing in it is executed.

        Raises:
            BadModelFile: it cannot be read, is truncated, no model, or of a newer format.
        """
        return cls.from_bytes(content_of(path), name=str(path))

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        notes, scores = (None, {}) if self.calibration is None else self.calibration.to_file()
        header = {**self._identity(), "report": asdict(self.report), "calibration": notes}
        return pack(header, {**self._tensors(), **scores})

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str = "These bytes") -> Self:
        """Rebuild a model from `to_bytes`; errors speak of it by its name."""
        header, tensors = unpack(content, name)
        if of_free_ions(header) != cls._OF_FREE_IONS:
            what = "is a model that knows lattices only" if cls._OF_FREE_IONS else "is one of free ions"
            raise BadModelFile(f"{name} {what}. Read it with ase_dkl.load, which reads either.")
        try:
            surrogate = cls._of_file(header, tensors)
        except Exception as error:
            raise BadModelFile(
                f"{name} has the form of a model but its content does not fit together ({error}): it was changed after "
                "it was written. Copy it again, or train again."
            ) from error
        surrogate.written = writer(header)
        return surrogate

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)


def of_free_ions(header: dict[str, Any]) -> bool:
    """Whether a file's header is of a model of free ions."""
    return bool(isinstance(header.get("crystal"), dict) and header["crystal"].get("ions") == "free")


def content_of(path: str | Path) -> bytes:
    """The bytes of a model file.

    Raises:
        BadModelFile: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadModelFile(f"{path} cannot be read as a model: {reason}.") from error
