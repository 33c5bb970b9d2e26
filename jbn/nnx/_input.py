"""Input normalization by the statistics of a stream as an NNX module."""

from collections.abc import Sequence
from typing import Any

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jbn._layers import apply_input_norm, input_stats_by_name
from jbn.functional._input_stats import init_input_stats


class InputStat(nnx.Variable[Any]):
    """A statistic of the inputs: neither a parameter nor a running average of batches."""


class InputNorm(nnx.Module):
    """Inputs standardized by the statistics of all data that the layer has seen.

        y = (x - mean) / std

    The statistics are exactly those of all batches together, and accurate far from zero. Each entry
    counts once; there is no moving average. Only a call with `update_stats=True` updates them;
    before the first such call, y is x. Gradients treat them as constants. A constant feature
    becomes 0. The functions are `jbn.update_input_stats` and `jbn.standardize`. In Keras this is
    the `Normalization` layer, whose `adapt` is a pass over the data with `update_stats=True`.

    Variables (`jbn.nnx.InputStat`, float32): `count`, `mean`, `std`, `min`, `max`, and the rounding
    errors of the first three, `count_remainder` and so on. Each has the shape `(num_features,)`.
    `num_nonfinite` counts the entries that were NaN or infinite; they are left out.

    Args:
        num_features: the size of x along `axis`; a shape for several axes; () for none.
        axis: the feature axis, or a tuple of feature axes; () for one mean of all entries.
        dtype: the dtype of the result. None is x's dtype; integers become float32.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the batch is spread over.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> layer = jbn.nnx.InputNorm(2)
        >>> _ = layer(jnp.array([[1.0, 7.0], [3.0, 7.0]]), update_stats=True)
        >>> print(layer(jnp.array([[2.0, 7.0], [5.0, 7.0]])))
        [[0. 0.]
         [3. 0.]]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3; Chan, Golub and
        LeVeque, 1983, Algorithms for Computing the Sample Variance.
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        axis: int | Sequence[int] = -1,
        dtype: DTypeLike | None = None,
        axis_name: str | Sequence[str] | None = None,
    ) -> None:
        for name, value in input_stats_by_name(init_input_stats(num_features)).items():
            setattr(self, name, InputStat(value))
        self.axis = axis
        self.dtype = dtype
        self.axis_name = axis_name

    def __call__(
        self, x: Float[Array, "..."], update_stats: bool = False, *, mask: Array | None = None
    ) -> Float[Array, "..."]:
        """x standardized; with `update_stats`, x first updates the statistics.

        Args:
            x: data of any shape; real.
            update_stats: whether to add x to the statistics.
            mask: nonzero where an entry counts in the statistics; broadcastable to x.

        Returns:
            y, of x's shape.
        """
        variables = {name: v for name, v in vars(self).items() if isinstance(v, InputStat)}
        y, stats = apply_input_norm(
            self,
            x,
            {name: variable[...] for name, variable in variables.items()},
            update_stats=update_stats,
            mask=mask,
            axis_name=self.axis_name,
        )
        if update_stats:
            for name, value in stats.items():
                variables[name].set_value(value)
        return y
