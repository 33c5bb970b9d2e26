"""Folds batch normalization, which is affine in evaluation, into the layer before or after it."""

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
    """Variables without the folded norms, the largest output difference, and the other norms."""

    variables: dict[str, Any]
    largest_difference: Float[Array, ""]
    unfolded: tuple[str, ...]


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

    A call of the model shows which layers these are. Nothing else may use the values between norm
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
        remain; the largest absolute difference between the two models' outputs for x; the paths of
        the norms that fit no layer and are still in the variables.

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
        raise ValueError(
            "apply: found no batch normalization that a Dense or Conv can take in (the norms are: "
            f"{', '.join(unfolded) or 'none'}), wanted one right after or before such a layer"
        )
    folded = fold_into_layers(variables, folds)
    difference = jnp.abs(apply(variables, x) - folded_apply(folded, x))
    return Folded(folded, jnp.max(difference, initial=0), unfolded)


def fold_into_layers(variables: Mapping[str, Any], folds: Sequence[Fold]) -> dict[str, Any]:
    """The variables after these folds, of a Linen model, or of an NNX model as pure dicts.

    Args:
        variables: `params` and `batch_stats`.
        folds: which norm goes into which layer.

    Returns:
        `params`, and `batch_stats` if any remain.

    Raises:
        ValueError: the variables don't have a fold's path.

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
    params = flatten_dict(variables["params"], sep="/")
    stats = flatten_dict(variables["batch_stats"], sep="/")
    for fold in folds:
        for collection, path in ((stats, f"{fold.norm}/var"), (params, f"{fold.layer}/kernel")):
            if path not in collection:
                raise ValueError(f"folds: found {path!r}, wanted one of {', '.join(collection)}")
        mean, var = stats[f"{fold.norm}/mean"], stats[f"{fold.norm}/var"]
        stats = {path: v for path, v in stats.items() if not path.startswith(f"{fold.norm}/")}
        scale = params.pop(f"{fold.norm}/scale", jnp.ones_like(var))
        k = scale * lax.rsqrt(var + fold.epsilon)
        c = params.pop(f"{fold.norm}/bias", jnp.zeros_like(var)) - mean * k
        kernel = params[f"{fold.layer}/kernel"]
        bias = params.get(f"{fold.layer}/bias", 0)
        if fold.layer_is_before:
            along = [1] * kernel.ndim
            along[fold.feature_axis] = k.size
            new_kernel, new_bias = kernel * k.reshape(along), bias * k + c
        else:
            new_kernel, new_bias = k[:, None] * kernel, bias + c @ kernel
        params[f"{fold.layer}/kernel"] = new_kernel.astype(kernel.dtype)
        params[f"{fold.layer}/bias"] = new_bias.astype(kernel.dtype)
    folded = {"params": unflatten_dict(params, sep="/")}
    return {**folded, "batch_stats": unflatten_dict(stats, sep="/")} if stats else folded


def find_folds(
    apply: Callable[[Any, Any], Any], variables: Mapping[str, Any], x: Any
) -> tuple[list[Fold], tuple[str, ...]]:
    """The possible folds of a Linen model, and the paths of the norms without a fold.

    Args:
        apply, variables, x: as in `fold_batch_norm`. The model is only traced, not computed.

    Returns:
        A list of `Fold`, and the paths of the other norms.

    Raises:
        ValueError: a norm normalizes with its batch's statistics.
    """
    norms: dict[str, tuple[nn.BatchNorm, Any, Any]] = {}  # path -> layer, input, output
    layers: list[tuple[str, Any, Any, Any]] = []  # path, layer, input, output
    calls: list[str] = []

    def watch(next_call, args, kwargs, context):
        y = next_call(*args, **kwargs)
        layer, path = context.module, "/".join(context.module.path)
        # Not isinstance: a subclass may do something else with its kernel.
        is_layer = type(layer) in _LAYERS
        if context.method_name != "__call__" or not (is_layer or isinstance(layer, nn.BatchNorm)):
            return y
        calls.append(path)
        call = inspect.signature(type(layer).__call__).bind(layer, *args, **kwargs).arguments
        if not is_layer:
            if not is_evaluation(layer, call.get("use_running_average")):
                raise ValueError(
                    f"apply: found {path} normalizing with its batch's statistics, wanted the "
                    "model in evaluation"
                )
            norms[path] = (layer, call["x"], y)
        else:
            layers.append((path, layer, call["inputs"], y))
        return y

    with nn.intercept_methods(watch):
        # A new function: JAX wouldn't call a function again that it has traced already.
        jax.eval_shape(lambda *args: apply(*args), variables, x)

    folds = []
    for path, (norm, norm_input, norm_output) in norms.items():
        before = [(p, layer) for p, layer, _, found in layers if found is norm_input]
        after = [
            (p, layer)
            for p, layer, taken, _ in layers
            if taken is norm_output and type(layer) is nn.Dense
        ]
        candidates = before or after
        called = [calls.count(p) for p in (path, *(p for p, _ in candidates))]
        if called == [1, 1] and norm.axis in (-1, jnp.ndim(norm_input) - 1):
            ((layer_path, layer),) = candidates
            feature_axis = -2 if getattr(layer, "transpose_kernel", False) else -1
            folds.append(Fold(path, layer_path, bool(before), norm.epsilon, feature_axis))
    return folds, tuple(path for path in norms if path not in {fold.norm for fold in folds})
