"""Bad input: an error that names the argument, what was found and what was wanted."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import jbn

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def no_shape_checks_but_jbn_own():
    """Users have no jaxtyping hook: what they see is jbn's own word."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


X = jnp.ones((4, 5, 3))


def stats(mean=(3,), var=(3,), dtype=jnp.float32):
    return jbn.BatchStats(jnp.zeros(mean, dtype), jnp.ones(var, dtype))


BAD = {
    # name: (arguments, exception, what was found, what was wanted)
    "x of integers": ({"x": X.astype(int)}, TypeError, "x:", "int32", "float32"),
    "x of booleans": ({"x": X > 0}, TypeError, "x:", "bool", "float32"),
    "complex x, real mean": ({"x": X * 1j}, TypeError, "stats.mean:", "float32", "complex"),
    "complex mean, real x": (
        {"stats": jbn.init_batch_stats(3, jnp.complex64)},
        TypeError, "stats.mean:", "complex64", "float32",
    ),
    "complex scale, real x": (
        {"scale": 1j * jnp.ones(3)}, TypeError, "scale:", "complex64", "float32",
    ),
    "complex bias, real x": (
        {"bias": 1j * jnp.ones(3)}, TypeError, "bias:", "complex64", "float32",
    ),
    "complex variance": (
        {"x": X * 1j, "stats": stats(dtype=jnp.complex64)},
        TypeError, "stats.var:", "complex64", "float32",
    ),
    "real dtype for a complex x": (
        {"x": X * 1j, "stats": jbn.init_batch_stats(3, jnp.complex64), "dtype": jnp.float32},
        TypeError, "dtype:", "float32", "complex",
    ),
    "axis too large": ({"axis": 3}, ValueError, "axis:", "3", "-3 to 2"),
    "axis too small": ({"axis": -4}, ValueError, "axis:", "-4", "-3 to 2"),
    "axis repeated": ({"axis": (1, 1)}, ValueError, "axis:", "(1, 1)", "distinct"),
    "axis repeated from the end": ({"axis": (2, -1)}, ValueError, "axis:", "(2, -1)", "distinct"),
    "axis no integer": ({"axis": 1.0}, TypeError, "axis:", "1.0", "integers"),
    "axis a word": ({"axis": "channels"}, TypeError, "axis:", "channels", "integers"),
    "axis None": ({"axis": None}, TypeError, "axis:", "None", "integers"),
    "axes of no integers": ({"axis": (0, 0.5)}, TypeError, "axis:", "(0, 0.5)", "integers"),
    "scale too long": ({"scale": jnp.ones(4)}, ValueError, "scale:", "(4,)", "(3,)"),
    "scale a scalar": ({"scale": jnp.float32(1)}, ValueError, "scale:", "()", "(3,)"),
    "scale of size 1": ({"scale": jnp.ones(1)}, ValueError, "scale:", "(1,)", "(3,)"),
    "scale as wide as x": ({"scale": jnp.ones((1, 3))}, ValueError, "scale:", "(1, 3)", "(3,)"),
    "scale of integers": ({"scale": jnp.ones(3, int)}, TypeError, "scale:", "int32", "float32"),
    "bias too long": ({"bias": jnp.ones(4)}, ValueError, "bias:", "(4,)", "(3,)"),
    "bias of integers": ({"bias": jnp.ones(3, int)}, TypeError, "bias:", "int32", "float32"),
    "mean too long": ({"stats": stats(mean=(4,))}, ValueError, "stats.mean:", "(4,)", "(3,)"),
    "var too long": ({"stats": stats(var=(4,))}, ValueError, "stats.var:", "(4,)", "(3,)"),
    "stats of size 1": ({"stats": stats((1,), (1,))}, ValueError, "stats.mean:", "(1,)", "(3,)"),
    "stats of integers": ({"stats": stats(dtype=int)}, TypeError, "stats.mean:", "int32", "float"),
    "stats of another axis": ({"axis": 1}, ValueError, "stats.mean:", "(3,)", "(5,)"),
    "stats of one of two axes": ({"axis": (1, 2)}, ValueError, "stats.mean:", "(3,)", "(5, 3)"),
    "stats a pair": ({"stats": tuple(stats())}, TypeError, "stats:", "tuple", "BatchStats"),
    "stats a dict": ({"stats": stats()._asdict()}, TypeError, "stats:", "dict", "BatchStats"),
    "stats None": ({"stats": None}, TypeError, "stats:", "NoneType", "BatchStats"),
    "mask too short": ({"mask": jnp.ones(2, bool)}, ValueError, "mask:", "(2,)", "(4, 5, 3)"),
    "mask of rows": ({"mask": jnp.ones(4, bool)}, ValueError, "mask:", "(4,)", "(4, 5, 3)"),
    "mask of more dimensions": (
        {"mask": jnp.ones((1, 4, 5, 3), bool)}, ValueError, "mask:", "(1, 4, 5, 3)", "(4, 5, 3)",
    ),
    "mask of integers": ({"mask": jnp.ones((4, 5, 3), int)}, TypeError, "mask:", "int32", "bool"),
    "mask of complex numbers": ({"mask": X * 1j}, TypeError, "mask:", "complex64", "floating"),
    "weights too short": ({"mask": jnp.ones(2)}, ValueError, "mask:", "(2,)", "(4, 5, 3)"),
    "momentum above 1": ({"momentum": 1.5}, ValueError, "momentum:", "1.5", "0 to 1"),
    "momentum below 0": ({"momentum": -0.1}, ValueError, "momentum:", "-0.1", "0 to 1"),
    "momentum NaN": ({"momentum": float("nan")}, ValueError, "momentum:", "nan", "0 to 1"),
    "momentum a JAX number": (
        {"momentum": jnp.float32(1.5)}, ValueError, "momentum:", "1.5", "0 to 1",
    ),
    "momentum None": ({"momentum": None}, TypeError, "momentum:", "None", "0 to 1"),
    "epsilon of several": ({"epsilon": jnp.ones(2)}, ValueError, "epsilon:", "[1. 1.]", "0 to"),
    "epsilon a word": ({"epsilon": "1"}, TypeError, "epsilon:", "'1'", "0 to"),
    "dtype of integers": ({"dtype": jnp.int32}, TypeError, "dtype:", "int32", "floating"),
    "no mode": (
        {"use_running_average": None}, TypeError, "use_running_average:", "None", "True or False",
    ),
    "statistics missing": (
        {"stats": jbn.BatchStats(None, None)}, TypeError, "stats.mean:", "None", "an array",
    ),
    "axis_name a number": ({"axis_name": 3}, TypeError, "axis_name:", "3", "a name"),
    "epsilon below 0": ({"epsilon": -1e-5}, ValueError, "epsilon:", "-1e-05", "0 to"),
    "epsilon NaN": ({"epsilon": float("nan")}, ValueError, "epsilon:", "nan", "0 to"),
    "axis_name unbound": ({"axis_name": "batch"}, ValueError, "axis_name:", "'batch'", "jax.vmap"),
    "one of two axis_names unbound": (
        {"axis_name": ("batch", "data")}, ValueError, "axis_name:", "'batch'", "jax.vmap",
    ),
    "groups without axis_name": (
        {"axis_index_groups": [[0, 1]]},
        ValueError, "axis_index_groups:", "without an axis_name", "both",
    ),
    "one value per channel": ({"x": X[:1, :1]}, ValueError, "x:", "(1, 1, 3)", "at least two"),
    "no value per channel": ({"x": X[:0]}, ValueError, "x:", "(0, 5, 3)", "at least two"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "exception", "words"), [(a, e, w) for a, e, *w in BAD.values()], ids=BAD
)
def test_bad_input_is_named_with_what_was_found_and_what_was_wanted(arguments, exception, words):
    arguments = {"x": X, "stats": stats(), "use_running_average": False, **arguments}
    with pytest.raises(exception) as raised:
        jbn.batch_norm(**arguments)
    message = str(raised.value)
    assert message.startswith(words[0])
    for word in ("found", *words[1:]):
        assert word in message
    assert "wanted" in message


