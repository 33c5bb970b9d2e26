"""From the optimizer section of a config to an optax transformation."""

import optax
from jaxtyping import Array, Float


def make_optimizer(learning_rate: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Adam, as in Kingma and Ba, 2015; the learning rate may be traced.

    It sees all parameters as one vector, so that an update is one loop over memory instead of three
    for each parameter.
    """
    return optax.flatten(optax.adam(learning_rate))
