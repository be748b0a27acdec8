"""The floor of a large network in one process: the products of one iteration of gradient tracking, by NumPy and SciPy.

usage: python node_products.py NODES SAMPLES FEATURES
prints the milliseconds that A_i x_i and A_i^T z_i of all nodes (batched matmul) and two W X (CSR) take together, the
median of 7.
"""

import sys
import time

import networkx
import numpy as np
from scipy.sparse import eye_array

n, m, d = map(int, sys.argv[1:4])
rng = np.random.default_rng(0)
A = rng.standard_normal((n, m, d))
x = rng.standard_normal((n, d))
graph = networkx.random_regular_graph(4, n, seed=0)
W = ((networkx.to_scipy_sparse_array(graph) + eye_array(n)) / 5).tocsr()

times = []
for _ in range(7):
    start = time.perf_counter()
    z = np.matmul(A, x[:, :, None])
    np.matmul(A.transpose(0, 2, 1), z)
    W @ (W @ x)
    times.append(time.perf_counter() - start)
print(1e3 * np.median(times))
