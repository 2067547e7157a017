"""Laying structures on the reference crystal, and saying why one will not lie there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms

from ase_dkl.arrays import Floats
from ase_dkl.crystal.motif import LOOSEST, Motif
from ase_dkl.crystal.relabelling import SURE_DISTORTION, distortion, distortion_at, isometries, near_bases
from ase_dkl.crystal.unusable import unusable
from ase_dkl.errors import Refused

CLAMPED_TOLERANCE = 2e-3
"""How far from its clamped site an ion may be, Å: room for files with four decimals of a fractional coordinate, and
worth at most some 2 meV at the forces of 1 eV/Å that strained crystals with clamped ions have."""

_FURTHEST = 1.0
"""How much a lattice may differ where a structure has the reference's basis and sites, which is proof enough."""

_DISTORTIONS = (0.03, 0.15, 0.45)
"""How much a lattice may differ from the reference (`near_bases`), the search widening while nothing is found. Lengths
within 15 % and angles within 15°, the corners of that box included, stay below the last."""


class NotThisCrystal(Refused, ValueError):
    """A structure that is not the reference crystal under strain; the message says why."""


class DisplacedIons(NotThisCrystal):
    """The reference crystal under strain, but for ions that are off their sites.

    Attributes:
        displacement: how far the one that is furthest from its site is from there, Å.
    """

    def __init__(self, message: str, displacement: float) -> None:
        super().__init__(message)
        self.displacement = displacement

    def __reduce__(self) -> tuple[type[DisplacedIons], tuple[str, float]]:
        return type(self), (str(self), self.displacement)


