"""Input normalization by the statistics of a stream as a Linen module."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jbn._layers import apply_input_norm, feature_shape, input_stats_by_name
from jbn.functional._input_stats import init_input_stats


class InputNorm(nn.Module):
    """Inputs standardized by the statistics of all data that the layer has seen.

        y = (x - mean) / std

    The statistics are exactly those of all batches together, and accurate far from zero. Each entry
    counts once; there is no moving average. Only a call with `update_stats=True` updates them;
    before the first such call, y is x. Gradients treat them as constants. A constant feature
    becomes 0. The functions are `jbn.update_input_stats` and `jbn.standardize`. In Keras this is
    the `Normalization` layer, whose `adapt` is a pass over the data with `update_stats=True`.

    Variables: `input_stats/{count, mean, std, min, max}`, and the rounding errors of the first
    three, `input_stats/{count, mean, std}_remainder`. Each has x's shape along `axis`, in float32.
    `input_stats/num_nonfinite` counts the entries that were NaN or infinite; they are left out.

    Args:
        axis: the feature axis, or a tuple of feature axes; () for one mean of all entries.
        dtype: the dtype of the result. None is x's dtype; integers become float32.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the batch is spread over.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.InputNorm()
        >>> data = jnp.array([[1.0, 7.0], [3.0, 7.0]])
        >>> variables = layer.init(jax.random.key(0), data)
        >>> _, updates = layer.apply(variables, data, update_stats=True, mutable=["input_stats"])
        >>> print(layer.apply({**variables, **updates}, jnp.array([[2.0, 7.0], [5.0, 7.0]])))
        [[0. 0.]
         [3. 0.]]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3; Chan, Golub and
        LeVeque, 1983, Algorithms for Computing the Sample Variance.
    """

    axis: int | Sequence[int] = -1
    dtype: DTypeLike | None = None
    axis_name: str | Sequence[str] | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "..."], update_stats: bool = False, *, mask: Array | None = None
    ) -> Float[Array, "..."]:
        """x standardized; with `update_stats`, x first updates `input_stats` (not in `init`).

        Args:
            x: data of any shape; real.
            update_stats: whether to add x to the statistics.
            mask: nonzero where an entry counts in the statistics; broadcastable to x.

        Returns:
            y, of x's shape.
        """
        initial = input_stats_by_name(init_input_stats(feature_shape(x, "axis", self.axis)))
        variables = {
            name: self.variable("input_stats", name, jnp.asarray, value)
            for name, value in initial.items()
        }
        update_stats = update_stats and not self.is_initializing()
        y, stats = apply_input_norm(
            self,
            x,
            {name: variable.value for name, variable in variables.items()},
            update_stats=update_stats,
            mask=mask,
            axis_name=self.axis_name,
        )
        if update_stats:
            for name, value in stats.items():
                variables[name].value = value
        return y
