"""Dense-matrix references in plain NumPy, written from docs/algorithms.md: nothing here calls the package's arithmetic.

X is n x d with a row per node, W an n x n matrix. Three things come from the package, with tests of their own: the
samples that each node holds, the sample numbers of its minibatches (and the numbers that say who trains), and what a
message decodes to (``messages.Wire``).
"""
