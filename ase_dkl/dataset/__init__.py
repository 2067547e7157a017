"""ASE databases and files → cells, energies and stresses of one crystal, or a list of what is wrong with them."""

from ase_dkl.dataset.dataset import Dataset
from ase_dkl.dataset.shipped import (
    dmof,
    ethylene,
    mgo_slab,
    mil53,
    mos2,
    si5,
    silicon,
    silicon_ions,
    srtio3,
    srtio3_direct,
)
from ase_dkl.dataset.sources import BadDataset

__all__ = [
    "BadDataset",
    "Dataset",
    "dmof",
    "ethylene",
    "mgo_slab",
    "mil53",
    "mos2",
    "si5",
    "silicon",
    "silicon_ions",
    "srtio3",
    "srtio3_direct",
]
