import pickle
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import make_supercell
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.spatial.transform import Rotation

from ase_dkl import BadModelFile, Dataset, NotThisCrystal, Prediction, Surrogate, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.model.model_file import pack, unpack
from ase_dkl.model.posterior import spread_factor, spread_variance

FIELDS = tuple(f"{name}{ending}" for name in ("energy", "stress") for ending in ("", "_uncertainty", "_noise"))


def assert_same(first: Prediction, second: Prediction) -> None:
    for name in FIELDS:
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def stress_of(prediction: Prediction) -> Floats:
    assert prediction.stress is not None
    return prediction.stress


@pytest.fixture
def cells(srtio3_dataset: Dataset) -> np.ndarray:
    return srtio3_dataset.cells[30:40]


def test_shapes_and_signs(surrogate: Surrogate, cells: np.ndarray) -> None:
    prediction = surrogate.predict_cells(cells)
    assert prediction.energy.shape == prediction.energy_uncertainty.shape == prediction.energy_noise.shape == (10,)
    for values in (prediction.stress, prediction.stress_uncertainty, prediction.stress_noise):
        assert values is not None
        assert values.shape == (10, 6)
    for name in FIELDS:
        if name not in ("energy", "stress"):
            assert (getattr(prediction, name) > 0).all(), name


def test_energies_alone_are_the_same(surrogate: Surrogate, cells: np.ndarray) -> None:
    alone, both = surrogate.predict_cells(cells, stress=False), surrogate.predict_cells(cells)
    assert alone.stress is None
    assert alone.energy == pytest.approx(both.energy, abs=1e-10)
    assert alone.energy_uncertainty == pytest.approx(both.energy_uncertainty, rel=1e-6)


def test_a_batch_is_its_members(surrogate: Surrogate, cells: np.ndarray) -> None:
    batch = surrogate.predict_cells(cells)
    for i in range(len(cells)):
        one = surrogate.predict_cells(cells[i : i + 1])
        assert one.energy[0] == pytest.approx(batch.energy[i], abs=1e-9)
        assert stress_of(one)[0] == pytest.approx(stress_of(batch)[i], abs=1e-10)
        assert one.stress_uncertainty is not None
        assert batch.stress_uncertainty is not None
        assert one.stress_uncertainty[0] == pytest.approx(batch.stress_uncertainty[i], rel=1e-5)


def test_many_cells_are_predicted_in_parts(surrogate: Surrogate, cells: np.ndarray) -> None:
    many = np.tile(cells, (300, 1, 1))
    assert surrogate.predict_cells(many).energy == pytest.approx(np.tile(surrogate.predict_cells(cells).energy, 300))


def test_stress_is_the_derivative_of_the_energy(surrogate: Surrogate, cells: np.ndarray) -> None:
    prediction = surrogate.predict_cells(cells)
    step = 1e-4
    for j in range(6):
        strain = step * np.eye(6)[j]
        ahead, behind = (surrogate.predict_cells(strained(cells, s * strain), stress=False) for s in (1, -1))
        expected = (ahead.energy - behind.energy) / (2 * step) / np.linalg.det(cells)
        assert stress_of(prediction)[:, j] == pytest.approx(expected, abs=1e-6)


def test_images_have_one_energy(surrogate: Surrogate, cells: np.ndarray) -> None:
    energies = [
        surrogate.predict_cells(image @ cells, stress=False) for image in surrogate.crystal.images.astype(float)
    ]
    for image in energies[1:]:
        assert image.energy == pytest.approx(energies[0].energy, abs=1e-9)
        assert image.energy_uncertainty == pytest.approx(energies[0].energy_uncertainty, rel=1e-5)


def test_rotation_turns_the_stress(surrogate: Surrogate, cells: np.ndarray) -> None:
    rotation = Rotation.from_euler("xyz", [0.3, -0.7, 1.1]).as_matrix()
    upright = surrogate.predict(surrogate.crystal.atoms(cells[0]))
    turned = surrogate.predict(surrogate.crystal.atoms(cells[0] @ rotation.T))
    assert turned.energy == pytest.approx(upright.energy, abs=1e-9)
    expected = rotation @ voigt_6_to_full_3x3_stress(stress_of(upright)[0]) @ rotation.T
    assert voigt_6_to_full_3x3_stress(stress_of(turned)[0]) == pytest.approx(expected, abs=1e-9)


def test_a_supercell_has_the_energy_and_uncertainty_of_its_cells(surrogate: Surrogate, cells: np.ndarray) -> None:
    atoms = surrogate.crystal.atoms(cells[0])
    supercell = make_supercell(atoms, [[2, 0, 0], [0, 1, 0], [0, 0, 3]])
    prediction = surrogate.predict([atoms, supercell])
    assert prediction.energy[1] == pytest.approx(6 * prediction.energy[0])
    assert prediction.energy_uncertainty[1] == pytest.approx(6 * prediction.energy_uncertainty[0], rel=1e-5)
    assert prediction.energy_noise[1] == pytest.approx(6 * prediction.energy_noise[0])
    assert stress_of(prediction)[1] == pytest.approx(stress_of(prediction)[0], abs=1e-9)


