"""The floor: gradient tracking on a ring, one node per rank, by persistent MPI calls and NumPy and nothing else.

No recording, no checks, no abstraction. Logistic loss, l2 = 0.1, m samples a node.
usage: OMP_NUM_THREADS=1 mpiexec -n N python bare_gradient_tracking.py SAMPLES FEATURES ITERATIONS
prints microseconds per iteration of the slowest rank.
"""

import sys
import time

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size
m, d, iterations = map(int, sys.argv[1:4])
step, l2 = 0.05, 0.1

rng = np.random.default_rng(1 + rank)
A = rng.standard_normal((m, d))
b = np.where(rng.random(m) < 1 / (1 + np.exp(-A @ np.random.default_rng(0).standard_normal(d) / np.sqrt(d))), 1.0, -1.0)
C = -b[:, None] * A
CT = np.ascontiguousarray(C.T) / m


def grad(x):
    return CT @ (1 / (1 + np.exp(-(C @ x)))) + l2 * x


neighbours = sorted({(rank - 1) % size, (rank + 1) % size} - {rank})
weight = 1 / (len(neighbours) + 1)
out = np.zeros(d)
inbox = np.zeros((len(neighbours), d))
requests = [comm.Send_init(out, j) for j in neighbours] + [
    comm.Recv_init(inbox[i], j) for i, j in enumerate(neighbours)
]


def mix(v):
    out[:] = v
    MPI.Prequest.Startall(requests)
    MPI.Request.Waitall(requests)
    return weight * (out + inbox.sum(0))


x = np.zeros(d)
g = y = grad(x)
comm.Barrier()
start = time.perf_counter()
for _ in range(iterations):
    x = mix(x - step * y)
    g_new = grad(x)
    y = mix(y + g_new - g)
    g = g_new
elapsed = comm.allreduce(time.perf_counter() - start, op=MPI.MAX)
for request in requests:
    request.Free()
if rank == 0:
    print(1e6 * elapsed / iterations)
