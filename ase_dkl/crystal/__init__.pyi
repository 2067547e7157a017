"""The names of this package, imported on their first use, so that its numbers alone are quick to import."""

from .crystal import BadReference as BadReference
from .crystal import Crystal as Crystal
from .crystal import DisplacedIons as DisplacedIons
from .crystal import Mapped as Mapped
from .crystal import NotThisCrystal as NotThisCrystal

__all__: list[str]