def test_another_crystal_is_refused(surrogate: Surrogate) -> None:
    atoms = surrogate.crystal.atoms()
    atoms.symbols[0] = "Ba"
    with pytest.raises(NotThisCrystal, match="Ba"):
        surrogate.predict(atoms)


def test_no_structures_no_predictions(surrogate: Surrogate) -> None:
    prediction = surrogate.predict([])
    assert prediction.energy.shape == (0,)
    assert prediction.stress is not None
    assert prediction.stress.shape == (0, 6)


def test_joint_posterior_has_the_pointwise_marginals(surrogate: Surrogate, cells: np.ndarray) -> None:
    prediction, joint = surrogate.predict_cells(cells), surrogate.posterior(cells)
    std = np.sqrt(np.diag(joint.covariance))
    volume = np.linalg.det(cells)[:, None]
    assert joint.mean[:10] == pytest.approx(prediction.energy, abs=1e-9)
    assert std[:10] == pytest.approx(prediction.energy_uncertainty, rel=1e-5)
    assert joint.mean[10:].reshape(10, 6) / volume == pytest.approx(prediction.stress, abs=1e-10)
    assert std[10:].reshape(10, 6) / volume == pytest.approx(prediction.stress_uncertainty, rel=1e-5)
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-12
    energies = surrogate.posterior(cells, derivatives=False)
    assert energies.covariance == pytest.approx(joint.covariance[:10, :10], abs=1e-12)


def test_joint_posterior_knows_that_the_stress_is_a_slope(surrogate: Surrogate, cells: np.ndarray) -> None:
    """The difference of two near energies has the uncertainty of the derivative between them."""
    step = 1e-3
    strain = step * np.eye(6)[0]
    middle = cells[:1]
    near = np.concatenate([strained(middle, strain), strained(middle, -strain), middle])
    joint = surrogate.posterior(near)
    difference = np.zeros(21)
    difference[:2] = 1 / (2 * step), -1 / (2 * step)
    slope = np.zeros(21)
    slope[3 + 12] = 1
    assert difference @ joint.mean == pytest.approx(slope @ joint.mean, abs=1e-3)
    std = [np.sqrt((row @ joint.covariance @ row).clip(min=0)) for row in (difference, slope, difference - slope)]
    assert std[0] == pytest.approx(std[1], rel=0.01)
    assert std[2] < 0.05 * std[1]


def test_the_fewer_networks_the_more_their_disagreement_counts() -> None:
    """Student's t: 1.837² of two, 1.197² of four, by tables of its central 68.27 % interval; of infinitely many, 1."""
    assert spread_factor(2) == pytest.approx(1.5 * 1.837**2, rel=1e-3)
    assert spread_factor(4) == pytest.approx(1.25 * 1.197**2, rel=1e-3) == pytest.approx(1.79, abs=5e-3)
    factors = [spread_factor(networks) for networks in (2, 3, 4, 8, 64, 10**6)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1, abs=1e-5)


def test_spread_of_networks() -> None:
    means = np.array([[1.0, 5.0], [3.0, 5.0]])
    assert spread_variance(means) == pytest.approx(np.array([2.0, 0.0]) * spread_factor(2))
    assert spread_variance(means[:1]) == pytest.approx(0)


def test_saved_and_loaded_predicts_the_same_bits(
    surrogate: Surrogate, model_file: Path, srtio3_dataset: Dataset
) -> None:
    loaded = Surrogate.load(model_file)
    for cells in (srtio3_dataset.cells, srtio3_dataset.cells[:1]):
        assert_same(loaded.predict_cells(cells), surrogate.predict_cells(cells))
    assert loaded.digest == surrogate.digest
    assert loaded.report == surrogate.report
    assert loaded.config == surrogate.config
    assert loaded.stress_offset == surrogate.stress_offset
    joint = loaded.posterior(srtio3_dataset.cells[:3]), surrogate.posterior(srtio3_dataset.cells[:3])
    assert np.array_equal(joint[0].covariance, joint[1].covariance)


def test_pickled_predicts_the_same_bits(surrogate: Surrogate, cells: np.ndarray) -> None:
    assert_same(pickle.loads(pickle.dumps(surrogate)).predict_cells(cells), surrogate.predict_cells(cells))