def test_an_axis_name_bound_elsewhere_is_named():
    def shard(x):
        return jbn.batch_norm(x, stats(), use_running_average=False, axis_name="data")[0]

    with pytest.raises(ValueError, match="axis_name: found 'data'"):
        jax.vmap(shard, axis_name="batch")(X)


def test_evaluation_takes_one_value_per_channel_and_none():
    for x in (X[:1, :1], X[:0]):
        y, _ = jbn.batch_norm(x, stats(), use_running_average=True)
        assert y.shape == x.shape


def test_one_value_per_shard_is_enough_where_there_are_several_shards():
    def shard(x):
        return jbn.batch_norm(x, stats(), use_running_average=False, axis_name="batch")[0]

    assert jax.vmap(shard, axis_name="batch")(X[:, :1]).shape == (4, 1, 3)


@pytest.mark.parametrize("field", ["momentum", "epsilon"])
def test_the_ends_of_the_range_are_in_it(field):
    for value in (0.0, 0, 1.0, 1):
        y, _ = jbn.batch_norm(X, stats(), use_running_average=False, **{field: value})
        assert y.shape == X.shape


MOMENTS = {
    "x of integers": ({"x": X.astype(int)}, TypeError, "x:", "int32"),
    "axis out of range": ({"reduction_axes": (0, 3)}, ValueError, "reduction_axes:", "(0, 3)"),
    "axis repeated": ({"reduction_axes": (0, 0)}, ValueError, "reduction_axes:", "(0, 0)"),
    "mask too short": ({"mask": jnp.ones((2, 3), bool)}, ValueError, "mask:", "(2, 3)"),
    "mask of integers": ({"mask": X.astype(int)}, TypeError, "mask:", "int32"),
    "axis_name unbound": ({"axis_name": "batch"}, ValueError, "axis_name:", "'batch'"),
}


