"""What is refused, and what is warned of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Refused(Exception):
    """Something that cannot be done as it is asked; the message says why, and what to do."""


@contextmanager
def warnings_in_words() -> Iterator[list[str]]:
    """Collect warnings that are meant for users.

    Yields:
        A list, which has what they say, each once, when the block ends.
    """
    told: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield told
    finally:
        for each in caught:
            if not issubclass(each.category, UserWarning):
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
            elif str(each.message) not in told:
                told.append(str(each.message))