def test_saving_is_all_or_nothing(surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.dkl"
    surrogate.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        surrogate.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_whose_content_was_changed_is_refused(surrogate: Surrogate) -> None:
    content = surrogate.to_bytes()
    changed = content.replace(b'\\"depth\\": 6', b'\\"depth\\": 7')
    assert changed != content
    with pytest.raises(BadModelFile, match="not what its checksum says"):
        Surrogate.from_bytes(changed)
    header, tensors = unpack(content, "m.dkl")
    header["config"]["depth"] = 7
    with pytest.raises(BadModelFile, match="does not fit together"):
        Surrogate.from_bytes(pack(header, tensors))


def test_who_wrote_a_file_and_when_is_no_part_of_the_model(
    surrogate: Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Surrogate.from_bytes(surrogate.to_bytes())
    monkeypatch.setattr("ase_dkl.model.model_file._own_version", lambda: "9.9")
    second = Surrogate.from_bytes(surrogate.to_bytes())
    assert surrogate.written is None
    assert first.written != second.written
    assert "ase_dkl 9.9 on 2" in str(second.written)
    assert first.digest == second.digest == surrogate.digest


def test_a_file_tells_no_folders_of_the_machine_that_wrote_it(surrogate: Surrogate) -> None:
    settings = {"pseudopotentials": "{'Ti': '/home/me/pp/Ti.UPF'}", "directory": "C:\\Users\\me\\run 1"}
    dataset = {**surrogate.report.dataset, "source": "/home/me/my data/x.db", "settings": settings}
    report = replace(surrogate.report, dataset=dataset, warnings=("Rows of /home/me/x.db: 3 eV/Å³ and/or.",))
    told = copy(surrogate)
    told.report = report
    found = Surrogate.from_bytes(told.to_bytes()).report
    assert found.dataset["source"] == "x.db"
    assert found.dataset["settings"] == {"pseudopotentials": "{'Ti': 'Ti.UPF'}", "directory": "run 1"}
    assert found.dataset["sha256"] == surrogate.report.dataset["sha256"]
    assert found.warnings == ("Rows of x.db: 3 eV/Å³ and/or.",)


def test_files_from_before_the_choice_of_inducing_points_are_read(surrogate: Surrogate) -> None:
    header, tensors = unpack(surrogate.to_bytes(), "old.dkl")
    del header["config"]["inducing"]
    assert Surrogate.from_bytes(pack(header, tensors)).config == surrogate.config


def test_a_file_from_before_there_were_metrics_is_read(surrogate: Surrogate, cells: np.ndarray) -> None:
    header, tensors = unpack(surrogate.to_bytes(), "old.dkl")
    del tensors["scaling.metric"]
    old = Surrogate.from_bytes(pack(header, tensors))
    assert_same(old.predict_cells(cells), surrogate.predict_cells(cells))
    assert Surrogate.from_bytes(old.to_bytes()).digest == old.digest


def test_a_sextic_mean_is_kept_in_the_file(srtio3_dataset: Dataset, cells: np.ndarray) -> None:
    config = TrainConfig(networks=1, steps=4, mean="sextic")
    surrogate = fit(srtio3_dataset.subset(np.arange(12)), config, progress=False)
    again = Surrogate.from_bytes(surrogate.to_bytes())
    assert_same(again.predict_cells(cells), surrogate.predict_cells(cells))
    assert again.report == surrogate.report
    header, tensors = unpack(surrogate.to_bytes(), "sextic.dkl")
    del tensors["scaling.metric"]
    with pytest.raises(BadModelFile, match="does not fit together"):
        Surrogate.from_bytes(pack(header, tensors))


def test_a_missing_file_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"no\.dkl cannot be read as a model: no such file"):
        Surrogate.load(tmp_path / "no.dkl")


def test_cells_of_another_shape_are_refused(surrogate: Surrogate) -> None:
    with pytest.raises(ValueError, match="shape"):
        surrogate.predict_cells(np.eye(3))


def test_training_lattices_are_in_the_domain_and_far_ones_are_not(
    surrogate: Surrogate, srtio3_dataset: Dataset
) -> None:
    assert not surrogate.extrapolation(srtio3_dataset.cells[:24]).outside.any()
    assert surrogate.extrapolation(1.2 * surrogate.crystal.cell[None]).outside.all()


def test_uncertainty_grows_outside(surrogate: Surrogate) -> None:
    reference = surrogate.crystal.cell
    cells = np.array([reference * scale for scale in (1.0, 1.15, 1.25)])
    inside, edge, outside = surrogate.predict_cells(cells, stress=False).energy_uncertainty
    assert inside < edge < outside


def test_cells_that_are_not_finite_are_refused(surrogate: Surrogate, cells: np.ndarray) -> None:
    cells = cells.copy()
    cells[3, 1, 1] = np.nan
    for ask in (surrogate.predict_cells, surrogate.posterior, surrogate.extrapolation):
        with pytest.raises(ValueError, match="Cell 3 has lattice vectors that are not finite"):
            ask(cells)


def test_the_spread_of_networks_is_part_of_the_joint_posterior_unless_it_shall_not(srtio3_dataset: Dataset) -> None:
    config = TrainConfig(networks=3, steps=10, width=8, depth=1)
    model = fit(srtio3_dataset.subset(np.arange(12)), config, progress=False)
    cells = srtio3_dataset.cells[40:43]
    whole, within = model.posterior(cells), model.posterior(cells, spread=False)
    assert np.array_equal(whole.mean, within.mean)
    _, covariances = model.process.joint(*model._observe(cells, True))
    assert within.covariance == pytest.approx(covariances.mean(axis=0) * model.units.scale**2)
    left = whole.covariance - within.covariance
    assert np.linalg.matrix_rank(left, tol=1e-9 * np.abs(left).max()) == 2
