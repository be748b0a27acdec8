"""coordinated-prox-gradient, on averages of innovations of which node 0 keeps what remains (tree, allreduce)."""

from itertools import count

import numpy as np

from tools.dense.coordinated import Known, octave


def momentum(x: np.ndarray, last: np.ndarray, y: np.ndarray, t: float, root: float) -> tuple[float, float]:
    """beta and t_{k+1} from t_k; x, last: x+ and x; y: where the gradients were; root: sqrt(a mu)."""
    if np.add.reduce((y.astype(np.float64) - x) * (x.astype(np.float64) - last)) > 0:
        return 0.0, 1.0
    further = (1 + np.sqrt(1 + 4 * t * t)) / 2
    return float(min((t - 1) / further, (1 - root) / (1 + root))), further


def estimated(f, estimator, t, Y, old, v, batch_size, large_batch_size, epoch_length):
    """v_t of the estimators."""
    if estimator == "gradient":
        return f.grad(Y)
    if estimator == "sa":
        return f.grad(Y, t, batch_size)
    if t % epoch_length == 0:
        return f.grad(Y, t, large_batch_size if estimator == "sr-o" else "all")
    return v + (f.grad(Y, t, batch_size) - f.grad(old, t, batch_size))


def coordinated_prox_gradient_variables(
    X, f, a, accelerated, strong_convexity, estimator, batch_size, large_batch_size, epoch_length, **settings
):
    """X and Delta of the next average after each round."""
    known, x, Y, t_k, v = Known(np.zeros(X.shape[1]), len(X), 0.4, **settings), X[0], X, 1.0, np.zeros_like(X)
    root, old = np.sqrt(a * strong_convexity) if accelerated else 0.0, X
    for t in count():
        v = estimated(f, estimator, t, Y, old, v, batch_size, large_batch_size, epoch_length).astype(X.dtype)
        ways = a * v.astype(np.float64) if estimator.startswith("sr") else Y.astype(np.float64) - (Y - a * v)
        V = np.where(f.trains(t, **settings)[:, None], ways, known.hat)
        last, old = x, Y
        x = f.prox((Y[:1] - known.average(V)).astype(X.dtype), a)[0]
        beta, share = 0.0, 1.0
        if accelerated:
            beta, t_k = momentum(x, last, Y[0], t_k, root)
            share = 0.75 * (1 - beta)
        known.refine(x, last, share)
        Y = np.tile(x + beta * (x - last), (len(X), 1)).astype(X.dtype)
        yield np.tile(x, (len(X), 1)), octave(known.step)


def coordinated_prox_gradient(X, W, f, a, **settings):
    """W is not used."""
    for rows, _ in coordinated_prox_gradient_variables(X, f, a, **settings):
        yield rows
