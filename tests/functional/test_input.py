"""Input normalization: statistics of a stream, and what is made of them."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from compiled import jbn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from problems import close, equal, normal, some_mask
from sklearn import clone, preprocessing

import jbn as eager

FEATURES = 3


def data(n=60, offset=0.0):
    columns = np.array([0.1, 1.0, 10.0]) * np.asarray(normal(n, FEATURES)) + [-1.0, 0.0, 5.0]
    return jnp.asarray(offset + columns, jnp.float32)


def of(*batches, **options):
    """The statistics of batches, one after the other."""
    update = functools.partial(jbn.update_input_stats, **options)
    return functools.reduce(update, batches, jbn.init_input_stats(FEATURES))


def exact(x, weights=None):
    """Count, mean, variance, min and max in float64."""
    x = np.asarray(x, np.float64)
    weights = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    count = weights.sum(0)
    mean = np.where(weights > 0, weights * x, 0).sum(0) / count
    var = np.where(weights > 0, weights * (x - mean) ** 2, 0).sum(0) / count
    low, high = (np.where(weights > 0, x, fill) for fill in (np.inf, -np.inf))
    return count, mean, var, low.min(0), high.max(0)


def assert_are(stats, wanted):
    count, mean, var, low, high = wanted
    np.testing.assert_allclose(stats.count, count, rtol=1e-7)
    np.testing.assert_array_less(
        np.abs(stats.mean - mean), 1e-7 * np.abs(mean) + 2e-7 * np.sqrt(var)
    )
    np.testing.assert_allclose(stats.var, var, rtol=2e-6)
    equal(stats.min, low)
    equal(stats.max, high)


def merged(*parts):
    """The statistics of these streams together."""
    return jbn.merge_input_stats(jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))


# Statistics


@pytest.mark.optimized
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize(
    "ends", [[], [1], [30], [1, 2, 3, 59], range(1, 60), [20, 20, 40]], ids=str
)
def test_order_and_split_of_the_data_change_nothing(ends, offset):
    x = data(offset=offset)
    assert_are(of(*jnp.split(x, list(ends))), exact(x))
    assert_are(of(*jnp.split(x[::-1], list(ends))[::-1]), exact(x))


def test_merged_streams_are_one_stream():
    x = data(offset=1e3)
    a, b, c = (of(part) for part in jnp.split(x, [7, 50]))
    for parts in ((a, b, c), (merged(a, b), c), (a, merged(c, b))):
        assert_are(merged(*parts), exact(x))
    assert_are(merged(*(of(part) for part in jnp.split(x, [3, 41]))), exact(x))
    empty = jbn.init_input_stats(FEATURES)
    for parts in ((a,), (a, empty), (empty, a)):
        assert_are(merged(*parts), exact(x[:7]))


@pytest.mark.optimized
def test_a_float32_stream_of_a_thousand_million_values_counts_and_moves_on():
    """After 2**30 values a batch of three is less than half a unit in the last place, 128."""
    stats = of(data(64, offset=1e3))
    for _ in range(24):
        stats = merged(stats, stats)
    assert stats.count[0] == 2**30
    batch, num_batches = data(3, offset=1e3) + 2, 20_000

    @jax.jit
    def feed(stats):
        def step(stats, _):
            return jbn.update_input_stats(stats, batch), None

        return jax.lax.scan(step, stats, length=num_batches)[0]

    new = feed(stats)
    before, after = (np.asarray(x, np.float64) for x in (data(64, offset=1e3), batch))
    total, added = 2.0**30, 3.0 * num_batches
    np.testing.assert_array_equal(in_full(new, "count"), total + added)
    mean = (total * before.mean(0) + added * after.mean(0)) / (total + added)
    moved = in_full(new, "mean") - in_full(stats, "mean")
    np.testing.assert_allclose(moved, mean - before.mean(0), rtol=2e-3)
    squares = total * ((before - mean) ** 2).mean(0) + added * ((after - mean) ** 2).mean(0)
    grown = in_full(new, "std") ** 2 - in_full(stats, "std") ** 2
    np.testing.assert_allclose(grown, squares / (total + added) - before.var(0), rtol=2e-3)


def in_full(stats, name):
    """A number with what its rounding left over."""
    return sum(np.asarray(getattr(part, name), np.float64) for part in (stats, stats.remainders))


@pytest.mark.parametrize("kind", ["mask", "weights"])
def test_masks_and_weights_choose_what_counts(kind):
    weights = some_mask(kind, (60, FEATURES))
    x = jnp.where(np.asarray(weights) != 0, data(), jnp.nan)
    halves = zip(jnp.split(x, 2), jnp.split(weights, 2), strict=True)
    stats = jbn.init_input_stats(FEATURES)
    for part, mask in halves:
        stats = jbn.update_input_stats(stats, part, mask=mask)
    assert_are(stats, exact(x, weights))


def test_missing_values_are_left_out_by_a_mask():
    x = data().at[3, 1].set(jnp.nan).at[10, 2].set(jnp.inf)
    stats = jbn.update_input_stats(jbn.init_input_stats(FEATURES), x, mask=jnp.isfinite(x))
    assert_are(stats, exact(np.where(np.isfinite(x), x, 0), np.isfinite(x)))


def test_a_batch_that_counts_nothing_changes_nothing():
    stats = of(data())
    x = jnp.full((4, FEATURES), jnp.nan)
    new = jbn.update_input_stats(stats, x, mask=jnp.zeros((4, FEATURES), bool))
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(stats), strict=True):
        equal(a, b)


@pytest.mark.parametrize("check_vma", [True, False])
def test_a_batch_over_shards_is_the_whole_batch(check_vma):
    x, mask = data(), jnp.arange(60)[:, None] < 40  # the last shard counts nothing
    update = functools.partial(jbn.update_input_stats, of(data(5)), axis_name="a")
    sharded = jax.shard_map(
        lambda x, mask: update(x, mask=mask),
        mesh=Mesh(np.array(jax.devices()[:4]), "a"),
        in_specs=P("a"),
        out_specs=P(),
        check_vma=check_vma,
    )
    whole = np.concatenate([data(5), x[:40]])
    assert_are(jax.jit(sharded)(x, mask), exact(whole))
    mapped = jax.vmap(lambda x, mask: update(x, mask=mask), axis_name="a")
    stats = mapped(x.reshape(4, 15, FEATURES), mask.reshape(4, 15, 1))
    assert_are(jax.tree.map(lambda v: v[2], stats), exact(whole))


@pytest.mark.parametrize(
    ("features", "axis", "shape"),
    [
        ((5,), None, (2, 3, 5)),
        ((3, 5), None, (2, 3, 5)),
        ((), None, (7,)),
        ((2, 5), (0, -1), (2, 3, 5)),
    ],
    ids=str,
)
def test_features_may_be_any_axes(features, axis, shape):
    x = normal(*shape)
    stats = jbn.update_input_stats(jbn.init_input_stats(features), x, axis=axis)
    kept = tuple(range(len(shape) - len(features), len(shape))) if axis is None else (0, 2)
    others = tuple(a for a in range(len(shape)) if a not in kept)
    close(stats.mean, np.asarray(x, np.float64).mean(others))
    y = np.asarray(jbn.standardize(x, stats, axis=axis), np.float64)
    close(y.mean(others), np.zeros(features))
    close(y.var(others), np.ones(features))


# What is made of them

PAIRS = {
    "standardize": (jbn.standardize, jbn.unstandardize, preprocessing.StandardScaler()),
    "center": (jbn.center, jbn.uncenter, preprocessing.StandardScaler(with_std=False)),
    "rescale": (jbn.rescale, jbn.unrescale, preprocessing.MinMaxScaler()),
    "rescale to a range": (
        functools.partial(jbn.rescale, low=-2.0, high=3.0),
        functools.partial(jbn.unrescale, low=-2.0, high=3.0),
        preprocessing.MinMaxScaler((-2, 3)),
    ),
    "max abs": (jbn.scale_by_max_abs, jbn.unscale_by_max_abs, preprocessing.MaxAbsScaler()),
}
every_pair = pytest.mark.parametrize(("there", "back", "sklearn"), PAIRS.values(), ids=PAIRS)


@every_pair
def test_the_features_may_be_another_axis(there, back, sklearn):
    x = normal(FEATURES, 2, 5)
    stats = jbn.update_input_stats(jbn.init_input_stats(FEATURES), x, axis=0)
    y = there(x, stats, axis=0)
    close(jnp.moveaxis(y, 0, -1), there(jnp.moveaxis(x, 0, -1), stats))
    close(back(y, stats, axis=0), x, 4e-6)


@every_pair
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_numbers_are_those_of_scikit_learn(there, back, sklearn, offset):
    x, new = data(offset=offset), data(9, offset=offset) * 1.5
    sklearn = clone(sklearn)
    for part in jnp.split(x, [20, 21]):
        sklearn = sklearn.partial_fit(np.asarray(part, np.float64))
    stats = of(x)
    y = jax.jit(there)(new, stats)
    wanted = sklearn.transform(np.asarray(new, np.float64))
    np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=2e-6 + 1e-7 * offset)
    close(back(y, stats), new, 4e-6)


def test_standardize_is_keras_normalization():
    x = data()
    layer = keras.layers.Normalization()
    layer.adapt(np.asarray(x))
    close(jbn.standardize(x, of(x)), np.asarray(layer(x)), 4e-6)


@pytest.mark.optimized
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_standardized_data_are_accurate_far_from_zero(offset):
    x = offset + normal(500, FEATURES)
    stats = of(*jnp.split(x, 5))
    exact = np.asarray(x, np.float64)
    exact -= exact.mean(0)
    close(jax.jit(jbn.standardize)(x, stats), exact / exact.std(0), 2e-6)
    close(jax.jit(jbn.center)(x, stats), exact, 2e-6)
    # As constants of the program, of which the compiler makes one where it can.
    column, of_column = x[:, 0], jax.tree.map(lambda value: value[0], stats)
    constant = [
        jax.jit(lambda x, f=f: f(x, of_column, axis=()))(column)
        for f in (jbn.standardize, jbn.center)
    ]
    close(constant, [exact[:, 0] / exact[:, 0].std(), exact[:, 0]], 2e-6)


@pytest.mark.parametrize("name", ["standardize", "center", "rescale"])
@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678, 1e-30])
def test_a_constant_feature_becomes_0_and_comes_back_exactly(name, value):
    there, back, _ = PAIRS[name]
    x = jnp.full((60, FEATURES), value)
    stats = of(*jnp.split(x, [7, 20]))
    y = there(x, stats)
    equal(y, jnp.zeros((60, FEATURES)))
    equal(back(y, stats), x)


@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [("max abs", 0.0, 0.0), ("max abs", 3.0, 1.0), ("rescale to a range", 7.0, -2.0)],
)
def test_a_constant_feature_becomes_what_its_range_says_and_comes_back_exactly(
    name, value, becomes
):
    there, back, _ = PAIRS[name]
    x = jnp.full((6, FEATURES), value)
    y = there(x, of(x))
    equal(y, jnp.full((6, FEATURES), becomes))
    equal(back(y, of(x)), x)


@pytest.mark.parametrize("name", ["standardize", "center", "rescale", "max abs"])
def test_the_statistics_of_no_data_change_nothing(name):
    there, back, _ = PAIRS[name]
    x, stats = data(), jbn.init_input_stats(FEATURES)
    equal(there(x, stats), x)
    equal(back(x, stats), x)


@every_pair
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_16_bits_come_out_as_they_went_in(there, back, sklearn, dtype):
    x = data().astype(dtype)
    stats = of(x)
    assert stats.mean.dtype == jnp.float32
    y = there(x, stats)
    assert y.dtype == dtype
    close(y, there(x.astype(jnp.float32), stats), float(jnp.finfo(dtype).eps))
    z = back(y, stats)
    assert z.dtype == dtype
    close(z, back(y.astype(jnp.float32), stats), float(jnp.finfo(dtype).eps))


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        x = 1e8 + normal(60, FEATURES)
        stats = jbn.update_input_stats(jbn.init_input_stats(FEATURES, jnp.float64), x)
        exact = np.asarray(x, np.longdouble)
        close(jbn.standardize(x, stats), (exact - exact.mean(0)) / exact.std(0), 1e-9)


@pytest.mark.optimized
def test_float32_statistics_of_float64_data_keep_the_digits_of_the_mean():
    with jax.enable_x64(True):
        x = 1e6 + normal(60, FEATURES)
        y = jbn.standardize(x, of(*jnp.split(x, 3)))
        exact = np.asarray(x, np.float64)
        close(y, (exact - exact.mean(0)) / exact.std(0), 1e-6)


# Errors


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (jnp.ones((4, 2)), {}, r"x: found shape \(4, 2\), wanted \(3,\)"),
        (jnp.ones((3, 4)), {"axis": 1}, r"x: found shape \(3, 4\), wanted \(3,\)"),
        (jnp.ones(()), {}, r"x: found shape \(\), wanted one that ends with \(3,\)"),
        (jnp.ones((4, 3)), {"axis": 2}, "axis: found 2"),
    ],
    ids=["features", "axis", "scalar", "no axis"],
)
def test_wrong_features_are_named(x, options, message):
    stats = of(data())
    for function in (jbn.standardize, jbn.rescale):
        with pytest.raises(ValueError, match=message):
            function(x, stats, **options)
    with pytest.raises(ValueError, match=message):
        jbn.update_input_stats(stats, x, **options)


def test_a_range_from_high_to_low_is_named():
    with pytest.raises(ValueError, match=r"low, high: found 1.0 and 0.0"):
        jbn.rescale(data(), of(data()), low=1.0, high=0.0)


def test_streams_of_different_features_are_named():
    stats = of(data())
    for parts, found in (
        (stats._replace(mean=jnp.zeros(2)), r"\(2,\), \(3,\)"),
        (jbn.init_input_stats(()), r"\(\)"),
        (jbn.init_input_stats((0, 3)), r"\(0, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"parts: found shapes {found}, wanted one shape"):
            jbn.merge_input_stats(parts)


# Scales that squares can't have, known statistics, bad entries


@pytest.mark.parametrize("exponent", [-30, -20, -18, 0, 18, 19, 20, 30, 35])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_standardized_as_in_float64_at_every_scale(exponent, offset):
    scale = 10.0**exponent
    x = jnp.asarray(scale * (offset + np.asarray(data(), np.float64)), jnp.float32)
    stats = of(*jnp.split(x, [7, 30]))
    exact_x = np.asarray(x, np.float64)
    np.testing.assert_allclose(stats.std, exact_x.std(0), rtol=2e-6)
    wanted = (exact_x - exact_x.mean(0)) / exact_x.std(0)
    close(jbn.standardize(x, stats), wanted, 2e-5)
    close(jbn.unstandardize(jbn.standardize(x, stats), stats) / scale, exact_x / scale, 1e-4)
    low, high = exact_x.min(0), exact_x.max(0)
    close(jbn.rescale(x, stats), (exact_x - low) / (high - low), 2e-5)
    close(jbn.unrescale(jbn.rescale(x, stats), stats) / scale, exact_x / scale, 1e-4)


@pytest.mark.parametrize(
    "columns",
    [
        3e38 * np.array([[1, -1, 0], [-1, 1, 1], [1, -1, -1], [-1, 1, 1]]),
        1.5e-38 * np.array([[2, 4, 2], [4, 2, 4], [2, 4, 4], [4, 2, 4]]),
    ],
    ids=["largest", "smallest"],
)
def test_the_largest_and_the_smallest_normal_numbers(columns):
    x = jnp.asarray(columns, jnp.float32)
    exact_x = np.asarray(x, np.float64)
    low, high = exact_x.min(0), exact_x.max(0)
    for stats in (of(x), of(x[:1], x[1:])):
        np.testing.assert_allclose(stats.std, exact_x.std(0), rtol=1e-5)
        close(jbn.standardize(x, stats), (exact_x - exact_x.mean(0)) / exact_x.std(0), 1e-5)
        close(jbn.rescale(x, stats), (exact_x - low) / (high - low), 1e-5)


def test_known_statistics_standardize():
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    stats = jbn.known_input_stats(mean, std)
    x = normal(5, 3)
    close(jbn.standardize(x, stats), (np.asarray(x, np.float64) - mean) / std)
    close(jbn.unstandardize(jbn.standardize(x, stats), stats), x)
    for unknown in (jbn.rescale(x, stats), jbn.scale_by_max_abs(x, stats)):
        assert jnp.isnan(unknown).all()


def test_known_statistics_are_merged_with_data():
    x = data()
    exact_x = np.asarray(x[:20], np.float64)
    known = jbn.known_input_stats(exact_x.mean(0), exact_x.std(0), count=20.0)
    stats = jbn.update_input_stats(known, x[20:])
    wanted = exact(x)
    np.testing.assert_allclose(stats.mean, wanted[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(stats.var, wanted[2], rtol=2e-6)


@pytest.mark.parametrize(
    ("mean", "std", "options", "words"),
    [
        ([0.0, 1.0], [1.0], {}, r"std: found shape \(1,\), wanted \(2,\)"),
        ([jnp.nan], [1.0], {}, "mean: found .*, wanted finite numbers"),
        ([0.0], [-1.0], {}, "std: found .*, wanted finite numbers from 0 on"),
        ([0.0], [1.0], {"count": -1.0}, "count: found .*, wanted numbers from 0 on"),
    ],
)
def test_impossible_known_statistics_are_refused(mean, std, options, words):
    with pytest.raises(ValueError, match=words):
        eager.known_input_stats(jnp.array(mean), jnp.array(std), **options)


def test_nan_and_infinity_are_left_out_and_counted():
    x = data().at[3, 1].set(jnp.nan).at[10, 2].set(jnp.inf).at[40, 2].set(-jnp.inf)
    first, second = jnp.split(x, 2)
    for stats in (of(first, second), merged(of(first), of(second))):
        assert_are(stats, exact(np.where(np.isfinite(x), x, 0), np.isfinite(x)))
        equal(stats.num_nonfinite, (~np.isfinite(x)).sum(0))
    mask = np.ones(x.shape, bool)
    mask[3] = False  # what the mask leaves out isn't counted
    stats = jbn.update_input_stats(jbn.init_input_stats(FEATURES), x, mask=mask)
    equal(stats.num_nonfinite, (~np.isfinite(x) & mask).sum(0))


def test_a_batch_of_nothing_finite_changes_nothing():
    stats = of(data())
    new = jbn.update_input_stats(stats, jnp.full((4, FEATURES), jnp.nan))
    equal(new.num_nonfinite, jnp.full(FEATURES, 4))
    jax.tree.map(equal, new._replace(num_nonfinite=stats.num_nonfinite), stats)


@pytest.mark.parametrize(
    "state",
    [
        jbn.init_input_stats(3),
        jbn.known_input_stats(jnp.zeros(3), jnp.ones(3)),
        jbn.init_batch_stats(3),
    ],
    ids=["init_input_stats", "known_input_stats", "init_batch_stats"],
)
def test_every_new_state_can_be_donated(state):
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda v: v + 1, s), donate_argnums=0)(state)
    )
