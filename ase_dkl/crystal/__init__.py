"""What stands still: the reference crystal, its symmetry, and how structures are mapped onto it."""

from ase_dkl.crystal.crystal import BadReference, Crystal, DisplacedIons, Mapped, NotThisCrystal

__all__ = ["BadReference", "Crystal", "DisplacedIons", "Mapped", "NotThisCrystal"]
