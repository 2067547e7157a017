import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from ase_dkl import DKLCalculator
calculator = DKLCalculator(sys.argv[1])
atoms = calculator.surrogate.crystal.atoms()
atoms.calc = calculator
atoms.get_stress()
print(*sorted({"torch", "gpytorch", "pymatgen", "matplotlib", "pandas"} & sys.modules.keys()))
"""


def test_a_prediction_needs_no_torch(model_file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, model_file], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_gpytorch_is_for_the_bare_method_alone() -> None:
    code = "import sys, ase_dkl.training.fit; sys.exit(bool({'gpytorch', 'linear_operator'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)
