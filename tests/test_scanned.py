import csv
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa, J, m

from ase_dkl import Dataset, Surrogate, TrainConfig, database_fields, fit
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.grid import Grid, scan_grid
from ase_dkl.mechanics.scan import BadScan, Scan, scan_along


@pytest.fixture(scope="module")
def scan(surrogate: Surrogate) -> Scan:
    return scan_along(surrogate, "volume", [-0.1, 0.0, 0.1, 0.9])


@pytest.fixture(scope="module")
def grid(surrogate: Surrogate) -> Grid:
    return scan_grid(surrogate, ("xx", "xy"), (np.linspace(-0.05, 0.05, 13), np.linspace(-0.1, 0.1, 11)))


def slabs(n: int, vacuum: float) -> list[Atoms]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(n):
        atoms = fcc111("Cu", (1, 1, 3), a=3.6, vacuum=6.0)
        strain = np.zeros(6)
        strain[[0, 1, 5]] = rng.uniform(-0.05, 0.05, 3)
        atoms.set_cell(strained(atoms.cell.array, strain), scale_atoms=True)
        atoms.calc = EMT()
        energy = atoms.get_potential_energy()
        atoms.cell[2] *= vacuum
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        made.append(atoms)
    return made


def sheet_surrogate(folder: Path, vacuum: float) -> Surrogate:
    ase.io.write(folder / "slabs.traj", slabs(12, vacuum))
    return fit(Dataset.read(folder / "slabs.traj"), TrainConfig(networks=1, steps=20), progress=False)


def test_covariance_has_the_uncertainties_on_its_diagonal(scan: Scan) -> None:
    covariance = scan.covariance()
    assert covariance.shape == (4, 4)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), scan.energy_std, rtol=1e-5)
    with_stress = scan.covariance(stress=True)
    assert with_stress.shape == (28, 28)
    np.testing.assert_allclose(with_stress[:4, :4], covariance, atol=1e-12)
    assert scan.stress_std is not None
    found = np.sqrt(np.maximum(np.diag(with_stress)[4:], 0)).reshape(4, 6)
    np.testing.assert_allclose(found[:, :3], scan.stress_std[:, :3], rtol=1e-5)


def test_differences_have_the_variance_of_differences(grid: Grid) -> None:
    covariance = grid.covariance()
    difference, std = grid.relative()
    assert difference.min() == 0
    lowest = grid.energy.argmin()
    variance = np.diag(covariance) + covariance[lowest, lowest] - 2 * covariance[lowest]
    assert variance.size > 128  # found in more than one go
    np.testing.assert_allclose(std.ravel() ** 2, variance, atol=1e-12)
    assert std.flat[lowest] == 0
    # Neighbours err together.
    x, y = np.unravel_index(lowest, grid.shape)
    assert std[x + 1, y] < 0.5 * grid.energy_std[x + 1, y]


def test_differences_from_any_point(grid: Grid) -> None:
    difference, std = grid.relative((0, 3))
    np.testing.assert_array_equal(difference, grid.energy - grid.energy[0, 3])
    assert std[0, 3] == 0
    # The same two points have one difference, whichever of them is zero.
    assert std[5, 5] == pytest.approx(grid.relative((5, 5))[1][0, 3], rel=1e-4)


