"""Addresses of database servers: looked at before a driver sees them, and shown without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile

SERVERS = ("postgresql", "postgres", "mysql", "mariadb")
"""Schemes of the servers that `ase.db.connect` knows."""

_SHOWN = ("host", "hostaddr", "port", "dbname", "service", "sslmode")
"""Parameters of an address that are nobody's secret."""
_ENCODED = "%(?!00)[0-9A-Fa-f]{2}"
_HOST = rf"(?:\[[^\]@/?#\s]*\]|(?:[\w.-]|{_ENCODED})*)(?::\d*)?"
_VALUE = rf"(?:[^@%&=#\s]|{_ENCODED})*"
_ADDRESS = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?:[^@/?#%\s]|{_ENCODED})*@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/(?:[^@/?#%\s]|{_ENCODED})*)?)"
    rf"(?:\?(?P<query>\w+={_VALUE}(?:&\w+={_VALUE})*))?"
)
# From here on, anything may be a part of a secret.
_DUBIOUS = re.compile(
    rf"(?P<server>(?:{'|'.join(SERVERS)}):)|(?P<scheme>\b[a-z][a-z0-9+.-]*:/+)(?=.*@)|"
    r"(?P<key>\b(?:ssl)?pass(?:word|wd)?\s*=)|(?P<user>(?<![^\s/])[^\s/:@]+:[^/]*@[\w.-]+(?::\d+)?/)",
    re.IGNORECASE | re.DOTALL,
)


def display_name(source: str) -> str:
    """A file's name or a server's address as it may be shown and kept: without user, password and what may be either.

    Args:
        source: as it was given, right or wrong: a password in an address that cannot be read is not shown either.
    """
    if found := _ADDRESS.fullmatch(source):
        pairs = found["query"].split("&") if found["query"] else []
        shown = list(takewhile(lambda pair: pair.partition("=")[0] in _SHOWN, pairs))
        query = "&".join([*shown, *["…"] * (shown != pairs)])
        return f"{found['scheme']}://{found['place']}{'?' * bool(query)}{query}"
    if found := _DUBIOUS.search(source):
        begin = (found["server"] or found["scheme"] or "").rstrip(":/")
        return source[: found.start()] + (f"{begin}://…" if begin else f"{found['key'] or ''}…")
    return source


def without_secrets(text: str, sources: Iterable[str]) -> str:
    """A text that may tell some sources, with these as they may be shown."""
    shown = {source: display_name(source) for source in sources}
    for source in sorted(shown, key=len, reverse=True):
        if shown[source] != source:
            text = text.replace(source, shown[source]).replace(repr(source)[1:-1], shown[source])
    return text


def is_server(source: str) -> bool:
    """Whether a source is an address rather than a file."""
    return "://" in source


def check_server(address: str) -> None:
    """Refuse an address that a driver would take to mean something else, and then tell parts of a password.

    Raises:
        ValueError: in words.
    """
    scheme = address.partition("://")[0]
    if scheme not in SERVERS:
        raise ValueError(
            f"{display_name(address)} is no address of a database server. Write postgresql://host/name, or mysql:// or "
            "mariadb://."
        )
    problem = (
        "In a user, password or parameter, / is written as %2F, @ as %40, : as %3A, ? as %3F, # as %23, & as %26, = "
        "as %3D, a space as %20 and % itself as %25."
    )
    known = _ADDRESS.fullmatch(address) is not None
    if known and scheme.startswith("postgres"):
        with suppress(ImportError):
            from psycopg2 import ProgrammingError
            from psycopg2.extensions import parse_dsn

            try:
                parse_dsn(address)
            except ProgrammingError:  # which quotes what it does not understand
                known, problem = False, "It has a parameter that PostgreSQL does not know."
    if not known:
        raise ValueError(
            f"{display_name(address)} cannot be read as the address of a server. {problem} A password need not be in "
            "it: PGPASSWORD, ~/.pgpass or a service (postgresql:///?service=NAME) tell it to PostgreSQL."
        )
