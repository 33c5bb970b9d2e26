"""Epochs in every order, by what they cover; labels spoilt as often as was asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbn.config import TrainConfig
from jbn.data import epoch_rows, noisy_labels, stacked

# 26 of each of four classes.
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 26)).astype(np.int32)
ORDERS = ["shuffled", "fixed", "sorted", "class_blocked"]


@functools.cache
def epochs(order):
    """The epochs of 50 keys, the same for the same key: 20 batches of 5 examples, and one of 4."""
    keys = jax.random.split(jax.random.key(0), 50)
    keys = jnp.concatenate([keys, keys[:1]])
    of_key = functools.partial(epoch_rows, labels=LABELS, batch_size=5, order=order)
    *found, again = np.asarray(jax.jit(jax.vmap(of_key))(keys))
    np.testing.assert_array_equal(again, found[0])
    return np.stack(found)


def test_these_are_all_orders_that_a_config_knows():
    for order in ORDERS:
        assert TrainConfig(order=order).order == order
    assert TrainConfig().order == "shuffled"
    with pytest.raises(ValueError, match="'sorted' or 'class_blocked'"):
        TrainConfig(order="other")


@pytest.mark.parametrize("order", ORDERS)
def test_an_epoch_has_every_example_once(order):
    for epoch in epochs(order):
        assert sorted(epoch.tolist()) == list(range(104))


@pytest.mark.parametrize("order", ["sorted", "class_blocked"])
def test_batches_that_divide_the_classes_are_of_one_class(order):
    batches = epoch_rows(jax.random.key(0), LABELS, 13, order).reshape(8, 13)
    assert all(len(set(batch)) == 1 for batch in LABELS[batches].tolist())


@pytest.mark.parametrize("order", ["shuffled", "class_blocked"])
def test_each_key_has_its_own_order_and_its_own_last_batch(order):
    assert len({epoch.tobytes() for epoch in epochs(order)}) == 50
    left_out = epochs(order)[:, 100:]
    # Four by each of 50 keys: of each class 50 ± 6; of all examples 104 (1 - (100 / 104)^50) = 89.
    per_class = np.bincount(LABELS[left_out.ravel()])
    assert (np.abs(per_class - 50) < 30).all()
    assert 75 < len(np.unique(left_out)) < 103


def test_shuffled_is_as_random_as_a_shuffle():
    """What comes at a place, over 50 epochs, has the mean and the variance of any example."""
    rows = epochs("shuffled")
    var = (104**2 - 1) / 12
    assert abs(rows.mean(0) - 51.5).max() < 4.5 * np.sqrt(var / 50)
    assert abs(rows.var(0, ddof=1).mean() / var - 1) < 0.1


def test_fixed_is_the_order_of_the_data_and_sorted_that_of_the_classes():
    by_class = np.argsort(LABELS, kind="stable")
    for fixed, sorted_ in zip(epochs("fixed"), epochs("sorted"), strict=True):
        assert fixed.tolist() == list(range(104))
        assert sorted_.tolist() == by_class.tolist()


def test_class_blocked_batches_are_of_one_class_but_where_the_next_begins():
    epochs_in_batches = epochs("class_blocked")[:, :100].reshape(50, 20, 5)
    classes = LABELS[epochs_in_batches]
    mixed = (classes != classes[..., :1]).any(-1).sum(1)
    assert mixed.max() <= 3
    # The batches come in random order, and each is made anew.
    assert len({epoch.tobytes() for epoch in classes[..., 0]}) == 50
    batches = {frozenset(batch) for batch in epochs_in_batches.reshape(-1, 5).tolist()}
    assert len(batches) > 900


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_larger_than_the_data_is_an_error(order):
    with pytest.raises(ValueError, match=r"batch_size: found 105, wanted from 1 to 104, the num"):
        epoch_rows(jax.random.key(0), LABELS, 105, order)


MANY = np.arange(20_000, dtype=np.int32) % 5
SHARES = [0.0, 0.1, 0.5, 1.0]


@functools.cache
def spoilt(seed):
    """MANY with each of SHARES drawn anew."""
    return np.asarray(_noisy(jax.random.key(seed), jnp.array(SHARES)))


@jax.jit
def _noisy(key, shares):
    rows = jnp.arange(len(MANY))
    return jax.vmap(lambda share: noisy_labels(key, MANY, rows, share, 5))(shares)


def test_so_many_labels_are_drawn_anew():
    """A label that is drawn anew is another one four times of five."""
    for share, labels in zip(SHARES, spoilt(0), strict=True):
        wanted = 0.8 * share
        error = np.sqrt(wanted * (1 - wanted) / len(MANY))
        assert abs((labels != MANY).mean() - wanted) <= 5 * error


def test_each_class_is_as_likely():
    anew = spoilt(0)[-1]
    assert anew.dtype == np.int32
    pairs = np.bincount(5 * MANY + anew, minlength=25)  # of the old class and the new
    assert len(pairs) == 25
    assert np.abs(pairs - 800).max() < 5 * np.sqrt(800 * 0.96)


def test_a_larger_share_spoils_what_a_smaller_one_does_and_more():
    for less, more in zip(spoilt(0)[:-1], spoilt(0)[1:], strict=True):
        spoilt_before = less != MANY
        np.testing.assert_array_equal(more[spoilt_before], less[spoilt_before])


def test_the_noise_follows_its_key():
    again = spoilt.__wrapped__(0)
    np.testing.assert_array_equal(again, spoilt(0))
    assert (spoilt(1)[2] != spoilt(0)[2]).mean() > 0.3


def test_the_noise_of_a_label_follows_its_row():
    """Whoever asks, for whichever rows."""
    rows = np.array([19_999, 0, 77])
    found = noisy_labels(jax.random.key(0), MANY[rows], rows, 0.5, 5)
    np.testing.assert_array_equal(found, spoilt(0)[2][rows])


@pytest.mark.parametrize(("num_examples", "most"), [(7, 3), (6, 3), (5, 9), (10, 4), (1, 1)])
def test_a_split_is_stacked_in_few_batches_of_one_size_and_each_example_counts_once(
    num_examples, most
):
    x, y = np.arange(2 * num_examples).reshape(-1, 2), np.arange(num_examples)
    found = stacked(x, y, most)
    num_batches, size = found.y.shape
    assert (num_batches - 1) * most < num_examples <= num_batches * size
    assert size <= most
    weight = np.ones(found.y.shape) if found.weight is None else found.weight
    assert (found.weight is None) == (num_batches * size == num_examples)
    counted = weight.ravel() > 0
    assert set(weight.ravel()) <= {0, 1}
    np.testing.assert_array_equal(found.y.ravel()[counted], y)
    np.testing.assert_array_equal(found.x.reshape(-1, 2)[counted], x)
    assert set(found.y.ravel()) == set(y)  # what fills up is examples, too


def test_as_many_inputs_as_targets():
    with pytest.raises(ValueError, match="found 3 inputs and 2 targets, wanted as many"):
        stacked(np.zeros((3, 1)), np.zeros(2), 2)


def test_an_order_by_class_wants_labels():
    for order in ("sorted", "class_blocked"):
        with pytest.raises(
            ValueError, match=r"labels: found shape \(8, 2\), wanted \(examples,\) "
        ):
            epoch_rows(jax.random.key(0), np.zeros((8, 2)), 4, order)
    assert epoch_rows(jax.random.key(0), np.zeros((8, 2)), 4, "fixed").shape == (8,)


def test_a_split_without_examples_is_an_error():
    with pytest.raises(ValueError, match="found no examples"):
        stacked(np.zeros((0, 1)), np.zeros(0), 2)
