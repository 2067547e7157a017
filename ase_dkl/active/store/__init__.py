"""Keeping labels: requests and results as rows of an ASE database that campaigns may share."""

from ase_dkl.active.store.adapter import BadStore, StoreUnreachable
from ase_dkl.active.store.rows import Label, Request
from ase_dkl.active.store.store import STALE_S, Store

__all__ = ["STALE_S", "BadStore", "Label", "Request", "Store", "StoreUnreachable"]
