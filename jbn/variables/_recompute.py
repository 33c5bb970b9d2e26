"""Population statistics: those of all data, for the current parameters (Precise BN)."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jbn._layers import batch_moments, is_evaluation
from jbn.functional._arguments import max_num_shards
from jbn.functional._mask import select, zero_like
from jbn.functional._moments import merge_shifted_moments
from jbn.functional._shifted import ShiftedMoments

# Of a layer by its path.
LayerMoments = Mapping[tuple[Any, ...], ShiftedMoments]

# Variables beside mean and var: the moments of a layer's inputs, and its epsilon for each channel.
_NAME = "moments"
_EPSILON = "layer_epsilon"
FROZEN = "is_frozen"  # the attribute of a layer that normalizes with its running statistics


def recompute_batch_stats(
    apply: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]],
    variables: Mapping[str, Any],
    x: Any,
    *,
    batch_size: int,
) -> dict[str, Any]:
    """The batch statistics of a Linen model over all of x, instead of a running average.

        mean = E[x]        var = E[(x - mean)²]        over all entries of all batches

    for each batch normalization, jbn's or Flax's, where x is the layer's input. The layers before
    it normalize with their batch's statistics, as in training. The moments of the batches are
    merged exactly, each weighted by its count. So layers may have masks, and batches may differ in
    size. Call this when the running statistics don't fit the parameters: after a short training,
    for an average of the weights, or after loading. It is one `jax.lax.scan` over the batches, or
    two if there are two batch sizes; `jax.jit` compiles it whole.

    Args:
        apply: `apply(variables, batch)` calls the model in training mode, with `batch_stats`
            mutable, and returns `(y, updates)` as `model.apply` does. It must not be a compiled
            function.
        variables: `params` and `batch_stats`.
        x: an array with a leading axis of examples, or a tree of such arrays.
        batch_size: the largest number of examples in a batch. There are as few batches as possible,
            and their sizes differ by at most one: 127 examples at 64 make batches of 64 and 63. So
            no small last batch spoils the inputs of later layers. (Ghost batch norm needs sizes
            that its virtual batch size divides.) With larger batches, the inputs of the layers are
            nearer to their inputs in evaluation.

    Returns:
        The new `batch_stats`, with the shapes and dtypes of the old ones. A layer that normalized
        with its running statistics keeps them. A channel in which nothing counted keeps its own.

    Raises:
        ValueError: x has no examples, its arrays have different numbers of examples, `batch_size`
            is below 1, or no layer normalized with its batch's statistics.

    Example:
        >>> import functools, jax, jax.numpy as jnp, jbn.linen
        >>> from jbn.variables import recompute_batch_stats
        >>> model = jbn.linen.BatchNorm(use_running_average=False)
        >>> x = jnp.array([[1.0], [2.0], [3.0], [6.0], [8.0]])
        >>> variables = model.init(jax.random.key(0), x)
        >>> apply = functools.partial(model.apply, mutable=["batch_stats"])
        >>> print(recompute_batch_stats(apply, variables, x, batch_size=3))
        {'mean': Array([4.], dtype=float32), 'var': Array([6.8], dtype=float32)}

    References:
        Wu and Johnson, 2021, Rethinking "Batch" in BatchNorm, arXiv:2105.07576, Section 3.
    """
    totals = moments_over_batches(functools.partial(layer_moments, apply, variables), x, batch_size)
    return stats_of_moments(variables["batch_stats"], totals)


def layer_moments(
    apply: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]],
    variables: Mapping[str, Any],
    batch: Any,
) -> LayerMoments:
    """The moments of what each batch normalization takes, by the path of the layer.

    `apply` is as in `recompute_batch_stats`. A layer that normalized with its running statistics
    has none.
    """
    with nn.intercept_methods(_record):
        _, updates = apply(variables, batch)
    return _recorded(updates, _NAME)


def output_and_epsilons(
    apply: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]],
    variables: Mapping[str, Any],
    batch: Any,
) -> tuple[Any, Mapping[tuple[Any, ...], Array]]:
    """The output, and the epsilon of each batch normalization, for each of its channels.

    `apply` is as in `recompute_batch_stats`.
    """
    with nn.intercept_methods(_record):
        y, updates = apply(variables, batch)
    return y, _recorded(updates, _EPSILON)


def _recorded(updates: Mapping[str, Any], name: str) -> dict[tuple[Any, ...], Any]:
    flat = flatten_dict(updates.get("batch_stats", {}))
    return {path[:-1]: value for path, value in flat.items() if path[-1] == name}


def merge_layer_moments(parts: LayerMoments) -> LayerMoments:
    """The moments of all batches together; those of the batches are stacked along the first axis.

    Raises:
        ValueError: no layer normalized with its batch's statistics.
    """
    if not parts:
        raise ValueError(
            "use_running_average: found no batch normalization that takes its batch's statistics, "
            "wanted the model in training mode, and not compiled by itself"
        )
    return {layer: merge_shifted_moments(moments) for layer, moments in parts.items()}


def stats_of_moments(batch_stats: Mapping[str, Any], totals: LayerMoments) -> dict[str, Any]:
    """The `batch_stats` with the moments in them; the old ones where nothing counted."""
    stats = flatten_dict(batch_stats)
    return unflatten_dict({path: _recomputed(totals, path, old) for path, old in stats.items()})


def recompute_nnx_batch_stats(model: nnx.Module, x: Any, *, batch_size: int) -> nnx.State[Any, Any]:
    """The batch statistics of an NNX model over all of x, as a state for `nnx.update`.

    Args:
        model: called as `model(batch)` in its current mode, so call `model.train()` before. It
            isn't changed.
        x, batch_size: as in `jbn.variables.recompute_batch_stats`.

    Returns:
        The `nnx.BatchStat` variables of the model.

    Raises:
        ValueError: as `jbn.variables.recompute_batch_stats`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> from jbn.variables import recompute_nnx_batch_stats
        >>> model = jbn.nnx.BatchNorm(1, rngs=nnx.Rngs(0))
        >>> x = jnp.array([[1.0], [2.0], [3.0], [6.0], [8.0]])
        >>> nnx.update(model, recompute_nnx_batch_stats(model, x, batch_size=3))
        >>> print(model.mean[...], model.var[...])
        [4.] [6.8]

    References:
        Wu and Johnson, 2021, arXiv:2105.07576, Section 3.
    """
    graphdef, state = nnx.split(model)

    def moments_of(batch: Any) -> LayerMoments:
        copy: Any = nnx.merge(graphdef, state, copy=True)
        recorded = record_nnx_moments(copy)
        copy(batch)
        return recorded()

    stats = nnx.to_flat_state(nnx.state(model, nnx.BatchStat))
    totals = moments_over_batches(moments_of, x, batch_size)
    return nnx.from_flat_state(
        (path, variable.replace(_recomputed(totals, path, variable[...])))
        for path, variable in stats
    )


def record_nnx_moments(model: nnx.Module) -> Callable[[], LayerMoments]:
    """Makes each batch normalization of the model keep the moments of what it takes.

    Returns:
        A function that returns them, of the layers that normalized with their batch's statistics.
    """
    nodes: list[tuple[tuple[Any, ...], Any]] = list(nnx.iter_graph(model))
    layers: dict[tuple[Any, ...], Any] = {
        path: node for path, node in nodes if isinstance(node, nnx.BatchNorm)
    }
    seen: list[Any] = []
    for layer in layers.values():
        zero = jnp.zeros_like(layer.var[...])
        layer.layer_epsilon = nnx.BatchStat(zero + layer.epsilon)
        layer.moments = nnx.BatchStat(ShiftedMoments(zero, zero, zero, zero))
        layer.__class__ = _recording(type(layer), seen)

    def recorded() -> LayerMoments:
        return {p: node.moments.get_value() for p, node in layers.items()} if seen else {}

    return recorded


def _record(
    next_call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Calls a Linen batch normalization and stores its input's moments beside `mean` and `var`."""
    layer = context.module
    if not isinstance(layer, nn.BatchNorm) or context.method_name != "__call__":
        return next_call(*args, **kwargs)
    call = inspect.signature(nn.BatchNorm.__call__).bind(layer, *args, **kwargs).arguments
    y = next_call(*args, **kwargs)
    var: Array = layer.get_variable("batch_stats", "var")
    layer.put_variable("batch_stats", _EPSILON, jnp.zeros_like(var) + layer.epsilon)
    if _has_running_average(layer, call.get("use_running_average")):
        return y
    now = batch_moments(layer, call["x"], mask=call.get("mask"))
    if layer.has_variable("batch_stats", _NAME):  # a second call in one batch
        now = _merge_two(layer.get_variable("batch_stats", _NAME), now)
    layer.put_variable("batch_stats", _NAME, now)
    return y


