"""Output that any terminal, pipe or log can take: what its encoding lacks is written in ASCII."""

import codecs
import sys
import unicodedata
from io import TextIOWrapper

_ERRORS = "ase_dkl.ascii"
_ASCII = {
    "±": "+/-",
    "−": "-",
    "–": "-",
    "—": "-",
    "′": "'",
    "°": " deg",
    "×": "x",
    "·": "*",
    "∂": "d",
    "√": "sqrt",
    "∞": "inf",
    "∫": "integral",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "→": "->",
    "←": "<-",
    "‖": "||",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "•": "*",
    "æ": "ae",
    "ø": "o",
    "ß": "ss",
    "ł": "l",
}


def write_in_any_encoding() -> None:
    """Let stdout and stderr write every text, as near to it as their encoding allows."""
    codecs.register_error(_ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def in_ascii(text: str) -> str:
    """A text in ASCII: "V₀ = 61.46 ± 0.01 Å³" is "V0 = 61.46 +/- 0.01 A3"."""
    return "".join(map(_letter, text))


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_ascii(error.object[error.start : error.end]), error.end


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if letter in _ASCII:
        return _ASCII[letter]
    plain = unicodedata.normalize("NFKD", letter)
    if plain != letter:
        return in_ascii("".join(part for part in plain if not unicodedata.combining(part)))
    name = unicodedata.name(letter, "").lower()
    if name.startswith("greek"):
        word = name.split(" letter ")[-1].replace("final ", "")
        return word if letter.islower() else word.capitalize()
    return "-" if name.startswith("box drawings") else "#" if "block" in name else "?"
