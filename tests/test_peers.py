"""What goes wrong in Flax's and Keras's batch normalization, each as a law that jbn keeps.

jbn's functions and modules must keep each law, and the peers that `broken_in` names must still
break it, so that nothing we say of them is out of date. Float64 NumPy says what is right.
"""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import reference
from flax import nnx
from problems import close

import jbn.linen
import jbn.nnx

# Each library's batch normalization as a pure function (x, stats, ...) -> (y, stats), without scale
# and bias.


def of_linen(module, x, stats, *, use_running_average, mask=None, **arguments):
    layer = module(use_running_average, use_scale=False, use_bias=False, **arguments)
    variables = {"batch_stats": stats._asdict()}
    y, updates = layer.apply(variables, x, mask=mask, mutable=["batch_stats"])
    return y, jbn.BatchStats(**updates["batch_stats"])


def of_nnx(module, x, stats, *, use_running_average, mask=None, **arguments):
    arguments = {"use_scale": False, "use_bias": False, "rngs": nnx.Rngs(0), **arguments}
    layer = module(stats.mean.size, use_running_average=use_running_average, **arguments)
    layer.mean[...], layer.var[...] = stats
    y = layer(x, mask=mask)
    return y, jbn.BatchStats(layer.mean[...], layer.var[...])


def of_keras(x, stats, *, use_running_average, mask=None, axis=-1, **arguments):
    arguments = {"scale": False, "center": False, "epsilon": 1e-5, **arguments}
    layer = keras.layers.BatchNormalization(axis, **arguments)
    layer.build(x.shape)
    if mask is not None:
        mask = jnp.squeeze(mask, axis)  # one dimension less than x has, as Keras wants it
    y, stats = layer.stateless_call([], stats, x, training=not use_running_average, mask=mask)
    return y, jbn.BatchStats(*stats)


LIBRARIES = {
    "jbn": jbn.batch_norm,
    "jbn.linen": functools.partial(of_linen, jbn.linen.BatchNorm),
    "jbn.nnx": functools.partial(of_nnx, jbn.nnx.BatchNorm),
    "flax.linen": functools.partial(of_linen, nn.BatchNorm),
    "flax.nnx": functools.partial(of_nnx, nnx.BatchNorm),
    "flax.linen accurate": functools.partial(of_linen, nn.BatchNorm, use_fast_variance=False),
    "flax.nnx accurate": functools.partial(of_nnx, nnx.BatchNorm, use_fast_variance=False),
    "keras": of_keras,
}
JBN = ("jbn", "jbn.linen", "jbn.nnx")
FLAX = ("flax.linen", "flax.nnx")
ACCURATE_FLAX = ("flax.linen accurate", "flax.nnx accurate")


def train(library, x, stats, **arguments):
    """y and the new running statistics."""
    return LIBRARIES[library](x, stats, use_running_average=False, **arguments)


def evaluate(library, x, stats, **arguments):
    """y by the running statistics."""
    return LIBRARIES[library](x, stats, use_running_average=True, **arguments)[0]


def broken_in(*peers, by=(AssertionError, pytest.fail.Exception), words="", kept_by=JBN):
    """Makes a test of a law `(library, ...)`: jbn keeps it, and these peers break it.

    Args:
        peers: names of libraries.
        by: what the law raises for a peer. By default what `assert` does, and `pytest.raises`
            where nothing was raised.
        words: part of what that exception says.
        kept_by: jbn's counterparts.
    """

    def make(law):
        @pytest.mark.parametrize("library", [*kept_by, *peers])
        @functools.wraps(law)
        def test(library, **arguments):
            if library in JBN:
                law(library, **arguments)
                return
            try:
                law(library, **arguments)
            except by as breach:
                if not re.search(words, str(breach)):
                    raise
            else:
                pytest.fail(f"{library} fixed this: say so in the docs")

        return test

    return make


def normal(*shape, mean=0.0, std=1.0):
    return jnp.asarray(np.random.default_rng(0).normal(mean, std, shape), jnp.float32)


def moved(stats, x, *, momentum=0.99, mask=None):
    """The running statistics after one more batch, in float64."""
    _, mean, var = reference.batch_norm(x, mask=mask)
    return jbn.BatchStats(
        reference.running(stats.mean, mean, momentum), reference.running(stats.var, var, momentum)
    )


def evaluated(x, stats):
    """y by the running statistics, in float64."""
    x, mean, var = (np.asarray(v, np.float64) for v in (x, *stats))
    return (x - mean) / np.sqrt(var + 1e-5)


