"""Builds every cython_ext/NAME.pyx as mpiqopt._NAME; everything else is in pyproject.toml.

An extension is compiled for any processor; its kernels, cython_ext/NAME_kernels.c, once for each level of LEVELS, of
which mpiqopt.kernels takes one at run time, and for each type of vectors in REALS. MPIQOPT_MARCH names a processor to
build the kernels for instead ("native", "znver4", ...): they run on its like alone.
"""

import os
import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
MARCH = os.environ.get("MPIQOPT_MARCH", "")
# of the x86-64 psABI, spelled so that older compilers know them
V2 = ["-msse3", "-mssse3", "-msse4.1", "-msse4.2", "-mpopcnt"]
V3 = [*V2, "-mavx", "-mavx2", "-mfma", "-mf16c", "-mlzcnt", "-mmovbe", "-mbmi", "-mbmi2"]
V4 = [*V3, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
if MARCH:
    LEVELS = {"march": [f"-march={MARCH}"]}
elif platform.machine() in ("x86_64", "AMD64"):
    LEVELS = {"v2": V2, "v3": V3, "v4": V4}
else:
    LEVELS = {"plain": []}
# bits of float64 and float32, for the kernels whose vectors are of either type (cython_ext/real.h)
REALS = {"compressors": (64, 32), "gossip": (64, 32), "losses": (64, 32)}
# no fused operations: all levels give the same bits
FLAGS = ["-std=c11", "-ffp-contract=off", "-Wno-psabi", "-Wno-unused-function"]


class BuildKernels(build_ext):
    """Builds extensions with their kernels, on all cores."""

    def finalize_options(self) -> None:
        # not an option of setup(): editable builds forget those
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extension(self, extension: Extension) -> None:
        stem = extension.name.removeprefix("mpiqopt._")
        kernels = f"cython_ext/{stem}_kernels.c"
        if (ROOT / kernels).exists():
            extension.extra_objects = [
                object_file
                for level, flags in LEVELS.items()
                for bits in REALS.get(stem, (0,))
                for object_file in self.compiler.compile(
                    [kernels],
                    output_dir=f"{self.build_temp}/{level}-{bits}",
                    macros=[*extension.define_macros, ("LEVEL", level), ("REAL_BITS", str(bits))],
                    include_dirs=["cython_ext"],
                    extra_postargs=["-O3", *FLAGS, *flags],
                )
            ]
        super().build_extension(extension)


extensions = [
    Extension(
        f"mpiqopt._{source.stem}",
        [str(source.relative_to(ROOT))],
        include_dirs=[numpy.get_include(), "cython_ext"],
        depends=[str(header.relative_to(ROOT)) for header in sorted(ROOT.glob("cython_ext/*.[chp]*"))],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("MPIQOPT_MARCH", f'"{MARCH}"'),
            ("LEVELS(EACH, name)", " ".join(f"EACH(name, {level})" for level in LEVELS)),
        ],
        extra_compile_args=["-O2", *FLAGS],
    )
    for source in sorted(ROOT.glob("cython_ext/*.pyx"))
]

setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=cythonize(
        extensions,
        include_path=["cython_ext"],
        build_dir="build/cython",
        language_level=3,
        # wraparound and boundscheck stay on: kernels index pointers, which they do not touch, and Python objects keep
        # Python's meaning of [-1]
        compiler_directives={"cdivision": True, "embedsignature": True},
    ),
)