@pytest.mark.parametrize(("arguments", "exception", "name", "found"), MOMENTS.values(), ids=MOMENTS)
def test_moments_name_bad_input_too(arguments, exception, name, found):
    with pytest.raises(exception) as raised:
        jbn.moments(**{"x": X, "reduction_axes": 0, **arguments})
    assert str(raised.value).startswith(name)
    assert f"found {found}" in str(raised.value).replace("shape ", "").replace("dtype ", "")


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_update_names_a_bad_momentum(momentum):
    with pytest.raises(
        ValueError, match=f"momentum: found {momentum}, wanted a number from 0 to 1"
    ):
        jbn.update_batch_stats(stats(), jbn.moments(X, (0, 1)), momentum=momentum)


def test_normalize_names_an_x_of_integers():
    with pytest.raises(TypeError, match="x: found dtype int32"):
        jbn.normalize(X.astype(int), jnp.zeros((1, 1, 3)), jnp.ones((1, 1, 3)))


def test_normalize_names_complex_statistics_of_a_real_x():
    with pytest.raises(TypeError, match="mean: found dtype complex64"):
        jbn.normalize(X, jnp.zeros((1, 1, 3), jnp.complex64), jnp.ones((1, 1, 3)))


def test_statistics_that_do_not_go_together_are_named():
    with pytest.raises(TypeError, match=r"b\.mean: found dtype complex64"):
        jbn.interpolate_batch_stats(stats(), jbn.init_batch_stats(3, jnp.complex64), 0.5)
    with pytest.raises(ValueError, match=r"b: found shape \(1,\), wanted \(3,\)"):
        jbn.interpolate_batch_stats(stats(), stats((1,), (1,)), 0.5)
    with pytest.raises(TypeError, match="var: found dtype complex64"):
        jbn.normalize(jax.lax.complex(X, X), X[:1, :1], jax.lax.complex(X, X)[:1, :1])


@pytest.mark.parametrize(
    "arguments",
    [{"r_max": 0.5}, {"d_max": -1.0}, {"num_r_steps": 10}, {"num_d_steps": 10}],
    ids=str,
)
def test_a_schedule_of_limits_that_cannot_be_is_named(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: found"):
        jbn.renorm_limits(0, num_plain_steps=20, **arguments)


def test_limits_may_open_at_once():
    assert jbn.renorm_limits(11, num_plain_steps=10, num_r_steps=10, num_d_steps=10) == (3, 5)


def test_renorm_names_a_complex_x():
    limits, stats = jbn.RenormLimits(3.0, 5.0), jbn.init_batch_stats(3, jnp.complex64)
    with pytest.raises(TypeError, match="x: found dtype complex64"):
        jbn.batch_renorm(jax.lax.complex(X, X), stats, use_running_average=False, limits=limits)


def test_a_mask_of_examples_gets_the_hint_that_it_needs_features():
    x = jnp.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"did you mean mask\[\.\.\., None\]\?"):
        jbn.layer_norm(x, mask=jnp.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"did you mean mask\[\.\.\., None, None\]\?"):
        jbn.layer_norm(x, mask=jnp.ones(2, bool))


# In a process of its own: here the types of arguments are checked, and a list is no array.
LISTS = """
import jax, jax.numpy as jnp, jbn
rows = [[1.0, 2.0], [3.0, 6.0]]
stats = jbn.init_batch_stats(2)
limits = jbn.renorm_limits(0)
for function in (
    jbn.layer_norm,
    jbn.rms_norm,
    jbn.weight_standardize,
    lambda x: jbn.moments(x, 0),
    lambda x: jbn.batch_norm(x, stats, use_running_average=False),
    lambda x: jbn.batch_renorm(x, stats, use_running_average=False, limits=limits),
    lambda x: jbn.merge_batch_stats(jbn.BatchStats(x, x), [1.0, 2.0]),
    lambda x: jbn.merge_moments(jbn.Moments(x, x, x)),
    lambda x: jbn.interpolate_batch_stats(jbn.BatchStats(x, x), jbn.BatchStats(x, x), 0.5),
    lambda x: jbn.standardize(x, jbn.known_input_stats([1.0, 2.0], [3.0, 4.0])),
):
    found, wanted = function(rows), function(jnp.array(rows))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found, wanted))
"""


def test_lists_are_taken_as_arrays():
    subprocess.run([sys.executable, "-c", LISTS], check=True)