STATS = jbn.BatchStats(jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 2.0, 3.0]))
X = normal(6, 3, mean=2, std=3)
MASK = jnp.arange(6)[:, None] < 4
PARTS = jnp.stack([X, 5 - X])  # on two replicas, or one after the other
WHOLE = PARTS.reshape(12, 3)
FAR = normal(64, 3, mean=1000, std=0.1)


# Far from zero


@pytest.mark.optimized
@broken_in(*FLAX)
def test_the_variance_is_right_far_from_zero(library):
    """google/flax#1491: E[x²] - E[x]² has no digits left; 0 and 17 instead of 0.01."""
    _, stats = train(library, FAR, STATS, momentum=0.0)
    np.testing.assert_allclose(stats.var, moved(STATS, FAR, momentum=0.0).var, rtol=1e-6)


@pytest.mark.optimized
@broken_in(*FLAX, *ACCURATE_FLAX, "keras")
def test_the_result_is_right_far_from_zero(library):
    """google/flax#1491; and an accurate variance leaves the rounding of the mean in y."""
    y, _ = train(library, FAR, STATS)
    close(y, reference.batch_norm(FAR).y)


@broken_in("keras")
def test_evaluation_subtracts_the_mean_before_it_scales(library):
    """keras/src/backend/jax/nn.py: x * inv - mean * inv cancels, however exact the mean is."""
    x, stats = normal(64, 3, mean=1e4, std=0.1), jbn.BatchStats(jnp.full(3, 1e4), jnp.full(3, 0.01))
    close(evaluate(library, x, stats), evaluated(x, stats))


@broken_in("flax.nnx")
def test_evaluation_in_bfloat16_does_not_round_the_running_mean(library):
    """flax/nnx/nn/normalization.py: `promote_dtype` rounds x and mean first; 0 instead of 19.1."""
    x, stats = jnp.full((2, 1), 1000.5), jbn.BatchStats(jnp.array([1000.3]), jnp.array([1e-4]))
    y = evaluate(library, x, stats, dtype=jnp.bfloat16)
    close(y, evaluated(x, stats), float(jnp.finfo(jnp.bfloat16).eps))


# Bad batches


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@broken_in(*FLAX, "keras")
def test_one_bad_batch_leaves_the_running_statistics(library, bad):
    """pytorch/pytorch#88474: what isn't finite stays in the average for good."""
    _, stats = train(library, X.at[2].set(bad), STATS)
    _, stats = train(library, X, stats)
    close(stats, moved(STATS, X))


@broken_in(*FLAX, "keras")
def test_a_batch_that_counts_nothing_leaves_the_running_statistics(library):
    """pytorch/pytorch#88474, by way of a mask: Flax averages in NaN, Keras variance 0."""
    _, stats = train(library, X, STATS, mask=jnp.zeros((6, 1), bool))
    close(stats, STATS)


@broken_in(*FLAX, "keras")
def test_nan_under_the_mask_stays_out_of_the_gradient(library):
    """jax-ml/jax#26328: 0 times NaN in the backward pass, though the loss has no NaN."""
    x, dy = jnp.where(MASK, X, jnp.nan), jnp.where(MASK, normal(6, 3), 0)
    _, vjp = jax.vjp(lambda x: train(library, x, STATS, mask=MASK)[0], x)
    exact, *_ = reference.batch_norm_vjp(x, dy, mask=MASK)
    close(vjp(dy), [exact], 1e-5)


@broken_in(*FLAX, "keras")
def test_one_value_per_channel_is_no_batch_to_train_with(library):
    """pytorch/pytorch#4534: y is 0 whatever x is, the running variance decays; nobody is told."""
    with pytest.raises(ValueError, match="one value per channel"):
        train(library, X[:1], STATS)


# Masks, axes and complex numbers


@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types")
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@broken_in("flax.nnx")
def test_the_running_mean_of_complex_input_is_complex(library):
    """flax/nnx/nn/normalization.py: assigned to real numbers, it loses its imaginary part."""
    x, stats = jax.lax.complex(X, 1 + 2 * X), jbn.init_batch_stats(3)
    if library == "jbn":
        stats = jbn.init_batch_stats(3, jnp.complex64)
    _, stats = train(library, x, stats, momentum=0.0)
    close(stats.mean, reference.batch_norm(x).mean.squeeze(0))


@broken_in("keras", by=IndexError, words="out of range")
def test_a_mask_goes_with_a_single_channel(library):
    """keras/src/layers/normalization/batch_normalization.py: `squeeze` drops the channel too."""
    x = X[:, :1]
    y, _ = train(library, x, jbn.init_batch_stats(1), mask=MASK)
    close(y, reference.batch_norm(x, mask=MASK).y)


