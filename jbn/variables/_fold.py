"""Folds batch normalization, which is affine in evaluation, into the layer before or after it."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float

from jbn._layers import is_evaluation

_LAYERS = (nn.Dense, nn.Conv, nn.ConvTranspose)


class Fold(NamedTuple):
    """A batch normalization and the layer that it folds into, as paths such as "block/conv"."""

    norm: str
    layer: str
    layer_is_before: bool  # before the norm, rather than after it
    epsilon: float
    feature_axis: int = -1  # the output axis of the layer's kernel


class Folded(NamedTuple):
    """Variables without the folded norms, the largest output difference, and the other norms.

    `unfolded` maps the path of each norm that is still there to the reason.
    """

    variables: dict[str, Any]
    largest_difference: Float[Array, ""]
    unfolded: Mapping[str, str]


def fold_batch_norm(
    apply: Callable[[Any, Any], Any],
    folded_apply: Callable[[Any, Any], Any],
    variables: Mapping[str, Any],
    x: Any,
) -> Folded:
    """Variables with which a Linen model without its batch normalizations computes the same.

    In evaluation a batch normalization is y = x k + c with k = scale / sqrt(var + epsilon) and
    c = bias - mean k. It is folded into the Dense, Conv (grouped and depthwise too) or
    ConvTranspose right before it,

        kernel' = kernel k        bias' = bias k + c

    or else into the Dense right after it:

        kernel' = k kernel        bias' = bias + c kernel

    A call of the model shows which layers these are. Layers that are scanned, or called several
    times together with their norm, are folded too. Nothing else may use the values between norm
    and layer. To check that, compare the largest difference with the size of the outputs.

    Args:
        apply: `apply(variables, x)` calls the model in evaluation; it must not be a compiled
            function.
        folded_apply: the same for the model without the norms. Its other layers keep their names,
            and they have biases. With jbn's models it is the model with `norm=None`.
        variables: `params` and `batch_stats`.
        x: a batch.

    Returns:
        `Folded(variables, largest_difference, unfolded)`: `params`, and `batch_stats` if any
        remain; the largest absolute difference between the two models' outputs for x; the norms
        that are still in the variables, each with the reason.

    Raises:
        ValueError: no norm could be folded, or one normalizes with its batch's statistics.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> from flax import linen as nn
        >>> from jbn.variables import fold_batch_norm
        >>> model = nn.Sequential([nn.Dense(3), jbn.linen.BatchNorm(use_running_average=True)])
        >>> x = jax.random.normal(jax.random.key(0), (8, 2))
        >>> variables = model.init(jax.random.key(1), x)
        >>> folded = fold_batch_norm(model.apply, nn.Sequential([nn.Dense(3)]).apply, variables, x)
        >>> print(list(folded.variables["params"]), bool(folded.largest_difference < 1e-6))
        ['layers_0'] True

    References:
        Jacob et al., 2018, Quantization and Training of Neural Networks, arXiv:1712.05877,
        Section 3.2.
    """
    folds, unfolded = find_folds(apply, variables, x)
    if not folds:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in unfolded.items())
        raise ValueError(
            "apply: found no batch normalization that can be folded, wanted at least one "
            f"({reasons or 'the model has no batch normalization'})"
        )
    folded = fold_into_layers(variables, folds)
    difference = jnp.abs(apply(variables, x) - folded_apply(folded, x))
    return Folded(folded, jnp.max(difference, initial=0), unfolded)


def fold_into_layers(variables: Mapping[str, Any], folds: Sequence[Fold]) -> dict[str, Any]:
    """The variables after these folds, of a Linen model, or of an NNX model as pure dicts.

    Layers that `nn.scan` or `nn.vmap` stacks are folded one by one. Their variables are stacked
    along the first axis. Partitioned parameters stay partitioned; a new bias is not.

    Args:
        variables: `params` and `batch_stats`.
        folds: which norm goes into which layer.

    Returns:
        `params`, and `batch_stats` if any remain.

    Raises:
        ValueError: the variables don't have a fold's path, or the shapes don't fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.variables import Fold, fold_into_layers
        >>> params = {"dense": {"kernel": jnp.ones((2, 1))}, "norm": {"scale": jnp.array([4.0])}}
        >>> stats = {"norm": {"mean": jnp.array([1.0]), "var": jnp.array([4.0])}}
        >>> fold = Fold("norm", "dense", layer_is_before=True, epsilon=0.0)
        >>> folded = fold_into_layers({"params": params, "batch_stats": stats}, [fold])
        >>> print(folded["params"]["dense"]["kernel"].ravel(), folded["params"]["dense"]["bias"])
        [2. 2.] [-2.]

    References:
        Jacob et al., 2018, arXiv:1712.05877, Section 3.2.
    """
    boxed = flatten_dict(variables["params"], sep="/")
    params = nn.meta.unbox(boxed)
    stats = nn.meta.unbox(flatten_dict(variables["batch_stats"], sep="/"))
    for fold in folds:
        for collection, path in ((stats, f"{fold.norm}/var"), (params, f"{fold.layer}/kernel")):
            if path not in collection:
                raise ValueError(f"folds: found {path!r}, wanted one of {', '.join(collection)}")
        mean, var = stats[f"{fold.norm}/mean"], stats[f"{fold.norm}/var"]
        stats = {path: v for path, v in stats.items() if not path.startswith(f"{fold.norm}/")}
        scale = params.pop(f"{fold.norm}/scale", jnp.ones_like(var))
        norm_bias = params.pop(f"{fold.norm}/bias", jnp.zeros_like(var))
        kernel = params[f"{fold.layer}/kernel"]
        bias = params.get(f"{fold.layer}/bias", jnp.zeros(var.shape[:-1]))
        _check_shapes(fold, kernel.shape, var.shape)
        fold_one: Any = functools.partial(_fold_one, fold)
        for _ in var.shape[:-1]:  # stacked layers
            fold_one = jax.vmap(fold_one)
        new_kernel, new_bias = fold_one(kernel, bias, scale, norm_bias, mean, var)
        params[f"{fold.layer}/kernel"] = new_kernel.astype(kernel.dtype)
        params[f"{fold.layer}/bias"] = new_bias.astype(kernel.dtype)
    for path, box in boxed.items():
        if path in params and isinstance(box, nn.meta.AxisMetadata):
            params[path] = box.replace_boxed(params[path])
    folded = {"params": unflatten_dict(params, sep="/")}
    return {**folded, "batch_stats": unflatten_dict(stats, sep="/")} if stats else folded


def _check_shapes(fold: Fold, kernel: tuple[int, ...], var: tuple[int, ...]) -> None:
    axis = fold.feature_axis if fold.layer_is_before else -2
    stack = var[:-1]
    has_all_axes = len(kernel) >= len(stack) + 2
    if not (has_all_axes and kernel[: len(stack)] == stack and kernel[axis] == var[-1]):
        raise ValueError(
            f"folds: found {fold.norm}/var of shape {var} and {fold.layer}/kernel of shape "
            f"{kernel}, wanted as many features in both (axis {axis} of the kernel), and stacked "
            "layers along the first axis"
        )


def _fold_one(
    fold: Fold, kernel: Array, bias: Array, scale: Array, norm_bias: Array, mean: Array, var: Array
) -> tuple[Array, Array]:
    """Kernel and bias of one layer."""
    k = scale * lax.rsqrt(var + fold.epsilon)
    c = norm_bias - mean * k
    if not fold.layer_is_before:
        return k[:, None] * kernel, bias + c @ kernel
    along = [1] * kernel.ndim
    along[fold.feature_axis] = k.size
    return kernel * k.reshape(along), bias * k + c


def find_folds(
    apply: Callable[[Any, Any], Any], variables: Mapping[str, Any], x: Any
) -> tuple[list[Fold], dict[str, str]]:
    """The possible folds of a Linen model, and why its other norms have none.

    Args:
        apply, variables, x: as in `fold_batch_norm`. The model is only traced, not computed.

    Returns:
        A list of `Fold`; and of each other norm the path, and the reason why it can't be folded.

    Raises:
        ValueError: a norm normalizes with its batch's statistics.
    """
    found: dict[str, Fold | str] = {}  # by the norm's path

    # A new function: JAX wouldn't call a function again that it has traced already.
    def trace(*args: Any) -> None:
        calls = _Calls({}, {})
        with nn.intercept_methods(functools.partial(_watch, calls)):
            apply(*args)
        for path, of_norm in calls.norms.items():  # here, for no tracer may leave its trace
            found[path] = _fold_of(path, of_norm, calls.layers)

    jax.eval_shape(trace, variables, x)
    folds = [fold for fold in found.values() if isinstance(fold, Fold)]
    return folds, {path: reason for path, reason in found.items() if isinstance(reason, str)}


def _watch(calls: "_Calls", next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Calls a method of a module, and keeps what norms and layers got and gave."""
    y = next_call(*args, **kwargs)
    module, path = context.module, "/".join(context.module.path)
    # Not isinstance: a subclass may do something else with its kernel.
    is_layer = type(module) in _LAYERS
    if context.method_name != "__call__" or not (is_layer or isinstance(module, nn.BatchNorm)):
        return y
    call = inspect.signature(type(module).__call__).bind(module, *args, **kwargs).arguments
    if is_layer:
        calls.layers.setdefault(path, []).append(_Call(module, call["inputs"], y))
        return y
    if not is_evaluation(module, call.get("use_running_average")):
        raise ValueError(
            f"apply: found {path} normalizing with its batch's statistics, wanted the model in "
            "evaluation"
        )
    calls.norms.setdefault(path, []).append(_Call(module, call["x"], y))
    return y


