"""Builds the source distribution and, from it, the wheel, and tries the wheel in an empty environment.

    python -m tools.try_dist FOLDER        what is built stays in FOLDER (make dist)

The lines of the README are tried where a user types them: in a folder filled by `mpiqopt examples`, and in the sources
of the distribution, whose package has no kernels.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.commands import environment
from tools.environments import ROOT, create, sdist, wheel

LINES = (
    "mpiexec -n 2 python -m mpiqopt run configs/digits.toml -o results/a.h5 --set run.iterations=20",
    "python -m mpiqopt run configs/breast-cancer.toml --set algorithm.name=pg-extra --set topology.nodes=32 "
    "--set run.iterations=20",
    "mpiqopt run configs/compressed.toml -o results/c.h5 --set run.iterations=20",
    "mpiexec -n 2 python -m mpiqopt run configs/straggler.toml -o results/straggler.h5 --set run.iterations=20",
    "python -m mpiqopt show results/straggler.h5",
    "mpiqopt check configs/ftqc.toml",
    "mpiqopt plot results/a.h5 -o results/a.png",
    "mpiexec -n 2 python -m mpiqopt doctor",
)


def unpacked(source: Path, folder: Path) -> Path:
    """Unpack a source distribution; returns its folder."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # 3.11.4
    return folder / source.name.removesuffix(".tar.gz")


def type_lines(folder: Path, binaries: Path) -> None:
    """Start each of LINES in ``folder``, with an environment's commands first."""
    variables = environment()
    variables["PATH"] = f"{binaries}:{variables['PATH']}"
    for line in LINES:
        subprocess.run(line.split(), cwd=folder, env=variables, check=True, timeout=120, stdout=subprocess.DEVNULL)
        print(f"  {line}")


def main(built: Path) -> None:
    shutil.rmtree(built, ignore_errors=True)
    source = sdist(built)
    package = wheel(source, built / "wheel", sys.executable)
    package = package.rename(built / package.name)
    shutil.rmtree(built / "wheel")
    with tempfile.TemporaryDirectory() as empty:
        python = create(Path(empty, "venv"), sys.executable, [f"mpiqopt[mpich] @ {package.as_uri()}"])
        subprocess.run([python.with_name("mpiqopt"), "examples", Path(empty, "examples")], check=True)
        for folder in (Path(empty, "examples"), unpacked(source, Path(empty))):
            print(f"in {folder.name}:")
            type_lines(folder, python.parent)
    print(f"built and tried: {source.relative_to(ROOT)}, {package.relative_to(ROOT)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
