"""Run several configs on the ranks of one MPI job: python -m tools.run_many FOLDER CONFIG..."""

import subprocess
import sys
from pathlib import Path

from mpiqopt.config.parse import load
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport import launch
from tools.commands import TIMEOUT, mpiexec, with_tools


def run_on(ranks: int, folder: Path, paths: list[str]) -> None:
    """Run configs on so many ranks (0: without mpiexec), with results in a new folder."""
    folder.mkdir()
    script = [sys.executable, "-m", "tools.run_many", str(folder), *paths]
    start = [mpiexec(), "-n", str(ranks)] if ranks else []
    subprocess.run([*start, *script], env=with_tools(), check=True, timeout=TIMEOUT)


def run_alone(folder: Path, cases: dict[str, dict]) -> tuple[Path, list[str]]:
    """Run the configs of some cases, tables by name, in one process without MPI: return results and configs."""
    import tomli_w

    for case, tables in cases.items():
        (folder / f"{case}.toml").write_text(tomli_w.dumps(tables))
    paths = [str(folder / f"{case}.toml") for case in cases]
    run_on(0, folder / "results", paths)
    return folder / "results", paths


def main(folder: str, *paths: str) -> None:
    """Run the configs one after the other. Collective."""
    with launch.mpi_session() as transport:
        for path in paths:
            run(load(path), Options(Path(folder) / f"{Path(path).stem}.h5", quiet=True), transport)


if __name__ == "__main__":
    main(*sys.argv[1:])