def freeze_norm(layer: nnx.BatchNorm) -> None:
    """Makes an NNX layer normalize with its running statistics, whatever it is told."""
    layer_class: Any = type(layer)

    class Frozen(layer_class):  # type: ignore[misc]  # Flax's or jbn's, known at run time
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            call = inspect.signature(layer_class.__call__).bind(self, *args, **kwargs)
            call.arguments["use_running_average"] = True
            return layer_class.__call__(*call.args, **call.kwargs)

    layer.__class__ = Frozen
    setattr(layer, FROZEN, True)


def _has_running_average(layer: Any, told: bool | None) -> bool:
    return getattr(layer, FROZEN, False) or is_evaluation(layer, told)


def _recording(layer_class: type, seen: list[Any]) -> type:
    """A subclass of an NNX batch normalization that merges its inputs' moments in `moments`."""

    class Recording(layer_class):  # type: ignore[misc]  # Flax's or jbn's, known at run time
        def __call__(
            self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
        ) -> Array:
            y = super().__call__(x, use_running_average, mask=mask)
            if _has_running_average(self, use_running_average):
                return y
            seen.append(True)
            now = batch_moments(self, x, mask=mask)
            self.moments.set_value(_merge_two(self.moments.get_value(), now))
            return y

    return Recording


def _merge_two(a: ShiftedMoments, b: ShiftedMoments) -> ShiftedMoments:
    # Only what is sharded alike can be stacked: zeros carry each one's sharding to the other.
    pairs = (
        jnp.stack([one + zero_like(other), other + zero_like(one)])
        for one, other in zip(a, b, strict=True)
    )
    return merge_shifted_moments(ShiftedMoments(*pairs))


