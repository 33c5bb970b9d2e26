"""What a training run carries from step to step, and what it is given."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jbn.config import ArmConfig


class TrainState(NamedTuple):
    """All that the next step needs."""

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What the model is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


class Hypers(NamedTuple):
    """The numbers of a config that may change without another compilation."""

    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    epsilon: Float[Array, ""]

    @classmethod
    def of(cls, config: ArmConfig) -> "Hypers":
        """The config's numbers, as float32 scalars."""
        numbers = (config.optimizer.learning_rate, config.norm.momentum, config.norm.epsilon)
        return cls(*(jnp.asarray(number, jnp.float32) for number in numbers))
