"""Builds every cython_ext/NAME.pyx as mpiqopt._NAME; everything else is in pyproject.toml.

MPIQOPT_MARCH names the processor to build for (default "native"; for a mixed cluster the oldest
kind in it, for example x86-64-v3).
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
MARCH = os.environ.get("MPIQOPT_MARCH", "native")

extensions = [
    Extension(
        f"mpiqopt._{source.stem}",
        [str(source.relative_to(ROOT))],
        include_dirs=[numpy.get_include(), "cython_ext"],
        depends=[str(header.relative_to(ROOT)) for header in sorted(ROOT.glob("cython_ext/*.[hp]*"))],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("MPIQOPT_MARCH", f'"{MARCH}"')],
        extra_compile_args=[
            "-O3",
            f"-march={MARCH}",
            "-std=c11",
            "-ffp-contract=off",
            "-Wno-psabi",
            "-Wno-unused-function",
        ],
    )
    for source in sorted(ROOT.glob("cython_ext/*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["cython_ext"],
        build_dir="build/cython",
        language_level=3,
        # wraparound and boundscheck stay on: kernels index pointers, which they do not touch, and Python objects keep
        # Python's meaning of [-1]
        compiler_directives={"cdivision": True, "embedsignature": True},
    )
)
