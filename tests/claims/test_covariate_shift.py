"""Noise after batch norm: its verdicts, and what it does to each unit."""

import itertools

import jax
import numpy as np
import pytest
import sigmoids
from covariate_shift import collect
from covariate_shift.measure import measure
from values import SEED, SPLIT


def rows_of(lost):
    """Rows whose accuracies are 90% less `lost(arm, epoch)` points, give or take a tenth."""
    noise = np.random.default_rng(0)
    found = []
    for arm, rate, split in itertools.product(collect.NETS, sigmoids.RATES, sigmoids.REPEATS):
        row = {"arm": arm, "learning_rate": f"{rate:g}", SPLIT: str(split), SEED: str(split)}
        row |= dict.fromkeys(collect.MEASURES, "0.5")
        for name in collect.ACCURACIES:
            points = 90 - lost(arm, int(name.split("_")[1])) - 0.1 * noise.random()
            row[name] = str(points / 100)
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        (lambda arm, epoch: 20 * ("noisy" in arm), "holds"),
        (lambda arm, epoch: 20 * ("very" in arm), "holds partly"),
        (lambda arm, epoch: 5 * ("noisy" in arm and epoch < 60), "refuted"),
        (lambda arm, epoch: 30 * (arm == "no_norm"), "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(lost, verdict):
    finding = measure(rows_of(lost))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert (finding.num_trainings, finding.num_repeats) == (200, 10)


@pytest.mark.parametrize("arm", ["noisy_batch_norm", "very_noisy_batch_norm"])
def test_noise_has_another_mean_and_scale_of_each_unit_in_each_step(arm):
    noise = collect.NETS[arm].noise
    x = np.random.default_rng(0).normal(size=(20_000, 200)).astype(np.float32)
    keys = [jax.random.key(n) for n in (0, 1)]
    first, second = (np.asarray(sigmoids.add_noise(key, x, noise), float) for key in keys)
    low, high = noise.scale
    for noisy in (first, second):
        means = noisy.mean(0) - x.mean(0)
        assert np.ptp(means) == pytest.approx(2 * noise.mean, rel=0.1)
        slopes = ((noisy - noisy.mean(0)) * x).mean(0) / x.var(0)
        assert slopes.min() == pytest.approx(low, abs=0.05)
        assert slopes.max() == pytest.approx(high, abs=0.05)
        # What is left differs from example to example: two uniform terms, one of them times x.
        left = noisy - noisy.mean(0) - slopes * (x - x.mean(0))
        assert left.std() == pytest.approx(noise.example * np.sqrt(2 / 3), rel=0.02)
    assert abs(np.corrcoef(first.mean(0), second.mean(0))[0, 1]) < 0.3


@pytest.mark.slow
def test_accuracies_are_without_noise(monkeypatch):
    """The parameters before the first step are those of the network that has none."""
    monkeypatch.setattr(sigmoids, "RATES", (0.1,))

    def nothing(*_):
        return {}

    found = [
        sigmoids.train_probed(collect.NETS[arm], nothing, [2, 3], num_epochs=1)
        for arm in ("batch_norm", "very_noisy_batch_norm")
    ]
    for name in sigmoids.ACCURACIES:
        plain, noisy = (of[name] for of in found)
        np.testing.assert_array_equal(plain[..., 0], noisy[..., 0])
        assert (plain[..., 1] != noisy[..., 1]).all()
