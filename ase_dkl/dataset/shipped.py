"""The databases that come with the package, described in the README beside them."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data"


def srtio3() -> Path:
    """408 DFT calculations of strained SrTiO₃."""
    return FOLDER / "srtio3_pbe.db"


def srtio3_direct() -> Path:
    """25 of SrTiO₃ from which its elastic constants follow without a model: small strains about its equilibrium."""
    return FOLDER / "srtio3_direct_pbe.db"


def silicon() -> Path:
    """Strained silicon, every lattice once with its ions clamped and once relaxed: `ions=clamped`, `ions=relaxed`."""
    return FOLDER / "silicon_pbe.db"


def mos2() -> Path:
    """A MoS₂ monolayer strained in its plane."""
    return FOLDER / "mos2_pbe.db"


def mgo_slab() -> Path:
    """Two layers of MgO(001) strained in their plane."""
    return FOLDER / "mgo_slab_pbe.db"


def silicon_ions() -> Path:
    """Silicon strained by up to 5 % with one sublattice displaced by up to 0.2 Å: energies, forces and stresses."""
    return FOLDER / "silicon_ions_pbe.db"


def ethylene() -> Path:
    """C₂H₄ displaced as at 1000 K: energies and forces."""
    return FOLDER / "ethylene_pbe.db"


def mil53() -> Path:
    """MIL-53(Al), a framework of 76 atoms, closed and opened again, and rattled, labelled with CHGNet."""
    return FOLDER / "mil53_chgnet.db"


def dmof() -> Path:
    """Zn₂(bpdc)₂(dabco), a framework of 74 atoms, in the same way."""
    return FOLDER / "dmof_chgnet.db"


def si5() -> Path:
    """Si₅, a trigonal bipyramid, displaced as at 800 K: energies and forces."""
    return FOLDER / "si5_pbe.db"