@broken_in("keras", by=ValueError, words="broadcasting")
def test_a_mask_goes_with_any_feature_axis(library):
    """The same file: the mask is put beside the last axis, wherever the features are."""
    x, mask = normal(4, 3, 5), jnp.arange(5) < jnp.array([5, 4, 2, 0])[:, None, None]
    y, _ = train(library, x, STATS, axis=1, mask=mask)
    close(y, reference.batch_norm(x, axis=1, mask=mask).y)


@broken_in("keras", by=TypeError, words=r"int\(\)", kept_by=("jbn", "jbn.linen"))
def test_there_may_be_several_feature_axes(library):
    """keras-team/keras#12126."""
    x = normal(4, 3, 5)
    y, _ = train(library, x, jbn.init_batch_stats((4, 5)), axis=(0, 2))
    close(y, reference.batch_norm(x, axis=(0, 2)).y)


# Replicas


def train_on_replicas(library, mask=None, **arguments):
    """The running statistics that each of two replicas has after its part of the batch."""

    def replica(x, mask):
        return train(library, x, STATS, mask=mask, **arguments)[1]

    return jax.vmap(replica, axis_name="replica")(PARTS, mask)


def twice(stats):
    """The same for each replica."""
    return jbn.BatchStats(*(np.stack([value, value]) for value in stats))


@pytest.mark.parametrize("count", [2, 0])
@broken_in(*FLAX)
def test_replicas_have_a_say_by_what_they_count(library, count):
    """google/flax#2417: a mean of means; NaN on all replicas if one of them counts nothing."""
    mask = jnp.arange(6)[:, None] < jnp.array([6, count])[:, None, None]
    stats = train_on_replicas(library, mask, axis_name="replica")
    close(stats, twice(moved(STATS, WHOLE, mask=mask.reshape(12, 1))))


@broken_in("keras", by=ValueError, words="only supported with the TensorFlow backend")
def test_replicas_can_share_statistics(library):
    """keras-team/keras#18667: synchronized, but not on JAX."""
    shared = {"axis_name": "replica"} if library in JBN else {"synchronized": True}
    close(train_on_replicas(library, **shared), twice(moved(STATS, WHOLE)))


@broken_in(*FLAX, by=NameError, words="unbound axis name")
def test_an_unbound_axis_name_is_an_error_that_names_the_argument(library):
    """google/flax#2606: a NameError from inside JAX."""
    with pytest.raises(ValueError, match="axis_name: found 'replica'"):
        train(library, X, STATS, axis_name="replica")


@broken_in(*FLAX)
def test_an_unbound_axis_name_with_groups_is_an_error_too(library):
    """google/flax#2606: the typo that its maintainers feared would go unnoticed, and does."""
    with pytest.raises(ValueError, match="axis_name: found 'replica'"):
        train(library, X, STATS, axis_name="replica", axis_index_groups=[[0]])


# Running statistics over several steps


@broken_in(*FLAX, "keras")
def test_evaluation_after_a_short_run_is_training(library):
    """keras-team/keras#7265: after 5 steps at 0.99 the initial values still weigh 0.95.

    jbn says which momentum each step wants; the peers have one number.
    """
    stats = jbn.init_batch_stats(3)
    for step in range(5):
        momentum = float(jbn.ema_momentum(step, 0.99)) if library in JBN else 0.99
        _, stats = train(library, X, stats, momentum=momentum)
    close(evaluate(library, X, stats), reference.batch_norm(X).y)


@broken_in(*FLAX, "keras")
def test_micro_batches_move_the_running_statistics_once(library):
    """keras-team/keras#16633: with accumulated gradients each micro-batch moves them."""
    if library in JBN:
        parts = jax.vmap(lambda x: train(library, x, STATS, momentum=0.0)[1])(PARTS)
        batch = jbn.merge_batch_stats(parts, jnp.array([6.0, 6.0]))
        stats = jbn.interpolate_batch_stats(STATS, batch, 1 - 0.9)
    else:
        stats = STATS
        for x in PARTS:
            _, stats = train(library, x, stats, momentum=0.9)
    close(stats, moved(STATS, WHOLE, momentum=0.9))


@broken_in(*FLAX, "keras")
def test_a_momentum_outside_0_to_1_is_an_error(library):
    """keras-team/keras#23623: the running statistics run away from the batches'."""
    with pytest.raises(ValueError, match=r"momentum: found 1\.5"):
        train(library, X, STATS, momentum=1.5)
