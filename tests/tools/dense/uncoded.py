"""Methods that send their vectors as they are: generators of X_1, X_2, ...

W: iterator over the mixing matrices; f: an Objective; a: the step.
"""

from itertools import count

import numpy as np

from tools.dense.objectives import samples_of


def dgd(X, W, f, a, batch_size):
    for t in count():
        X = next(W) @ X - a * f.grad(X, t, batch_size)
        yield X


def push_sum(X, W, f, a, execution, interval, **sampling):
    mass, weight = X, np.ones((len(X), 1))
    for a_t, grad in samples_of(f, a, **sampling):
        w = next(W)
        mass, weight = w @ (mass - a_t * grad(mass / weight)), w @ weight
        yield mass / weight


def prox_dgd(X, W, f, a, batch_size):
    for t in count():
        X = f.prox(next(W) @ X - a * f.grad(X, t, batch_size), a)
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


def gradient_tracking(X, W, f, a, batch_size):
    """Both exchanges of an iteration by the same W."""
    Y = before = f.grad(X, 0, batch_size)
    for t in count(1):
        M = next(W)
        X = M @ (X - a * Y)
        G = f.grad(X, t, batch_size)
        Y, before = M @ (Y + G - before), G
        yield X


def centralised(X, W, f, a):
    while True:
        X = np.tile(f.prox(X[:1] - a * f.grad(X).mean(axis=0), a), (len(X), 1))
        yield X
