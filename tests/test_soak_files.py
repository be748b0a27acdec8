"""A few of the kills, races, full disks and missing locks of `make soak-files`, and that it sees what is lost."""

import h5py
import numpy as np
import pytest
from tools import jobs, soak_files
from tools.jobs import Loss

PARTS = [
    pytest.param(
        name, most, marks=[pytest.mark.mpi] if most > 1 else [], id=f"{name}-{'ranks' if most > 1 else 'alone'}"
    )
    for name in soak_files.PARTS
    for most in (1, 2)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), PARTS)
def test_nothing_is_lost(name, most, tmp_path):
    try:
        seen = soak_files.soak(name, 4, 7, tmp_path, most, quiet=True)
    except soak_files.Skip as reason:
        pytest.skip(str(reason))
    assert seen.total() == 4


RUN = {"iteration": np.arange(3), "objective": np.array([3.0, 2.0, 1.0]), "final/x": np.ones((2, 2))}


def written(path, status: str = "finished", **changes):
    with h5py.File(path, "w") as file:
        for name, values in {**RUN, **changes}.items():
            file[name] = values
        file.attrs["status"] = status
    return path


def test_a_whole_run_is_no_loss(tmp_path):
    jobs.require_whole(written(tmp_path / "r.h5"), RUN)
    assert jobs.require_start(written(tmp_path / "r.h5", iteration=[0, 1], objective=[3.0, 2.0]), RUN) == 2
    assert jobs.require_start(tmp_path / "none.h5", RUN) == 0


def test_another_last_bit_is_a_loss(tmp_path):
    for name in RUN:
        changed = RUN[name].copy()
        changed.flat[1] += np.spacing(changed.flat[1]) if changed.dtype.kind == "f" else 1
        with pytest.raises(Loss, match=f"/{name} is not that"):
            jobs.require_whole(written(tmp_path / "r.h5", **{name: changed}), RUN)


def test_what_is_missing_cut_or_unfinished_is_a_loss(tmp_path):
    path = tmp_path / "r.h5"
    for changes, said in (
        ({"objective": RUN["objective"][:2]}, "is not that"),
        ({"status": "stopped"}, "status is 'stopped'"),
    ):
        with pytest.raises(Loss, match=said):
            jobs.require_whole(written(path, **changes), RUN)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Loss, match="does not open"):
        jobs.require_whole(path, RUN)
    with pytest.raises(Loss, match="first 2 records"):
        jobs.require_start(written(path, iteration=[0, 1], objective=[3.0, 5.0]), RUN)


def test_files_that_stay_behind_are_a_loss(tmp_path):
    written(tmp_path / "r.h5")
    jobs.require_clean(tmp_path)
    (tmp_path / "r.h5.part").touch()
    with pytest.raises(Loss, match=r"left behind: r\.h5\.part"):
        jobs.require_clean(tmp_path)
