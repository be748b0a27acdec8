"""Methods that send their vectors as they are: generators of X_1, X_2, ...

W: iterator over the mixing matrices; f: an Objective; a: the step.
"""

from itertools import count

import numpy as np

from tools.dense.objectives import scheduled


def steps_of(W, nodes, local_steps):
    """I, ..., I, W_1, I, ..., I, W_2, ...: matrices of gradient steps of which every k-th comes with a gossip."""
    for M in W:
        yield from [np.eye(nodes)] * (local_steps - 1)
        yield M


def dgd(X, W, f, a, batch_size, local_steps):
    """Every gradient step has a matrix: of k of them the last has the next W, the others have I."""
    for t, M in enumerate(steps_of(W, len(X), local_steps)):
        X = M @ X - a * f.grad(X, t, batch_size)
        if (t + 1) % local_steps == 0:
            yield X


def push_sum(X, W, f, a, execution, interval, local_steps, batch_size, **schedule):
    mass, weight = X, np.ones((len(X), 1))
    for t in count():
        a_t, M = scheduled(a, t, **schedule), next(W)
        for j in range(local_steps):
            mass = mass - a_t * f.grad(mass / weight, t * local_steps + j, batch_size)
        mass, weight = M @ mass, M @ weight
        yield mass / weight


def prox_dgd(X, W, f, a, batch_size, local_steps):
    for t, M in enumerate(steps_of(W, len(X), local_steps)):
        X = f.prox(M @ X - a * f.grad(X, t, batch_size), a)
        if (t + 1) % local_steps == 0:
            yield X


def noloco(X, W, f, a, batch_size, local_steps, outer_momentum, outer_step_size, pull):
    """As in the paper, with two vectors a message: what training has moved, and where it began."""
    V = np.zeros_like(X)
    for t in count():
        U, M = X, next(W)
        for j in range(local_steps):
            U = U - a * f.grad(U, t * local_steps + j, batch_size)
        V = outer_momentum * V + outer_step_size * (M @ (U - X)) - pull * (X - M @ X)
        X = X + V
        yield X


def extra(X, W, f, a, batch_size):
    W = next(W)
    before = f.grad(X, 0, batch_size)
    old, X = X, W @ X - a * before
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        old, X = X, X + W @ X - (old + W @ old) / 2 - a * (G - before)
        before = G
        yield X


def pg_extra(X, W, f, a, batch_size):
    W = next(W)
    before = f.grad(X, 0, batch_size)
    Z = W @ X - a * before
    old, X = X, f.prox(Z, a)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        Z = Z + W @ X - (old + W @ old) / 2 - a * (G - before)
        old, X, before = X, f.prox(Z, a), G
        yield X


def nids(X, W, f, a, batch_size):
    Wt = (np.eye(len(X)) + next(W)) / 2
    before = f.grad(X, 0, batch_size)
    Z = X - a * before
    old, X = X, f.prox(Z, a)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        Z = Z - X + Wt @ (2 * X - old - a * (G - before))
        old, X, before = X, f.prox(Z, a), G
        yield X


def d2(X, W, f, a, batch_size):
    Wt = (np.eye(len(X)) + next(W)) / 2
    before = f.grad(X, 0, batch_size)
    old, X = X, Wt @ (X - a * before)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        old, X = X, Wt @ (2 * X - old - a * (G - before))
        before = G
        yield X


def gradient_tracking(X, W, f, a, batch_size, local_steps):
    """Both exchanges of an iteration by the same W."""
    Y = before = f.grad(X, 0, batch_size)
    for t, M in enumerate(steps_of(W, len(X), local_steps), 1):
        X = M @ (X - a * Y)
        G = f.grad(X, t, batch_size)
        Y, before = M @ (Y + G - before), G
        if t % local_steps == 0:
            yield X


def push_diging(X, W, f, a, execution, interval, batch_size, local_steps):
    """As in the paper: what is new in the gradients is not sent in the round that it comes from."""
    U, weight = X, np.ones((len(X), 1))
    Y = before = f.grad(X, 0, batch_size)
    for t, M in enumerate(steps_of(W, len(X), local_steps), 1):
        U, weight = M @ (U - a * Y), M @ weight
        G = f.grad(U / weight, t, batch_size)
        Y, before = M @ Y + G - before, G
        if t % local_steps == 0:
            yield U / weight


def centralised(X, W, f, a):
    while True:
        X = np.tile(f.prox(X[:1] - a * f.grad(X).mean(axis=0), a), (len(X), 1))
        yield X
