"""A Gaussian mixture made from a seed, as far from zero, ill-conditioned and drifting as asked."""

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
    """Draws examples of equally many (or one more) per class, in the order of time.

    x_i = scale * (offset + A (separation * d_(y_i) + z_i) + drift * i / (n - 1) * u)

    with n examples i = 0 .. n - 1; z_i standard normal; one direction d_c per class and one
    direction u of the drift, each uniform on the unit sphere; A = Q diag(sqrt(v)) Q^T, where Q is a
    random orthogonal basis and the eigenvalues v of the classes' common covariance A A^T fall
    geometrically, with geometric mean 1 and v_first / v_last = condition. So each class mean lies
    `separation` standard deviations, of the direction it lies in, from the common mean, and how
    hard the classes are to tell apart depends on no argument but this one and the drift.

    What is drawn from a seed doesn't depend on separation, offset, scale, condition and drift.

    Args:
        seed: of all that is drawn.
        num_examples: n.
        num_features: of each example.
        num_classes: the labels are 0 .. num_classes - 1.
        separation: of each class mean from the common mean, in standard deviations.
        offset: of the common mean from zero, in units of `scale`, the same for each feature.
        scale: multiplies everything.
        condition: number of the classes' common covariance, 1 or more; 1 is a sphere.
        drift: how far the last example has moved, in units of `scale`.

    Returns:
        x as float32, computed in float64 and rounded once. With a drift the last tenth, n // 10,
        is the set's own test split: what comes later.

    Raises:
        UserError: a value is beyond float32.
    """
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(num_examples) % num_classes)
    means = separation * _directions(random, num_classes, num_features)
    basis = _orthogonal(random, num_features)
    drift_direction = _directions(random, 1, num_features)
    noise = random.standard_normal((num_examples, num_features))

    exponents = np.linspace(0.25, -0.25, num_features)  # of a root: half those of the eigenvalues
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
    """An orthogonal matrix, uniform: QR of Gaussian numbers, R's diagonal made positive."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
