"""That gamma and beta are affine: what is recorded of them, and when the measure refuses."""

import itertools

import numpy as np
import pytest
from non_linear.collect import POSITIONS, from_affine
from non_linear.measure import measure, outputs
from values import SEED, SPLIT


def rows_of(deviation):
    """Rows of three units in each of two networks."""
    rows = []
    for position, unit, split in itertools.product(POSITIONS, range(3), (200, 201)):
        row = {"position": position, "unit": str(unit), SPLIT: str(split), SEED: str(split)}
        measured = {"gamma": 1 + unit, "beta": -unit, "deviation": deviation}
        rows.append(row | {name: str(value) for name, value in measured.items()})
    return rows


def test_a_deviation_of_rounding_is_the_theorem_and_a_larger_one_is_an_error():
    finding = measure(rows_of(1e-16))
    assert (finding.verdict, finding.num_trainings, finding.num_repeats) == ("refuted", 4, 2)
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    with pytest.raises(ValueError, match=r"deviation from affine of 0\.001"):
        measure(rows_of(1e-3))


def test_units_put_out_gamma_times_x_plus_beta():
    gamma, beta = np.array([0.5, 2.0], np.float32), np.array([1.0, -1.0], np.float32)
    x = np.linspace(-3, 3, 13)[:, None]
    scale = gamma / np.sqrt(1 + 1e-5)  # epsilon
    np.testing.assert_allclose(outputs(gamma, beta), scale * x + beta, atol=1e-5)


def test_the_layer_in_evaluation_is_affine_to_rounding_in_float64():
    found = from_affine(np.array([1.0, -3.0, 0.1]), np.array([0.0, 2.0, 5.0]))
    assert found.shape == (3,)
    assert found.max() < 1e-13
