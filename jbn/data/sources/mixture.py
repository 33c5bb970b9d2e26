"""A Gaussian mixture made from a seed: its offset, condition and drift are arguments."""

import numpy as np

from jbn.config import UserError
from jbn.data.sources.source import Source


def load_mixture(
    *,
    seed: int,
    num_examples: int,
    num_features: int,
    num_classes: int,
    separation: float,
    offset: float,
    scale: float,
    condition: float,
    drift: float,
) -> Source:
    """Draws examples in the order of time. The sizes of two classes differ by at most one.

    x_i = scale * (offset + A (separation * d_(y_i) + z_i) + drift * i / (n - 1) * u)

    The examples are i = 0 .. n - 1, and y_i is the class of example i. z_i is standard normal. Each
    class c has a direction d_c, and the drift has a direction u; all are uniform on the unit
    sphere. A = Q diag(sqrt(v)) Q^T, with a random orthogonal basis Q. The eigenvalues v fall
    geometrically, their geometric mean is 1, and v_first / v_last = condition.

    So without a drift every class has the covariance scale^2 A A^T, and the Mahalanobis distance of
    its mean from the common mean, scale * offset, is `separation`. The offset, the scale and the
    condition don't change how hard the classes are to tell apart.

    What is drawn depends only on the first four arguments.

    Args:
        seed: of everything that is drawn.
        num_examples: n.
        num_features: the number of features of an example.
        num_classes: the labels are 0 .. num_classes - 1.
        separation: the distance of each class mean from the common mean, in standard deviations.
        offset: the common mean of every feature, in units of `scale`.
        scale: multiplies everything.
        condition: the condition number of the covariance, at least 1; 1 is a sphere.
        drift: how far the last example has moved, in units of `scale`.

    Returns:
        x is float32, computed in float64 and rounded once. If `drift` is above 0, the last n // 10
        examples are the set's own test split.

    Raises:
        UserError: a value is too large for float32.
    """
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(num_examples) % num_classes)
    means = separation * _directions(random, num_classes, num_features)
    basis = _orthogonal(random, num_features)
    drift_direction = _directions(random, 1, num_features)
    noise = random.standard_normal((num_examples, num_features))

    exponents = np.linspace(0.25, -0.25, num_features)  # of roots: half those of the eigenvalues
    roots = condition ** (exponents - exponents.mean())
    root = (basis * roots) @ basis.T  # A
    time = np.linspace(0, 1, num_examples)[:, None]
    x = scale * (offset + (means[y] + noise) @ root + drift * time * drift_direction)
    largest = np.abs(x).max(initial=0)
    if largest > np.finfo(np.float32).max:
        raise UserError(
            f"data: found values up to {largest:.3g}, wanted them within float32; choose a smaller "
            "scale, offset, separation or drift"
        )
    num_test = num_examples // 10 if drift > 0 else 0
    return Source(x.astype(np.float32), y.astype(np.int32), num_test, f"made from seed {seed}")


def _directions(random: np.random.Generator, count: int, num_features: int) -> np.ndarray:
    """Rows uniform on the unit sphere, shape (count, num_features)."""
    rows = random.standard_normal((count, num_features))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _orthogonal(random: np.random.Generator, size: int) -> np.ndarray:
    """A uniform orthogonal matrix: Q of Gaussian numbers, with R's diagonal made positive."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
