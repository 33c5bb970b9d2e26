"""The article's network: Dense, ReLU and norm in each of two hidden layers, then Dense."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jbn.models.norm import masked_norm


class MLP(nn.Module):
    """A multilayer perceptron with an activation and a norm in each hidden layer; returns logits.

    Args:
        hidden_sizes: units of each hidden layer.
        num_outputs: units of the last layer, which has neither activation nor norm.
        norm: makes a norm layer when called as `norm(use_running_average=...)`. None is no norm.
        activation: the activation of each hidden layer. None is no activation.
        norm_position: "after_activation", as in the article, or "before_activation", as in Ioffe
            and Szegedy, 2015, arXiv:1502.03167.
        kernel_init: initializes the kernels.
        dtype: the dtype of the computation; None promotes the dtypes of x and the parameters.
    """

    hidden_sizes: Sequence[int]
    num_outputs: int
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[Array], Array] | None = nn.relu
    norm_position: Literal["after_activation", "before_activation"] = "after_activation"
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *features"],
        train: bool,
        mask: Bool[Array, " batch"] | None = None,
    ) -> Float[Array, "batch classes"]:
        x = x.reshape(x.shape[0], -1)  # of a symbolic size in an export
        for size in self.hidden_sizes:
            x = nn.Dense(size, dtype=self.dtype, kernel_init=self.kernel_init)(x)
            layers = [self.activation, masked_norm(self.norm, mask, use_running_average=not train)]
            if self.norm_position == "before_activation":
                layers.reverse()
            for layer in layers:
                if layer is not None:
                    x = layer(x)
        return nn.Dense(self.num_outputs, dtype=self.dtype, kernel_init=self.kernel_init)(x)
