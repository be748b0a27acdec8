# Checked access to NumPy arrays: one place decides what a kernel may read.
cimport numpy as cnp


cdef inline void* pointer(cnp.ndarray array, int typenum, Py_ssize_t size, str name) except NULL:
    """Return the data of a C-contiguous array of the given type and number of values."""
    if array is None:
        raise TypeError(f"{name}: want an array, got None")
    cdef bint plain = cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISBEHAVED_RO(array)
    if cnp.PyArray_TYPE(array) != typenum or not plain:
        order = "" if cnp.PyArray_IS_C_CONTIGUOUS(array) else " that is not C-contiguous"
        wanted = cnp.PyArray_DescrFromType(typenum)
        raise TypeError(f"{name}: want a C-contiguous {wanted} array, got {array.dtype}{order}")
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"{name}: want {size} values, got {cnp.PyArray_SIZE(array)}")
    return cnp.PyArray_DATA(array)


cdef inline void* target(cnp.ndarray array, int typenum, Py_ssize_t size, str name) except NULL:
    """Return ``pointer`` of an array that is to be written."""
    cdef void* p = pointer(array, typenum, size, name)
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{name}: read-only")
    return p


cdef inline Py_ssize_t length(cnp.ndarray array, int axis, int ndim, str name) except -1:
    """Return the length of an axis of an array that has ``ndim`` of them."""
    if array is None or array.ndim != ndim:
        raise TypeError(f"{name}: want an array with {ndim} axes, got {'None' if array is None else array.ndim}")
    return array.shape[axis]


cdef inline int precision(cnp.ndarray array, str name) except -1:
    """Return 1 for float64 and 0 for float32: the place of the type in tables of kernels (kernels.h)."""
    if array is None:
        raise TypeError(f"{name}: want an array, got None")
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64:
        return 1
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
        return 0
    raise TypeError(f"{name}: want float64 or float32, got {array.dtype}")
