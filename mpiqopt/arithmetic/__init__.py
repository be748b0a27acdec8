"""Numbers that come out the same on every processor, with every BLAS and libm."""
