"""What is refused is told on the page, in the place of what would stand there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ase_dkl.errors import Refused, warnings_in_words
from ase_dkl.report.blocks import Section

T = TypeVar("T")


def attempt(section: Section, compute: Callable[[], T]) -> T | None:
    """Compute something for a section; where it is refused, the section says why. Warnings are told there too.

    Args:
        section: the section.
        compute: what may be refused.

    Returns:
        What was computed, or None.
    """
    found = None
    with warnings_in_words() as told:
        try:
            found = compute()
        except Refused as refusal:
            section.missing.append(str(refusal))
    section.warnings += [words for words in told if words not in section.warnings]
    return found
