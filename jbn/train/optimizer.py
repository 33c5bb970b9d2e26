"""From the optimizer section of a config to an optax transformation."""

import optax
from jaxtyping import Array, Float


def make_optimizer(learning_rate: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Adam, as in Kingma and Ba, 2015; the learning rate may be traced.

    Its state is two vectors, whether the parameters come as a tree or as a vector themselves.
    """
    return optax.flatten(optax.adam(learning_rate))
