"""Every header of the kernels stands alone: it includes what it needs, and does so once. So does that of the docs."""

import re
import shutil
import subprocess
import sysconfig
import textwrap
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "cython_ext"
COMPILER = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
# texts for a type of integers, which coordination_kernels.c includes once for each
TEMPLATES = {"coders.h", "packing.h", "pieces.h"}
HEADERS = sorted(path.name for path in FOLDER.glob("*.h") if path.name not in TEMPLATES)
MACROS = ["-DLEVEL=v2", "-DLEVELS(EACH, name)=EACH(name, v2)"]
WARNINGS = ["-Wall", "-Werror", "-Wno-unused-function", "-Wno-psabi"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs the C compiler of this Python")


def require_compiled(text: str, bits: int) -> None:
    """Fail unless the text compiles without a warning, for vectors of so many bits a value."""
    command = [
        COMPILER,
        "-std=c11",
        *WARNINGS,
        *MACROS,
        f"-DREAL_BITS={bits}",
        f"-I{FOLDER}",
        "-fsyntax-only",
        "-x",
        "c",
    ]
    run = subprocess.run([*command, "-"], input=text, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.representatives(1)
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_alone_and_twice(header, bits):
    """Without other headers before it, for both types of vectors."""
    require_compiled(f'#include "{header}"\n' * 2, bits)


@pytest.mark.parametrize("bits", [64, 32])
def test_the_header_of_the_page_is_a_wire_format(bits):
    """docs/extending.md: the C text there has the functions that the list wants."""
    page = (FOLDER.parent / "docs" / "extending.md").read_text()
    (text,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    entry = '#include "wire_format.h"\nstatic const wire_format list[] = {WIRE_FORMAT(byte, NO_KEY)};\n'
    require_compiled(textwrap.dedent(text) + entry + "const wire_format *first(void) { return list; }\n", bits)
