"""What is refused is told on the page, in the place of what would stand there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from ase_dkl.errors import Refused
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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            found = compute()
        except Refused as refusal:
            section.missing.append(str(refusal))
    for each in caught:
        if not issubclass(each.category, UserWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        elif str(each.message) not in section.warnings:
            section.warnings.append(str(each.message))
    return found
