"""Inputs normalized by the training split's statistics, as scikit-learn and NumPy do it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jbn.config import DataConfig
from jbn.data import fit_inputs, load, normalization_of, normalize_by
from jbn.data import normalize_inputs as in_eager_mode

normalize_inputs = jax.jit(in_eager_mode, static_argnums=0)
NORMALIZERS = ["none", "standardize", "min_max"]
IMAGES = np.random.default_rng(0).integers(0, [50, 256, 100], (40, 4, 5, 3), np.uint8)


def fitted(x, **keys):
    """A config and the statistics of x."""
    config = DataConfig(**keys)
    return config, fit_inputs(config, x)


@pytest.mark.parametrize(
    ("normalize", "scaler"), [("standardize", StandardScaler), ("min_max", MinMaxScaler)]
)
def test_features_are_normalized_as_scikit_learn_does(normalize, scaler):
    config = DataConfig(name="breast_cancer", normalize=normalize)
    dataset = load(config)
    judge = scaler().fit(dataset.train.x.astype(np.float64))
    for split in (dataset.train, dataset.val, dataset.test):
        y = normalize_inputs(config, dataset.input_stats, split.x)
        np.testing.assert_allclose(y, judge.transform(split.x), rtol=1e-5, atol=1e-5)


def test_each_pixel_is_a_feature_and_a_constant_one_becomes_0():
    config = DataConfig()
    dataset = load(config)
    assert dataset.input_stats.count.shape == (8, 8, 1)
    assert (dataset.input_stats.count == 1440).all()
    y = np.asarray(normalize_inputs(config, dataset.input_stats, dataset.train.x), np.float64)
    varies = dataset.train.x.std(0) > 0
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(0), varies, atol=1e-6)
    assert not varies.all()


def test_statistics_are_those_of_all_blocks(monkeypatch):
    monkeypatch.setattr("jbn.data.preprocess._BLOCK_SIZE", 100)  # 11 rows: three blocks and a rest
    x = np.random.default_rng(1).normal(3, 2, (37, 9)).astype(np.float32)
    _, stats = fitted(x)
    whole = x.astype(np.float64)
    assert (np.asarray(stats.count) == 37).all()
    np.testing.assert_allclose(stats.mean, whole.mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats.std, whole.std(0), rtol=1e-6)
    np.testing.assert_array_equal(stats.min, x.min(0))
    np.testing.assert_array_equal(stats.max, x.max(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_are_normalized_over_all_their_pixels(dtype):
    config, stats = fitted(IMAGES.astype(dtype), normalize_per="channel")
    assert stats.count.tolist() == [800] * 3
    x = IMAGES.astype(np.float64)
    wanted = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    y = normalize_inputs(config, stats, IMAGES[:7].astype(dtype))
    np.testing.assert_allclose(y, wanted[:7], rtol=1e-5, atol=1e-5)

    config, stats = fitted(IMAGES.astype(dtype), normalize_per="channel", normalize="min_max")
    low, high = x.min((0, 1, 2)), x.max((0, 1, 2))
    y = normalize_inputs(config, stats, IMAGES.astype(dtype))
    np.testing.assert_allclose(y, (x - low) / (high - low), rtol=1e-6)


def test_channels_of_a_table_are_its_features():
    x = IMAGES.reshape(-1, 3)
    (_, per_feature), (_, per_channel) = (
        fitted(x, normalize_per=per) for per in ("feature", "channel")
    )
    jax.tree.map(np.testing.assert_array_equal, per_feature, per_channel)


@pytest.mark.parametrize("normalize", NORMALIZERS)
def test_bytes_are_normalized_as_the_same_floats(normalize):
    config, stats = fitted(IMAGES, normalize=normalize)
    y = normalize_inputs(config, stats, IMAGES)
    assert y.dtype == jnp.float32
    floats = IMAGES.astype(np.float32)
    np.testing.assert_array_equal(y, normalize_inputs(config, fit_inputs(config, floats), floats))


def test_inputs_that_are_not_normalized_are_scaled():
    config, stats = fitted(IMAGES, normalize="none", input_scale=100.0)
    np.testing.assert_array_equal(normalize_inputs(config, stats, IMAGES), IMAGES * 100.0)
    scales = jnp.array([1.0, 0.25, 1e15])  # one for each lane of a sweep
    lanes = jax.jit(
        jax.vmap(lambda scale: normalize_inputs(config, stats, IMAGES, input_scale=scale))
    )(scales)
    for y, scale in zip(lanes, scales.tolist(), strict=True):
        np.testing.assert_array_equal(y, IMAGES * np.float32(scale))


@pytest.mark.parametrize("normalize", ["standardize", "min_max"])
def test_normalized_multiples_are_the_same_numbers(normalize):
    """So the scale is left out; powers of two are exact, and 2^49 is near the largest scale."""
    config, stats = fitted(IMAGES, normalize=normalize, input_scale=2.0**49)
    y = normalize_inputs(config, stats, IMAGES)
    np.testing.assert_array_equal(normalize_inputs(config, stats, IMAGES, input_scale=3.0), y)
    multiples = IMAGES * np.float32(2**49)
    scaled = normalize_inputs(config, fit_inputs(config, multiples), multiples)
    np.testing.assert_allclose(scaled, y, rtol=1e-6, atol=1e-6)


def test_a_batch_is_normalized_as_the_whole_is_compiled_or_not():
    config, stats = fitted(IMAGES)
    np.testing.assert_allclose(
        in_eager_mode(config, stats, IMAGES[:8]),
        normalize_inputs(config, stats, IMAGES)[:8],
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("normalize", NORMALIZERS)
def test_as_a_number_it_is_the_same_to_the_bit(normalize):
    config = DataConfig(normalize=normalize, input_scale=3.0)
    stats = fit_inputs(config, IMAGES)
    by_number = jax.jit(normalize_by)(normalization_of(config, stats), IMAGES, 3.0)
    np.testing.assert_array_equal(by_number, normalize_inputs(config, stats, IMAGES))
