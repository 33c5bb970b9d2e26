"""Data: one split, normalized with its training part alone; batches that cover an epoch."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jbn.config import DataConfig, UserError
from jbn.data import batch_indices, load, normalize_inputs


def test_digits_are_split_once_into_1440_178_and_179():
    raw, labels = load_digits(return_X_y=True)
    dataset = load(DataConfig(normalize="none"))
    splits = (dataset.train, dataset.val, dataset.test)
    assert [len(split.y) for split in splits] == [1440, 178, 179]
    images = np.concatenate([split.x for split in splits])
    split_labels = np.concatenate([split.y for split in splits])
    rows = np.column_stack([images, split_labels]).tolist()
    assert sorted(rows) == sorted(np.column_stack([raw, labels]).tolist())


def test_the_split_follows_its_seed():
    one, again, other = (load(DataConfig(split_seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train.x, again.train.x)
    assert not np.array_equal(one.train.y, other.train.y)
    assert one.sha256 == other.sha256


def test_standardized_inputs_have_mean_0_and_deviation_1_on_the_training_split():
    dataset = load(DataConfig())
    x = dataset.train.x.astype(np.float64)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    varies = dataset.train.x.std(0) > 0
    np.testing.assert_allclose(x.std(0)[varies], 1, atol=1e-6)
    assert np.abs(dataset.val.x.mean(0)).max() > 1e-3  # not with statistics of its own


def test_standardizing_undoes_the_input_scale():
    scaled, plain = load(DataConfig(input_scale=128.0)), load(DataConfig())
    np.testing.assert_allclose(scaled.test.x, plain.test.x, rtol=1e-5, atol=1e-5)


def test_min_max_inputs_fill_0_to_1_on_the_training_split():
    dataset = load(DataConfig(normalize="min_max"))
    x = dataset.train.x
    varies = x.max(0) > x.min(0)
    np.testing.assert_array_equal(x.min(0), 0)
    np.testing.assert_array_equal(x.max(0)[varies], 1)
    assert dataset.val.x.min() >= 0
    assert max(dataset.val.x.max(), dataset.test.x.max()) > 1  # by the training split's numbers


def test_the_largest_input_scale_is_still_normalized():
    """The variance of pixels times 1e15 is a float32."""
    scaled, plain = load(DataConfig(input_scale=1e15)), load(DataConfig())
    np.testing.assert_allclose(scaled.test.x, plain.test.x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalize", ["none", "standardize", "min_max"])
def test_raw_inputs_are_normalized_by_saved_statistics_as_the_splits_were(normalize):
    config = DataConfig(normalize=normalize, input_scale=3.0)
    dataset, raw = load(config), load(DataConfig(normalize="none"))
    assert dataset.input_stats.count.tolist() == [1440] * 64
    x = normalize_inputs(config, dataset.input_stats, raw.test.x)
    np.testing.assert_array_equal(x, dataset.test.x)


def test_raw_inputs_are_pixels_times_the_scale():
    dataset = load(DataConfig(normalize="none", input_scale=100.0))
    assert (dataset.train.x.min(), dataset.train.x.max()) == (0, 1600)


def test_an_epoch_has_every_example_at_most_once_and_no_partial_batch():
    batches = batch_indices(jax.random.key(0), 70, 32)
    assert batches.shape == (2, 32)
    assert len(set(batches.ravel().tolist())) == 64
    everything = batch_indices(jax.random.key(0), 64, 32)
    assert sorted(everything.ravel().tolist()) == list(range(64))
    assert everything.tolist() != batch_indices(jax.random.key(1), 64, 32).tolist()


def test_a_batch_larger_than_the_data_is_an_error():
    with pytest.raises(UserError, match=r"train.batch_size: found 9, wanted at most 8"):
        batch_indices(jax.random.key(0), 8, 9)
