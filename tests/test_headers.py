"""Every header of the kernels stands alone: it includes what it needs, and does so once."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "cython_ext"
COMPILER = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
# texts for a type of integers, which coordination_kernels.c includes once for each
TEMPLATES = {"packing.h", "pieces.h"}
HEADERS = sorted(path.name for path in FOLDER.glob("*.h") if path.name not in TEMPLATES)
MACROS = ["-DLEVEL=v2", "-DLEVELS(EACH, name)=EACH(name, v2)"]
WARNINGS = ["-Wall", "-Werror", "-Wno-unused-function", "-Wno-psabi"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs the C compiler of this Python")


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_alone_and_twice(header, bits):
    """Without other headers before it, for both types of vectors."""
    command = [COMPILER, "-std=c11", *WARNINGS, *MACROS, f"-DREAL_BITS={bits}", f"-I{FOLDER}", "-fsyntax-only"]
    run = subprocess.run([*command, "-x", "c", "-"], input=f'#include "{header}"\n' * 2, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
