import os
import shutil
from pathlib import Path

import ase.db
import ase.io
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_dkl import Surrogate
from ase_dkl.files import check_outputs, written_rows, written_whole


def labelled(name: str | None = None, **info: float) -> Atoms:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    if name:
        atoms.calc.name = name
    atoms.info |= info
    return atoms


def database(path: Path, *rows: Atoms) -> Path:
    with ase.db.connect(path) as connection:
        for atoms in rows:
            connection.write(atoms)
    return path


class TestWrittenWhole:
    def test_takes_the_place_of_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "model.dkl"
        path.write_text("old")
        with written_whole(path) as beside:
            beside.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "model.dkl"
        path.write_text("old")

        def fail_half_way() -> None:
            with written_whole(path) as beside:
                beside.write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail_half_way()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with (
            pytest.raises(FileNotFoundError, match=r"there is no directory .*nowhere"),
            written_whole(tmp_path / "nowhere/m"),
        ):
            pass

    def test_links_and_permissions_stay(self, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        target, link = tmp_path / "store" / "0a1b", tmp_path / "out.csv"
        target.write_text("old")
        target.chmod(0o640)
        link.symlink_to(target)
        with written_whole(link) as beside:
            assert beside.suffix == ".csv"
            beside.write_text("new")
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert target.stat().st_mode & 0o777 == 0o640

    def test_a_name_as_long_as_they_get(self, tmp_path: Path) -> None:
        with written_whole(tmp_path / f"{'x' * 251}.csv") as beside:
            beside.write_text("new")
        assert len(list(tmp_path.iterdir())) == 1


class TestCheckOutputs:
    def test_new_files_are_fine(self, tmp_path: Path) -> None:
        check_outputs(tmp_path / "a.csv", None, tmp_path / "b.png", inputs=["a.db", None, "postgresql://x/y"])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("address", ["{}", "{}@set=pool", "{}@:3"])
    @pytest.mark.parametrize("link", [os.symlink, os.link, shutil.copy])
    def test_what_is_read_is_not_written(self, tmp_path: Path, address: str, link: object) -> None:
        source, output = tmp_path / "a.csv", tmp_path / "b.csv"
        source.write_text("precious")
        assert callable(link)
        link(source, output)
        for options in ({}, {"overwrite": True}, {"append": True}):
            if link is shutil.copy:
                output = source
            with pytest.raises(shutil.SameFileError, match="is read here"):
                check_outputs(output, inputs=[address.format(source)], **options)

    def test_two_outputs_are_two_files(self, tmp_path: Path) -> None:
        (tmp_path / "b.png").symlink_to(tmp_path / "a.csv")
        for other in (tmp_path / "a.csv", tmp_path / "x" / ".." / "a.csv", tmp_path / "b.png"):
            with pytest.raises(shutil.SameFileError, match="are the same file"):
                check_outputs(tmp_path / "a.csv", other, overwrite=True)

    def test_what_exists_stays_unless_told(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("a,b")
        with pytest.raises(FileExistsError, match=r"a\.csv exists already.*--overwrite"):
            check_outputs(path)
        check_outputs(path, overwrite=True)

    def test_a_model_is_written_over_models_alone(self, tmp_path: Path, model_file: Path) -> None:
        for name in ("cells.xyz", "empty", "other.safetensors"):
            (tmp_path / name).write_text("" if name == "empty" else '        {"__metadata__":{"other"')
        model = Path(shutil.copy(model_file, tmp_path / "m.dkl"))
        check_outputs(model, tmp_path / "empty", overwrite=True, model=True)
        for name in ("cells.xyz", "other.safetensors"):
            with pytest.raises(FileExistsError, match="is no model: no model is written over it"):
                check_outputs(tmp_path / name, overwrite=True, model=True)
        with pytest.raises(FileExistsError, match="is a model, which only a model may replace"):
            check_outputs(model, overwrite=True)

    def test_labels_of_others_are_never_replaced(self, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "a.xyz", [bulk("Cu"), labelled()], format="extxyz")
        ase.io.write(tmp_path / "b.traj", labelled("vasp"))
        ase.io.write(tmp_path / "c.json", labelled("vasp"))
        atoms = bulk("Cu")
        atoms.info["REF_energy"] = -1.0
        ase.io.write(tmp_path / "d.xyz", atoms, format="extxyz")
        database(tmp_path / "e.db", labelled("dkl"), labelled())
        with ase.db.connect(tmp_path / "f.db") as connection:
            connection.write(bulk("Cu"), dft_energy=-1.0)
        shutil.copy(tmp_path / "e.db", tmp_path / "g.csv")
        (tmp_path / "h.db").write_bytes((tmp_path / "e.db").read_bytes()[:3000])
        for path in sorted(tmp_path.iterdir()):
            before = path.read_bytes()
            with pytest.raises(FileExistsError, match="is never replaced"):
                check_outputs(path, overwrite=True)
            assert path.read_bytes() == before

    def test_predictions_and_structures_are_replaced_where_told(self, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "a.xyz", [labelled(energy_uncertainty=0.1), bulk("Cu")], format="extxyz")
        ase.io.write(tmp_path / "b.cif", bulk("Cu"))
        database(tmp_path / "c.db", labelled("dkl"), bulk("Cu"))
        for path in tmp_path.iterdir():
            check_outputs(path, overwrite=True)

    def test_rows_are_added_to_databases_alone(self, tmp_path: Path) -> None:
        check_outputs(tmp_path / "new.db", append=True)
        check_outputs(database(tmp_path / "a.db", labelled()), append=True)
        (tmp_path / "b.db").write_text("text")
        with pytest.raises(FileExistsError, match="no ASE database"):
            check_outputs(tmp_path / "b.db", append=True)
        with pytest.raises(FileExistsError, match="add to it with --append"):
            check_outputs(tmp_path / "a.db")

    def test_devices_and_directories_are_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError, match="it is a directory"):
            check_outputs(tmp_path, overwrite=True)
        with pytest.raises(FileExistsError, match="it is a device or a pipe"):
            check_outputs(Path(os.devnull), overwrite=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_what_may_not_be_written(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.touch(mode=0o400)
        with pytest.raises(PermissionError, match="you may not change it"):
            check_outputs(path, overwrite=True)
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="you may not write into"):
            check_outputs(tmp_path / "b.csv")
        tmp_path.chmod(0o700)


class TestWrittenRows:
    def test_all_or_none_are_added(self, tmp_path: Path) -> None:
        path = database(tmp_path / "a.db", labelled("vasp"))

        def fail_half_way() -> None:
            with written_rows(path, append=True) as rows:
                rows.write(labelled("dkl"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail_half_way()
        with written_rows(path, append=True) as rows:
            rows.write(labelled("dkl"))
            rows.write(labelled("dkl"))
        with ase.db.connect(path) as connection:
            assert [row.calculator for row in connection.select()] == ["vasp", "dkl", "dkl"]
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_that_sqlite_cannot_write_is_told_in_words(self, tmp_path: Path) -> None:
        path = tmp_path / "a.db"
        path.write_bytes(database(tmp_path / "b.db", labelled()).read_bytes()[:5000])
        with (
            pytest.raises(OSError, match=r"a\.db: its rows could not be written"),
            written_rows(path, append=True) as rows,
        ):
            rows.write(labelled())


class TestSave:
    def test_replaces_a_model_and_nothing_else(self, surrogate: Surrogate, tmp_path: Path) -> None:
        for _ in range(2):
            surrogate.save(tmp_path / "m.dkl")
        labels = database(tmp_path / "dft.db", labelled())
        before = labels.read_bytes()
        with pytest.raises(FileExistsError, match="is no model"):
            surrogate.save(labels)
        assert labels.read_bytes() == before
