"""Methods with coded messages, by gossip and by a server: generators of X_1, X_2, ...

W: iterator over the mixing matrices; f: an Objective; a: the step; wire: what receivers decode.
"""

from itertools import count

import numpy as np

from tools.dense.objectives import samples_of, scheduled


def choco_gossip(X, W, f, a, wire, gossip_step):
    W = next(W)
    X = X - a * f.grad(X)
    hat = np.zeros_like(X)
    while True:
        hat = hat + wire.damping * wire.gossip(X - hat)
        X = X + gossip_step * (W @ hat - hat)
        yield X


def choco_sgd(X, W, f, a, wire, gossip_step, local_steps, batch_size, **schedule):
    W = next(W)
    hat = np.zeros_like(X)
    for t in count():
        for j in range(local_steps):
            X = X - scheduled(a, t, **schedule) * f.grad(X, t * local_steps + j, batch_size)
        hat = hat + wire.damping * wire.gossip(X - hat)
        X = X + gossip_step * (W @ hat - hat)
        yield X


def prox_lead(X, W, f, a, wire, gossip_step, memory_rate, **sampling):
    """With H_w = W H carried along as in the paper's COMM; Z^ and Z^_w in the dual and in the primal step."""
    W, gamma, alpha = next(W), gossip_step, memory_rate
    D = H = Hw = np.zeros_like(X)
    for a_t, grad in samples_of(f, a, **sampling):
        Z = X - a_t * grad(X) - a_t * D
        Q = wire.gossip(Z - H)
        hat, hat_w = H + Q, Hw + W @ Q
        H, Hw = (1 - alpha) * H + alpha * hat, (1 - alpha) * Hw + alpha * hat_w
        D = D + gamma / (2 * a_t) * (hat - hat_w)
        X = f.prox(Z - gamma / 2 * (hat - hat_w), a_t)
        yield X


def lead(X, W, f, a, wire, gossip_step, memory_rate, **sampling):
    """Algorithm 1 of Liu et al., whose primal step takes the gradient again instead of Z."""
    W, gamma, alpha = next(W), gossip_step, memory_rate
    D = H = Hw = np.zeros_like(X)
    for a_t, grad in samples_of(f, a, **sampling):
        G = grad(X)
        Q = wire.gossip(X - a_t * G - a_t * D - H)
        hat, hat_w = H + Q, Hw + W @ Q
        H, Hw = (1 - alpha) * H + alpha * hat, (1 - alpha) * Hw + alpha * hat_w
        D = D + gamma / (2 * a_t) * (hat - hat_w)
        X = X - a_t * G - a_t * D
        yield X


def forward_backward(X, direction, a, f):
    """All rows are equal and stay so."""
    return np.tile(f.prox(X[:1] - a * direction, a), (len(X), 1))


def sgd(X, W, f, a, **sampling):
    for a_t, grad in samples_of(f, a, **sampling):
        X = forward_backward(X, grad(X).mean(axis=0), a_t, f)
        yield X


def compressed_sgd(X, W, f, a, wire, two_way, **sampling):
    for a_t, grad in samples_of(f, a, **sampling):
        direction = wire.upload(grad(X)).mean(axis=0)
        X = forward_backward(X, wire.download(direction) if two_way else direction, a_t, f)
        yield X


def sign_sgd(X, W, f, a, wire, two_way, **sampling):
    """The majority is counted here, not taken from the wire. A tie is a vote for +1."""
    for a_t, grad in samples_of(f, a, **sampling):
        votes = np.sum(wire.upload(grad(X)) > 0, axis=0)
        direction = np.where(2 * votes >= len(X), 1, -1) if two_way else (2 * votes - len(X)) / len(X)
        X = forward_backward(X, direction, a_t, f)
        yield X


def ef_sgd(X, W, f, a, wire, two_way, **sampling):
    errors, server_error = np.zeros_like(X), np.zeros(X.shape[1])
    for a_t, grad in samples_of(f, a, **sampling):
        wanted = errors + a_t * grad(X)
        sent = wire.damping * wire.upload(wanted)
        errors, change = wanted - sent, sent.mean(axis=0)
        if two_way:
            wanted = server_error + change
            change = wire.damping * wire.download(wanted)
            server_error = wanted - change
        X = np.tile(f.prox(X[:1] - change, a_t), (len(X), 1))
        yield X
