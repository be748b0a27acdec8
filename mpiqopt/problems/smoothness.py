"""The largest curvature of a node's data."""

import numpy as np

# Up to so many rows or columns the eigenvalues of the Gram matrix are computed; above, the largest by Lanczos.
GRAM_LIMIT = 512


def largest_eigenvalue(features) -> float:
    """lambda_max(A^T A) of the rows A (m, d), dense or sparse."""
    features = features.astype(np.float64, copy=False)
    m, d = features.shape
    if min(m, d) <= GRAM_LIMIT:
        gram = features @ features.T if m <= d else features.T @ features
        return float(np.linalg.eigvalsh(gram if isinstance(gram, np.ndarray) else gram.toarray())[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((d, d), matvec=lambda v: features.T @ (features @ v), dtype=np.float64)
    # a fixed start: the value must not change from call to call
    start = np.random.default_rng(0).standard_normal(d)
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