@dataclass(frozen=True, eq=False)
class Pattern:
    """What structures are laid on.

    Attributes:
        motif: of the reference crystal.
        description: the reference crystal in words.
        ions: "clamped" or "relaxed".
        tolerance: how far from its site an ion may be, Å.
    """

    motif: Motif
    description: str
    ions: str
    tolerance: float

    def lay(self, atoms: Atoms) -> tuple[Floats, float]:
        """Find the basis of a structure's lattice in which it is the reference crystal under the least strain.

        Returns:
            The rational matrix B, shape (d, d), that makes B @ lattice the counterparts of the reference's periodic
            lattice vectors, lattice the structure's own; and how far the ion that is furthest from its site is from
            there, Å.

        Raises:
            NotThisCrystal: there is none.
            DisplacedIons: ions are off their sites.
        """
        self._refuse_other_kind(atoms)
        motif = Motif.from_atoms(atoms)
        laid = self._lay(motif)
        if laid is None:
            moments = ", or its magnetic moments have another order" if self.motif.moments.any() else ""
            raise NotThisCrystal(
                f"This model is of {self.description}. The structure has the same composition, but no basis of its "
                "lattice and no order of its atoms make it a strained copy: it is another phase, or is strained too "
                f"far{moments}."
            )
        basis, distances = laid
        worst = int(np.argmax(distances))
        if distances[worst] > self.tolerance:
            remedy = (
                "from its clamped site. This model knows lattices, no positions: no phonons and no dynamics. Give "
                "every ion the reference's fractional coordinates (set_cell(..., scale_atoms=True) keeps them)."
                if self.ions == "clamped"
                else f"from its site; this model of relaxed ions has room for {self.tolerance:.2g} Å: relax the ions."
            )
            words = f"Atom {worst} ({atoms.symbols[worst]}) is {distances[worst]:.2g} Å {remedy}"
            raise DisplacedIons(words, float(distances[worst]))
        return basis, float(distances[worst])

    def equivalents(self, reach: float) -> Floats:
        """Rational matrices, of W and −W only one, that lay the motif on itself and change its lattice no further.

        Args:
            reach: largest √Σ(ln e)², e the eigenvalues of G⁻¹ W G Wᵀ and G the motif's metric.

        Returns:
            Shape (k, d, d), those that change the lattice least first.
        """
        target, centring = self._primitive
        tolerance = CLAMPED_TOLERANCE / 2
        bases, _ = near_bases(target.metric, target.metric, distortion_at(reach, target.dimension))
        ways = np.array(list(isometries(target, target, tolerance)))
        bounds = target.misfits(target, bases, ways)
        kept = [
            basis
            for basis, bound in zip(bases, bounds, strict=True)
            if any(
                next(target.placements(target.in_basis(basis).transformed(way), tolerance), None) is not None
                for way in ways[bound <= tolerance]
            )
        ]
        return np.asarray(np.linalg.inv(centring) @ np.array(kept) @ centring)

    @cached_property
    def _primitive(self) -> tuple[Motif, Floats]:
        return self.motif.primitive(CLAMPED_TOLERANCE / 2)

    def _lay(self, motif: Motif) -> tuple[Floats, Floats] | None:
        """The matrix of `lay`, and the distance of each atom from its site, Å."""
        target, centring = self._primitive
        loosest = LOOSEST * target.closest
        strain = float(distortion(motif.metric, self.motif.metric)) if len(motif) == len(self.motif) else np.inf
        own = self._as_written(motif) if strain <= _FURTHEST else None
        if own is not None:
            if own[1].max() <= self._room and strain <= SURE_DISTORTION:
                return own
            loosest = min(loosest, own[1].max() + CLAMPED_TOLERANCE)
        reduced = self._reduced(motif)
        if reduced is None:
            return own
        primitive, reduction = reduced
        ways = np.array(list(isometries(target, primitive, loosest)))
        laid, least = None, np.inf
        for limit in _DISTORTIONS:
            bases, distortions = near_bases(primitive.metric, target.metric, limit)
            changes = np.linalg.inv(centring) @ bases @ reduction
            # Symmetry images have equal distortions: of these comes first what is most like the structure's own basis.
            likeness = np.abs(np.trace(changes, axis1=1, axis2=2))
            bounds = target.misfits(primitive, bases, ways)
            for i in np.lexsort([-likeness.round(6), distortions.round(9)]):
                for way in ways[bounds[i] <= min(loosest, least)]:
                    relabelled = primitive.in_basis(bases[i]).transformed(way)
                    for placement in target.placements(relabelled, loosest):
                        if placement.distances.max() > least - CLAMPED_TOLERANCE:
                            continue
                        least = placement.distances.max()
                        everything = motif.in_basis(bases[i] @ reduction).transformed(way)
                        laid = changes[i], target.distances(target.displacements(everything.shifted(placement.shift)))
                        if least <= CLAMPED_TOLERANCE:
                            return laid
            if least <= self._room:
                return laid
            if own is not None and 2 * own[1].max() <= LOOSEST * target.closest and strain <= limit:
                break
        return own if laid is None else laid

    @property
    def _room(self) -> float:
        """How far from its site an ion may be in a basis beyond which no better one is looked for, Å."""
        return self.tolerance if self.ions == "clamped" else self.tolerance / 2

    def _as_written(self, motif: Motif) -> tuple[Floats, Floats] | None:
        """What `_lay` finds in a structure's own basis: by the order of its atoms, or else in any order."""
        own = self.motif.in_order(motif)
        if own is None or own.distances.max() > self._room:
            loosest = LOOSEST * self.motif.closest
            others = list(self.motif.placements(motif, loosest if own is None else min(loosest, own.distances.max())))
            own = min(others, key=lambda placement: placement.distances.max(), default=own)
        return None if own is None else (np.eye(motif.dimension), own.distances)

    def _reduced(self, motif: Motif) -> tuple[Motif, Floats] | None:
        """Reduce to as many sites as the primitive reference has, at the tightest tolerance that does it."""
        target = self._primitive[0]
        if len(motif) == len(target):
            return motif.reduced()
        for tolerance in (CLAMPED_TOLERANCE, 0.02, 0.05, 0.1, 0.2, LOOSEST * target.closest):
            primitive, reduction = motif.primitive(tolerance)
            if len(primitive) == len(target):
                return primitive, reduction
        return None

    def _refuse_other_kind(self, atoms: Atoms) -> None:
        """Refuse what no lattice can make the reference crystal."""
        own = f"This model is of {self.description}"
        if problem := unusable(atoms):
            raise NotThisCrystal(f"{own}; the structure {problem}")
        if atoms.pbc.sum() != self.motif.dimension:
            raise NotThisCrystal(
                f"{own}; the structure is periodic along {atoms.pbc.sum()} of its axes (pbc={atoms.pbc.tolist()}), "
                f"not {self.motif.dimension}. Set atoms.pbc, or --pbc of a command, if that is an oversight."
            )
        counts, wanted = (np.bincount(numbers, minlength=120) for numbers in (atoms.numbers, self.motif.numbers))
        formula = atoms.symbols.formula.convert("metal")
        if (counts * len(self.motif) != wanted * len(atoms)).any():
            raise NotThisCrystal(f"{own}; the structure is {formula}, of another composition.")
        if len(atoms) % len(self._primitive[0]):
            raise NotThisCrystal(
                f"{own}; the structure has {len(atoms)} atoms ({formula}), which is no whole number of primitive cells "
                f"of {len(self._primitive[0])} atoms."
            )
        magnetic = bool(atoms.get_initial_magnetic_moments().any())
        if magnetic != bool(self.motif.moments.any()):
            raise NotThisCrystal(
                f"{own} {'without' if magnetic else 'with'} magnetic moments; the structure has "
                f"{'some' if magnetic else 'none'}. Use atoms.set_initial_magnetic_moments to give it the reference's."
            )