def moments_over_batches(
    moments_of: Callable[[Any], LayerMoments], x: Any, batch_size: int
) -> LayerMoments:
    """The moments of all batches of x together, by layer."""
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    num_examples = sum(lengths.pop()) if len(lengths) == 1 else 0  # 0 for a scalar, too
    if num_examples == 0:
        raise ValueError(
            f"x: found shapes {[jnp.shape(leaf) for leaf in jax.tree.leaves(x)]}, wanted the same "
            "number of examples, at least one, along the first axis of each"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, wanted at least 1")
    start, parts = 0, []
    for number, size in even_batches(num_examples, batch_size):
        stop = start + number * size
        cut = functools.partial(batches_of, start=start, stop=stop, size=size)
        parts.append(jax.lax.map(moments_of, jax.tree.map(cut, x)))
        start = stop
    return merge_layer_moments(jax.tree.map(lambda *v: jnp.concatenate(v), *parts))


def even_batches(num_examples: int, most: int) -> list[tuple[int, int]]:
    """How many batches of which size: as few as can be, whose sizes differ by at most one.

    A small last batch would be normalized differently.

    >>> even_batches(127, 64), even_batches(9, 3)
    ([(1, 64), (1, 63)], [(3, 3)])
    """
    num_batches = math.ceil(num_examples / most)
    size, num_larger = divmod(num_examples, num_batches)
    parts = [(num_larger, size + 1), (num_batches - num_larger, size)]
    return [(number, size) for number, size in parts if number]


def batches_of(x: Array, start: int, stop: int, size: int) -> Array:
    """Examples `start` to `stop` of x in batches: shape `(batches, size, ...)`.

    If x is sharded over an explicit mesh, each batch is sharded as x is, or lies on every device if
    the devices don't divide it.
    """

    def cut(x: Array) -> Array:
        return x[start:stop].reshape(-1, size, *x.shape[1:])

    sharding = jax.typeof(x).sharding
    batch_axis, *others = sharding.spec
    if batch_axis is None:
        return cut(x)
    whole = size % max_num_shards(x, 0) == 0
    spec = P(None, batch_axis if whole else None, *others)
    return jax.sharding.auto_axes(cut, out_sharding=NamedSharding(sharding.mesh, spec))(x)


def _recomputed(totals: Mapping[Any, ShiftedMoments], path: tuple[Any, ...], old: Array) -> Array:
    """The new statistic at the path; the old one where nothing counted."""
    *layer, name = path
    if tuple(layer) not in totals or name not in ("mean", "var"):
        return old
    count, shift, offset, var = totals[tuple(layer)]
    return select(count > 0, shift + offset if name == "mean" else var, old).astype(old.dtype)
