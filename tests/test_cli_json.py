"""The keys of the commands' JSON, which programs read: none goes, and none is renamed."""

from pathlib import Path

import pytest
from commands import Command

from ase_dkl import srtio3
from ase_dkl.crystal.lattice import VOIGT_NAMES

LATTICE = "lattice_parameters lattice_parameters_std cell pressure_GPa formula space_group ions outside_domain"
MODULI = (
    "bulk_modulus_GPa shear_modulus_GPa young_modulus_GPa poisson_ratio universal_anisotropy bulk_modulus_voigt_GPa "
    "bulk_modulus_reuss_GPa shear_modulus_voigt_GPa shear_modulus_reuss_GPa"
).split()
CONSTANTS = (
    "C_GPa C_GPa_std lagrangian_GPa lagrangian_GPa_std stable_probability stable_probability_std "
    "smallest_eigenvalue_GPa smallest_eigenvalue_GPa_std born_conditions undetermined convention warnings"
).split()
KEYS = {
    "eos": "V0_A3 V0_A3_std E0_eV E0_eV_std ions B0_GPa B0_GPa_std B0_prime B0_prime_std kind residual_meV names "
    "correlation warnings",
    "relax": f"{LATTICE} volume_A3 volume_A3_std energy_eV energy_eV_std warnings",
    "elastic": " ".join([*CONSTANTS, LATTICE, *MODULI, *(f"{name}_std" for name in MODULI)]),
    "evaluate": "n energy_rmse_meV energy_mae_meV energy_max_meV energy_nll coverage_68 coverage_95 "
    "miscalibration_area spearman stress_rmse_GPa stress_coverage_95 n_outside_domain energy_rms_z warnings",
    "scan": "scan data warnings",
    "predict": "file frame formula energy_eV energy_uncertainty_eV outside_domain "
    + " ".join(f"stress_{name}_GPa stress_{name}_uncertainty_GPa" for name in VOIGT_NAMES),
    "info": "formula space_group n_images ions units domain written digest config report calibration warnings",
}
FURTHER = {
    "evaluate": [str(srtio3()), "--select", "set=pool,index<40"],
    "scan": ["--along", "a", "--range", "-0.01", "0.01", "-n", "2", "--data", str(srtio3())],
    "predict": [f"{srtio3()}@set=pool,index<1"],
}


@pytest.mark.parametrize("command", KEYS)
def test_keys_stay(model_file: Path, command: str) -> None:
    printed = Command(command).numbers(model_file, *FURTHER.get(command, []))
    assert set(printed[0] if command == "predict" else printed) == set(KEYS[command].split())
