"""Magnetic states: electrons that found other moments have another energy at the same lattice."""

import numpy as np

from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.mixtures import Findings, counted

JUMP = 0.35
"""Moments change smoothly with strain, by some 10 % between neighbouring rows of a set. States are told apart by a gap
of this part of the largest moment: high and low spin are 0.5 and more apart, a collapsed moment 1."""

MAGNETIC = 0.3
"""μB. Moments below it, of a whole cell or of a site, are none."""

ALONG = 0.5
"""Cosine above which a moment counts as along or against another one."""


def check_moments(columns: Columns, findings: Findings) -> np.ndarray:
    """Look for rows in different magnetic states: by total moments, sizes of the sites' and their order.

    Returns:
        Which rows are in the most frequent state, those that do not tell theirs among them, shape (n,).
    """
    atoms = np.array([len(structure) for structure in columns.structures])
    totals = np.abs(columns.moments) / atoms * np.median(atoms)
    sizes = np.array([np.nan if each is None else _sizes(each).mean() for each in columns.site_moments])
    states = np.stack([_steps(totals), _steps(sizes), _orders(columns)], axis=1)
    different, state = np.unique(states, axis=0, return_inverse=True)
    words = []
    for i, (_, _, order) in enumerate(different.tolist()):
        at = state.ravel() == i
        kinds = [_in_words("total moment", columns.moments[at]), _in_words("mean size of the sites'", sizes[at])]
        kinds += [f"order {order + 1}"] if states[:, 2].any() else []
        words.append(", ".join(filter(None, kinds)))
    return findings.one_kind(
        "magnetic states",
        [words[i] for i in state.ravel()],
        columns,
        "Each has an energy of its own at every lattice, and a model is of one.",
        prefer=("magmom",),
    )


def _sizes(sites: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(sites.reshape(len(sites), -1), axis=1))


def _steps(values: np.ndarray) -> np.ndarray:
    """Number groups of values with jumps between them, smallest first; what is NaN counts to the largest group."""
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    steps = np.zeros(len(values), dtype=int)
    if len(known):
        largest = max(values[order[-1]], MAGNETIC)
        steps[order[1:]] = np.cumsum(np.diff(values[order]) > JUMP * largest)
        steps[np.isnan(values)] = np.bincount(steps[known]).argmax()
    return steps


def _orders(columns: Columns) -> np.ndarray:
    """Number the ways in which sites point up and down, a turn of all left out; 0 is the most frequent one.

    Only structures with the same order of atoms can be compared, and only at sites that have a moment in all of them.
    """
    orders = np.zeros(len(columns.ids), dtype=int)
    told = zip(columns.structures, columns.site_moments, strict=True)
    comparable = ["" if sites is None else f"{sites.ndim} {atoms.numbers.tobytes()!r}" for atoms, sites in told]
    for name, rows in counted(comparable).items():
        magnetic = [i for i in rows if name and _sizes(columns.site_moments[i]).max() > MAGNETIC]
        if not magnetic:
            continue
        sites = np.array([columns.site_moments[i] for i in magnetic])
        sites = sites.reshape(*sites.shape[:2], -1)
        sizes = np.linalg.norm(sites, axis=2)
        first = int((sizes > MAGNETIC).all(axis=0).argmax())
        products = np.einsum("nac,nc->na", sites, sites[:, first])
        clear = (np.abs(products) > ALONG * sizes * sizes[:, [first]]) & (sizes > MAGNETIC)
        signs = np.sign(products[:, clear.all(axis=0)]).astype(int)
        ways = counted([str(each) for each in signs.tolist()])
        for number, at in enumerate(ways.values()):
            orders[np.array(magnetic)[at]] = number
    return orders


def _in_words(what: str, moments: np.ndarray) -> str:
    known = np.abs(moments[np.isfinite(moments)])
    if not len(known):
        return ""
    low, high = f"{known.min():.2f}", f"{known.max():.2f}"
    return f"{what} {low} μB" if low == high else f"{what} {low} to {high} μB"
