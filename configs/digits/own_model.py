"""The model of own_model.toml: a Flax NNX module with dropout, made by a function."""

import math
from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float


class Net(nnx.Module):
    """Two hidden layers, each with norm, ReLU and dropout."""

    def __init__(
        self, num_inputs: int, num_outputs: int, norm: Callable | None, rngs: nnx.Rngs
    ) -> None:
        self.hidden = nnx.List()
        for size in (128, 64):
            self.hidden.append(nnx.Linear(num_inputs, size, rngs=rngs))
            if norm is not None:
                self.hidden.append(norm(size, rngs=rngs))
            self.hidden.append(nnx.relu)
            self.hidden.append(nnx.Dropout(0.2, rngs=rngs))
            num_inputs = size
        self.head = nnx.Linear(num_inputs, num_outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "batch *features"]) -> Float[Array, "batch classes"]:
        x = x.reshape(len(x), -1)
        for layer in self.hidden:
            x = layer(x)
        return self.head(x)


def make_net(
    features: tuple[int, ...], num_outputs: int, norm: Callable | None, rngs: nnx.Rngs
) -> Net:
    """jbn calls this with the shape of an input, the number of classes, and the config's norm."""
    return Net(math.prod(features), num_outputs, norm, rngs)