class _Call(NamedTuple):
    module: Any
    x: Any
    y: Any


class _Calls(NamedTuple):
    """By the path of each module, in their order."""

    norms: dict[str, list[_Call]]
    layers: dict[str, list[_Call]]


def _fold_of(
    path: str, calls: Sequence[_Call], layers: Mapping[str, Sequence[_Call]]
) -> Fold | str:
    """The fold of the norm that has these calls, or the reason why it has none."""
    norm = calls[0].module
    if norm.axis not in (-1, jnp.ndim(calls[0].x) - 1):
        return f"it normalizes axis {norm.axis}, not the last"
    xs, ys = [call.x for call in calls], [call.y for call in calls]
    before = {layer: [call.y for call in of_it] for layer, of_it in layers.items()}
    after = {
        layer: [call.x for call in of_it]
        for layer, of_it in layers.items()
        if type(of_it[0].module) is nn.Dense
    }
    for values, beside in ((xs, before), (ys, after)):
        names = [layer for layer, theirs in beside.items() if any(map(_is_in(theirs), values))]
        if not names:
            continue
        if len(names) > 1:
            return f"it has several layers beside it: {', '.join(names)}"
        (name,) = names
        if len(values) != len(beside[name]) or not all(map(_is_in(beside[name]), values)):
            return f"{name} is beside it in some calls, but not in all"
        layer = layers[name][0].module
        feature_axis = -2 if getattr(layer, "transpose_kernel", False) else -1
        return Fold(path, name, beside is before, norm.epsilon, feature_axis)
    return (
        "no Dense, Conv or ConvTranspose is right before it and no Dense right after it, or the "
        "norm has a transformation of its own (nn.remat) that hides them"
    )


def _is_in(values: Sequence[Any]) -> Callable[[Any], bool]:
    return lambda value: any(value is other for other in values)
