"""What stands in for BLAS, LAPACK and libm: right, and in an order of its own."""

import ast
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.arithmetic.eigenvalues import largest_eigenvalues, rayleigh_quotient
from mpiqopt.arithmetic.products import PIECE, row_products
from mpiqopt.arithmetic.rounding import exact_exponential, exact_power
from mpiqopt.regularizers.constraints import Box, Nonnegative
from mpiqopt.streams import ZIGGURAT_END, random_stream, standard_normal

PACKAGE = Path(__file__).parent.parent / "mpiqopt"
# folders of what a trajectory follows from
FOLDERS = ("data", "problems", "regularizers", "compressors", "algorithms")
PRODUCTS = {"dot", "vdot", "inner", "matmul", "tensordot", "einsum", "linalg", "convolve"}
FUNCTIONS = {"exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "float_power", "pow", "tanh"}
MACHINE_MADE = {*PRODUCTS, *FUNCTIONS, "sin", "cos", "tan", "standard_normal"}
# decides by comparison with random numbers only
# Bounds of steps are rounded to six digits, and sizes of messages are predicted from normal numbers.
EXCEPTIONS = {
    ("synthetic.py", "exp"),
    ("shortener.py", "standard_normal"),
    *(("stability.py", name) for name in ("@", "linalg", "exp", "fft")),
}


def matrices(count: int, d: int, rank: int, seed: int = 0) -> np.ndarray:
    """Symmetric matrices (count, d, d), positive semidefinite ones and others in turn."""
    factors = np.random.default_rng(d + seed).standard_normal((count, d, rank))
    return np.sign(np.arange(count) % 2 - 0.5)[:, None, None] * (factors @ factors.swapaxes(1, 2))


def start(count: int, d: int) -> np.ndarray:
    return np.repeat(np.random.default_rng(1).standard_normal((1, d)), count, axis=0)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(300, 7), (3, PIECE + 5), (0, 4), (5, 1)])
def test_products_are_those_of_the_rows(shape, sparse):
    """In pieces or not; each sum is that of the row alone."""
    stream = np.random.default_rng(0)
    rows, vectors = stream.standard_normal(shape), stream.standard_normal((3, shape[1]))
    rows *= stream.random(shape) < 0.5
    found = row_products(csr_array(rows) if sparse else rows, vectors)
    np.testing.assert_allclose(found, rows @ vectors.T, rtol=1e-12, atol=1e-12)
    for k, row in enumerate(rows):
        alone = csr_array(row[None]) if sparse else row[None]
        np.testing.assert_array_equal(row_products(alone, vectors)[0], found[k])


def test_products_of_float32_are_in_float64():
    rows = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    exact = [[float(sum(Fraction(float(v)) ** 2 for v in row))] for row in rows]
    squares = np.array([row_products(row[None], row[None])[0] for row in rows])
    np.testing.assert_allclose(squares, exact, rtol=1e-15)


def test_products_of_columns():
    """The transpose of dense and of sparse rows."""
    rows, vector = np.random.default_rng(0).standard_normal((30, 7)), np.arange(30.0)[None]
    for transposed in (rows.T, csr_array(rows).T):
        np.testing.assert_allclose(row_products(transposed, vector)[:, 0], vector[0] @ rows, rtol=1e-12)


@pytest.mark.parametrize("regularizer", [Box(lower=0.0, upper=1.0), Box(lower=-1.0, upper=-0.0), Nonnegative()])
@pytest.mark.parametrize("size", [1, 9, 64])
def test_constraints_know_one_zero(regularizer, size):
    """Which of 0 and -0 is the larger is up to the instruction."""
    for zero in (0.0, -0.0):
        assert not np.signbit(regularizer.prox(np.full(size, zero), 1.0)).any()


def test_powers_are_rounded_correctly():
    """libm's squares are not: with and without fused multiplication some are off by a last bit, not the same ones."""
    for base in np.random.default_rng(2).random(3000).tolist():
        assert exact_power(base, 2) == base * base
        assert exact_power(base, 3) == float(Fraction(base) ** 3)
        assert exact_power(base, 0.3) == pytest.approx(base**0.3, rel=1e-15)
        assert exact_exponential(-base) == pytest.approx(np.exp(-base), rel=1e-15)
    assert (exact_power(0.5, 0), exact_power(0.25, 0.5), exact_power(0.9, 10**9), exact_exponential(0.0)) == (
        1.0,
        0.5,
        0.0,
        1.0,
    )


