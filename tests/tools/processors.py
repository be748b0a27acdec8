"""Settings that make BLAS, NumPy, libm and the kernels compute as on other processors."""


def dispatched() -> str:
    """What NumPy can be told not to use here; releases name it differently."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return ",".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


ENVIRONMENTS = {
    "BLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "BLAS for Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "NumPy without SIMD": {"NPY_DISABLE_CPU_FEATURES": dispatched()},
    "libm without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX2_Usable,-FMA_Usable"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "kernels v2": {"MPIQOPT_KERNELS": "v2"},
    "kernels v3": {"MPIQOPT_KERNELS": "v3"},
    "kernels v4": {"MPIQOPT_KERNELS": "v4"},
}
