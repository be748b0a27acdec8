"""Runs the core of the suite against the wheel, in the unpacked source distribution and an empty environment.

    python -m tools.core newest        the newest Python here, newest versions of everything
    python -m tools.core lowest        the lowest Python, the declared bounds; also for building

Skips, with a line, where there is no Python newer than this one.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tools.commands import environment
from tools.environments import create, pythons, requirements, sdist, wheel
from tools.try_dist import unpacked

# what differs between versions of Python and libraries: arrays, files, kernels, graphs, the command line, ranks
CORE = (
    "test_client_results.py test_coordination.py test_coordination_frames.py test_coordination_integers.py "
    "test_coordination_on_ranks.py test_data.py test_docs.py test_formats.py test_graph_files.py test_graph_names.py "
    "test_image_data.py test_install.py test_kernels.py test_launchers.py test_problems.py test_random_words.py "
    "test_ranks.py test_results.py test_shared_rows.py test_structure.py test_tables.py test_text_data.py "
    "test_topologies.py test_trajectories.py test_wiring.py test_wrong_input.py"
)
# as make test
PARTS = (
    ["-n", "auto", "--maxprocesses", "8", "--dist", "worksteal", "-m", "not slow and not mpi and not torch"],
    ["-n", "2", "--dist", "worksteal", "-m", "not slow and mpi and not torch"],
)


def main(bounds: str) -> int:
    found = pythons()
    version = max(found) if bounds == "newest" else min(found)
    if bounds == "newest" and version <= sys.version_info[:2]:
        print(f"skipped: there is no Python here that is newer than {sys.version.split()[0]}")
        return 0
    print(f"Python {'.'.join(map(str, version))}, {bounds} versions", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source = sdist(Path(folder, "source"))
        package = wheel(source, Path(folder, "wheel"), found[version], bounds)
        lines = [*requirements("mpich", "dev"), f"mpiqopt @ {package.as_uri()}"]
        python = create(Path(folder, "venv"), found[version], lines, bounds)
        home, tests = unpacked(source, Path(folder)), [f"tests/{name}" for name in CORE.split()]
        commands = [[python, "-m", "pytest", *part, *tests] for part in PARTS]
        codes = [subprocess.run(command, cwd=home, env=environment()).returncode for command in commands]
        return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
