"""The article's network: Dense, ReLU, norm; again; Dense."""

from collections.abc import Callable, Sequence

from flax import linen as nn
from jaxtyping import Array, Float


class MLP(nn.Module):
    """A multilayer perceptron with a norm after each hidden activation; returns logits.

    Args:
        hidden_sizes: units of each hidden layer.
        num_classes: units of the last layer, which has neither activation nor norm.
        norm: called as `norm(use_running_average=...)`, makes a norm layer. None is no norm.
    """

    hidden_sizes: Sequence[int]
    num_classes: int
    norm: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch features"], train: bool
    ) -> Float[Array, "batch classes"]:
        for size in self.hidden_sizes:
            x = nn.relu(nn.Dense(size)(x))
            if self.norm is not None:
                x = self.norm(use_running_average=not train)(x)
        return nn.Dense(self.num_classes)(x)
