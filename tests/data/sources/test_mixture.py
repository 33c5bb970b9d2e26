"""The Gaussian mixture: what each argument does, exactly; and that the noise is normal."""

import numpy as np
import pytest

from jbn.config import UserError
from jbn.data.sources.mixture import load_mixture

PLAIN = {
    "seed": 3,
    "num_examples": 60,
    "num_features": 5,
    "num_classes": 4,
    "separation": 0.0,
    "offset": 0.0,
    "scale": 1.0,
    "condition": 1.0,
    "drift": 0.0,
}


def mixture(**changes):
    return load_mixture(**(PLAIN | changes))


def values(**changes):
    return mixture(**changes).x.astype(np.float64)


def close(found, wanted, magnitude=4.0):
    """Equal but for float32's rounding of numbers up to that size."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-7 * magnitude)


def test_without_arguments_it_is_standard_normal_noise():
    x = values(num_examples=40_000)
    error = 1 / np.sqrt(40_000)
    np.testing.assert_allclose(x.mean(0), 0, atol=4 * error)
    np.testing.assert_allclose(np.cov(x.T), np.eye(5), atol=5 * error)
    np.testing.assert_allclose((x**4).mean(0), 3, atol=5 * np.sqrt(96) * error)
    np.testing.assert_allclose(np.corrcoef(x[1:, 0], x[:-1, 0])[0, 1], 0, atol=4 * error)


def test_classes_are_of_equal_size_in_random_order():
    source = mixture(num_examples=62)
    assert (source.x.dtype, source.y.dtype) == (np.float32, np.int32)
    assert source.x.shape == (62, 5)
    assert np.bincount(source.y).tolist() == [16, 16, 15, 15]
    assert source.y[:8].tolist() != [0, 1, 2, 3, 0, 1, 2, 3]
    assert source.where == "made from seed 3"


def test_a_seed_gives_the_same_again_and_another_gives_other_data():
    np.testing.assert_array_equal(values(), values())
    assert np.abs(values() - values(seed=4)).min() > 0
    assert mixture().y.tolist() != mixture(seed=4).y.tolist()


def test_scale_multiplies_everything():
    rest = {"separation": 2.0, "offset": 3.0, "condition": 9.0, "drift": 1.0}
    np.testing.assert_array_equal(values(scale=8.0, **rest), 8 * values(**rest))
    close(values(scale=1e9, **rest) / 1e9, values(**rest), magnitude=16)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_offset_is_in_units_of_the_scale(scale):
    moved = values(offset=100.0, scale=scale) - values(scale=scale)
    close(moved / scale, 100.0, magnitude=100)


def test_a_class_mean_lies_separation_standard_deviations_away():
    moved, y = values(separation=7.0) - values(), mixture().y
    means = np.stack([moved[y == label].mean(0) for label in range(4)])
    close(moved, means[y], magnitude=8)
    close(np.linalg.norm(means, axis=1), 7, magnitude=8)
    directions = means / 7
    assert np.abs(directions @ directions.T - np.eye(4)).max() < 0.999  # no two are the same


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e6])
@pytest.mark.parametrize("num_features", [1, 2, 5])
def test_the_covariance_has_the_condition_number(condition, num_features):
    """x is linear in the noise, which is x where the condition number is 1."""
    size = {"num_features": num_features}
    root = np.linalg.lstsq(values(**size), values(condition=condition, **size))[0]
    close(root, root.T, magnitude=condition**0.25)
    found = np.linalg.eigvalsh(root) ** 2
    if num_features == 1:
        wanted = np.ones(1)
    else:
        wanted = np.geomspace(condition**-0.5, condition**0.5, num_features)
    np.testing.assert_allclose(found, wanted, rtol=1e-5 * condition**0.5)
    np.testing.assert_allclose(np.prod(wanted), 1)


def test_the_basis_is_not_that_of_the_features():
    covariance = np.cov(values(condition=100.0, num_examples=5000).T)
    correlation = np.corrcoef(values(condition=100.0, num_examples=5000).T)
    assert np.abs(correlation - np.eye(5)).max() > 0.3
    assert 80 < np.linalg.cond(covariance) < 125


def test_the_condition_number_does_not_change_how_far_apart_the_classes_are():
    """The distance of Mahalanobis from the common mean is the separation."""
    root = np.linalg.lstsq(values(), values(condition=100.0))[0]
    moved = values(condition=100.0, separation=5.0) - values(condition=100.0)
    distances = np.linalg.norm(np.linalg.solve(root, moved.T), axis=0)
    np.testing.assert_allclose(distances, 5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_drift_is_even_and_along_one_direction(scale):
    moved = (values(drift=6.0, scale=scale) - values(scale=scale)) / scale
    close(moved, np.arange(60)[:, None] / 59 * moved[-1], magnitude=8)
    close(np.linalg.norm(moved[-1]), 6, magnitude=8)
    assert np.abs(moved[-1]).min() > 0


def test_what_comes_last_is_the_test_split_of_a_drifting_set():
    assert mixture(drift=1.0).num_test == 6
    assert mixture(drift=1.0, num_examples=99).num_test == 9
    assert mixture().num_test == 0


def test_values_beyond_float32_are_an_error():
    with pytest.raises(UserError, match=r"found values up to [4-9]\.?\d*e\+38, wanted them within"):
        mixture(scale=2e38)
