"""What a training carries from step to step, and what it is given."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.config import NUMBERS, ArmConfig


class TrainState(NamedTuple):
    """All that the next step needs."""

    step: Int[Array, ""]
    params: Any
    collections: Any  # the model's other variables by their collection, such as batch_stats
    opt_state: Any
    average: Any  # of the parameters, in their form; None without train.ema_decay

    @property
    def variables(self) -> dict[str, Any]:
        """What the model is applied with in training."""
        return {"params": self.params, **self.collections}


class TrainKeys(NamedTuple):
    """A training's key by purpose. A purpose that is added moves no other."""

    init: PRNGKeyArray
    order: PRNGKeyArray
    labels: PRNGKeyArray
    augment: PRNGKeyArray
    dropout: PRNGKeyArray

    @classmethod
    def of(cls, key: PRNGKeyArray) -> "TrainKeys":
        """A key for each purpose, each folded from this one by the purpose's number."""
        return cls(*(jax.random.fold_in(key, number) for number in range(len(cls._fields))))


class Hypers(NamedTuple):
    """The numbers of a config that may change without another compilation."""

    learning_rate: Float[Array, "..."]
    weight_decay: Float[Array, "..."]
    norm_momentum: Float[Array, "..."]
    norm_epsilon: Float[Array, "..."]
    init_gain: Float[Array, "..."]
    label_noise: Float[Array, "..."]
    input_scale: Float[Array, "..."]

    @classmethod
    def of(cls, config: ArmConfig) -> "Hypers":
        """The config's numbers, as float32 scalars."""
        return cls(*(jnp.asarray(number) for number in cls.numbers_of(config)))

    @staticmethod
    def numbers_of(config: ArmConfig) -> np.ndarray:
        """The same on the host, in the order of the fields."""
        sections = (key.partition(".") for key in NUMBERS.values())
        numbers = [getattr(getattr(config, section), field) for section, _, field in sections]
        return np.array(numbers, np.float32)
