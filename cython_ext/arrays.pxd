# Checked access to NumPy arrays: one place decides what a kernel may read.
cimport numpy as cnp


cdef inline void* pointer(cnp.ndarray array, int typenum, Py_ssize_t size, str name) except NULL:
    """The data of a C-contiguous array of the given type and number of values."""
    if array is None:
        raise TypeError(f"{name}: want an array, got None")
    if cnp.PyArray_TYPE(array) != typenum or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        order = "" if cnp.PyArray_IS_C_CONTIGUOUS(array) else " that is not C-contiguous"
        wanted = cnp.PyArray_DescrFromType(typenum)
        raise TypeError(f"{name}: want a C-contiguous {wanted} array, got {array.dtype}{order}")
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"{name}: want {size} values, got {cnp.PyArray_SIZE(array)}")
    return cnp.PyArray_DATA(array)