def test_csv_is_the_table(scan: Scan, tmp_path: Path) -> None:
    scan.to_csv(tmp_path / "scan.csv")
    with (tmp_path / "scan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == scan.table().keys()
    assert [float(row["energy_eV"]) for row in rows] == scan.energy.tolist()
    assert scan.stress is not None
    assert float(rows[1]["stress_zz_GPa"]) == scan.stress[1, 2] / GPa
    assert [row["outside_domain"] for row in rows] == ["False", "False", "False", "True"]
    assert [path.name for path in tmp_path.iterdir()] == ["scan.csv"]


def test_extxyz_keeps_everything(scan: Scan, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "scan.xyz", scan.to_atoms())
    frames = ase.io.read(tmp_path / "scan.xyz", ":")
    assert len(frames) == 4
    assert scan.stress is not None
    assert scan.stress_std is not None
    for i, atoms in enumerate(frames):
        assert isinstance(atoms, Atoms)
        np.testing.assert_allclose(atoms.cell.array, scan.cells[i], atol=1e-7)
        assert atoms.get_potential_energy() == pytest.approx(scan.energy[i], abs=1e-7)
        np.testing.assert_allclose(atoms.get_stress(), scan.stress[i], atol=1e-8)
        assert atoms.info["energy_uncertainty"] == pytest.approx(scan.energy_std[i], rel=1e-5)
        np.testing.assert_allclose(atoms.info["stress_uncertainty"], scan.stress_std[i], atol=1e-8)
        assert atoms.info["outside_domain"] == scan.outside[i]


def test_databases_keep_everything(scan: Scan, tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "scan.db") as database:
        for atoms in scan.to_atoms():
            database.write(atoms, **database_fields(atoms.info))
    rows = list(database.select())
    assert [row.energy for row in rows] == scan.energy.tolist()
    assert [row.energy_uncertainty for row in rows] == scan.energy_std.tolist()
    assert scan.stress_std is not None
    np.testing.assert_array_equal(rows[0].data["stress_uncertainty"], scan.stress_std[0])


def test_structures_are_the_crystal(surrogate: Surrogate, grid: Grid) -> None:
    frames = grid.to_atoms()
    assert len(frames) == 13 * 11
    prediction = surrogate.predict(frames[17], stress=False)
    assert prediction.energy[0] == pytest.approx(grid.energy.flat[17], abs=1e-9)
    assert "stress" not in frames[17].calc.results


def test_many_lattices_are_no_loop(surrogate: Surrogate) -> None:
    offsets = np.linspace(-0.05, 0.05, 100)
    assert scan_grid(surrogate, ("xx", "yy"), (offsets, offsets)).energy_std.shape == (100, 100)


class TestSheets:
    def test_stress_is_also_a_force_per_length(self, tmp_path: Path) -> None:
        surrogate = sheet_surrogate(tmp_path, vacuum=1.0)
        offsets = [-0.02, 0.0, 0.02]
        table = scan_along(surrogate, "xx", offsets).table()
        thicker = surrogate.crystal.cell * [[1], [1], [1.5]]
        scan = scan_along(surrogate, "xx", offsets, start=thicker)
        # The stress is of the cell, vacuum and all; the force per length is the slab's.
        np.testing.assert_allclose(scan.table()["stress_xx_GPa"], table["stress_xx_GPa"] / 1.5, rtol=1e-9)
        np.testing.assert_allclose(scan.table()["stress_xx_N_per_m"], table["stress_xx_N_per_m"], rtol=1e-9)
        step = 1e-4
        energy = scan_along(surrogate, "xx", [-step, step], stress=False).energy
        area = np.linalg.norm(np.cross(*surrogate.crystal.cell[:2]))
        slope = (energy[1] - energy[0]) / (2 * step) / area / (J / m**2)
        assert table["stress_xx_N_per_m"][1] == pytest.approx(slope, rel=1e-4)

    def test_without_vacuum_vector_there_are_energies(self, tmp_path: Path) -> None:
        surrogate = sheet_surrogate(tmp_path, vacuum=0.0)
        scan = scan_along(surrogate, "area", [-0.02, 0.0, 0.02], stress=False)
        assert "area_A2" in scan.table()
        start = surrogate.crystal.cell + np.diag([0.0, 0.0, 9.0])
        thick = scan_along(surrogate, "area", [-0.02, 0.0, 0.02], start=start, stress=False)
        np.testing.assert_allclose(thick.energy, scan.energy)
        assert scan.to_atoms()[0].pbc.tolist() == [True, True, False]
        with pytest.raises(BadScan, match="The vacuum vector is zero"):
            scan_along(surrogate, "area", [0.0])
        with pytest.raises(BadScan, match="The vacuum vector is zero"):
            scan.covariance(stress=True)
