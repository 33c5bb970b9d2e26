"""A small convolutional network, for images like MNIST's and CIFAR's."""

from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jbn.models.norm import masked_norm


class CNN(nn.Module):
    """A small convolutional network; returns logits.

    Each stage has two 3×3 convolutions, each followed by norm and ReLU. Then it takes the largest
    of each 2×2 pixels. The last layer takes all pixels, so the parameters fit one size of image.

    Variables: `Conv_i` comes before the i-th norm. It has no bias, because the norm has one.
    Without norm it has a bias; its name is the same.

    Args:
        num_outputs: units of the last layer, which has neither activation nor norm.
        norm: makes a norm layer when called as `norm(use_running_average=...)`. None is no norm.
        channels: the channels of the convolutions in each stage.
        kernel_init: initializes the kernels.
        dtype: the dtype of the computation; None promotes the dtypes of x and the parameters.
        conv_general_dilated: as in `nn.Conv`; None is JAX's.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> from jbn.models.cnn import CNN
        >>> model = CNN(num_outputs=10, norm=jbn.linen.BatchNorm)
        >>> images = jnp.zeros((2, 28, 28, 1))
        >>> def logits():
        ...     return model.init_with_output(jax.random.key(0), images, train=True)[0]
        >>> jax.eval_shape(logits).shape
        (2, 10)
    """

    num_outputs: int
    norm: Callable[..., nn.Module] | None = None
    channels: Sequence[int] = (16, 32)
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = None
    conv_general_dilated: Callable[..., Array] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        train: bool,
        mask: Bool[Array, " batch"] | None = None,
    ) -> Float[Array, "batch classes"]:
        if x.ndim != 4:
            raise ValueError(f"x: found shape {x.shape}, wanted (batch, height, width, channels)")
        if min(x.shape[1:3]) < 2 ** len(self.channels):
            raise ValueError(
                f"channels: found {len(self.channels)} stages, each of which halves the image; "
                f"wanted fewer for images of {x.shape[1]} × {x.shape[2]} pixels"
            )
        for channels in self.channels:
            for _ in range(2):
                x = nn.Conv(
                    channels,
                    (3, 3),
                    use_bias=self.norm is None,
                    dtype=self.dtype,
                    kernel_init=self.kernel_init,
                    conv_general_dilated=self.conv_general_dilated,
                )(x)
                norm = masked_norm(self.norm, mask, use_running_average=not train)
                x = nn.relu(x if norm is None else norm(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)  # of a symbolic size in an export
        return nn.Dense(self.num_outputs, dtype=self.dtype, kernel_init=self.kernel_init)(x)
