"""ASE databases and files → cells, energies and stresses of one crystal, or a list of what is wrong with them."""

from ase_dkl.dataset.dataset import Dataset, srtio3
from ase_dkl.dataset.sources import BadDataset

__all__ = ["BadDataset", "Dataset", "srtio3"]