@pytest.mark.parametrize("values", [[], [3], [2, 1, 2, 1, 1], [[1.5, -0.0], [0.0, 1.5]], [np.inf, -np.inf, 7.0]])
def test_distinct_values_are_those_of_numpy(values):
    np.testing.assert_array_equal(distinct_values(np.array(values)), np.unique(np.array(values)))


def test_normal_numbers_are_those_of_numpy():
    """Same stream, same numbers; those beyond the ziggurat are multiples of 2^-26."""
    expected = random_stream(1, "synthetic").standard_normal(400_000)
    numbers = standard_normal(random_stream(1, "synthetic"), (400, 1000)).ravel()
    beyond = np.abs(expected) > ZIGGURAT_END
    assert 60 < beyond.sum() < 160
    np.testing.assert_array_equal(numbers[~beyond], expected[~beyond])
    np.testing.assert_allclose(numbers[beyond], expected[beyond], rtol=0, atol=2.0**-27)
    assert np.all(numbers[beyond] * 2.0**26 % 1 == 0)


@pytest.mark.parametrize(("d", "rank"), [(1, 1), (2, 2), (20, 3), (40, 40), (90, 200)])
def test_largest_eigenvalues(d, rank):
    """Several at once, each as it would be alone."""
    every = matrices(6, d, rank)

    def among(chosen):
        return largest_eigenvalues(
            lambda v: np.add.reduce(chosen * v[:, None, :], axis=2), start(len(chosen), d), most=500
        )

    found = among(every)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(every)[:, -1], atol=1e-12 * np.abs(every).max() * d)
    np.testing.assert_array_equal([among(one[None])[0] for one in every], found)


def test_a_largest_eigenvalue_of_nothing():
    assert largest_eigenvalues(np.zeros_like, start(2, 5), most=9).tolist() == [0, 0]


def test_steps_are_bounded():
    """Then the eigenvalue is too small: at most the one that more steps find."""
    matrix = -matrices(1, 90, 200)
    few, many = (largest_eigenvalues(lambda v: v @ matrix[0], start(1, 90), most)[0] for most in (4, 500))
    assert 0.5 * many < few < many


@pytest.mark.parametrize("seed", range(20))
def test_rayleigh_quotients_do_not_feel_the_last_bits_of_vectors(seed):
    """They are rounded correctly, and the same bits for vectors that are off by 1e-11."""
    stream = np.random.default_rng(seed)
    matrix = matrices(1, 9, 6, seed)[0]
    places = np.nonzero(matrix)
    vector = np.linalg.eigh(matrix)[1][:, 0]
    found = rayleigh_quotient(*places, matrix[places], vector)
    x, rows = [Fraction(v) for v in vector.tolist()], [[Fraction(v) for v in row] for row in matrix.tolist()]
    above = sum(a * entry * b for a, row in zip(x, rows, strict=True) for entry, b in zip(row, x, strict=True))
    assert found == float(above / sum(v * v for v in x))
    moved = vector + 1e-11 * stream.standard_normal(9)
    assert rayleigh_quotient(*places, matrix[places], moved) == found
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(found, rel=1e-13)


def machine_made(tree: ast.AST) -> set[str]:
    """Operators and functions whose last bits are up to BLAS, libm or NumPy's choice of instructions."""
    nodes = list(ast.walk(tree))
    found = {"@" for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)}
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.module.startswith("mpiqopt")]
    names |= {alias.name for node in imports for alias in node.names}
    return found | (names & MACHINE_MADE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_comes_from_blas_and_libm(folder):
    """``products``, ``rounding`` and ``streams`` have what stands in for it."""
    found = {
        (path.name, name)
        for path in (PACKAGE / folder).glob("*.py")
        for name in machine_made(ast.parse(path.read_text()))
    }
    assert found <= EXCEPTIONS
