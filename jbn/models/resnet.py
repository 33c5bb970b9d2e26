"""Residual networks of two kinds of block, with two stems: ResNet-18 and ResNet-50 among them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jbn.models.norm import masked_norm

MakeNorm = Callable[..., nn.Module]
Mask = Bool[Array, " batch"]

# The variance is 2 / (outputs that an input reaches): He et al., 2015, arXiv:1502.01852, sec. 2.2.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def _conv_and_norm(
    x: Array,
    num_filters: int,
    size: int,
    stride: int = 1,
    *,
    norm: MakeNorm | None,
    train: bool,
    mask: Mask | None,
    dtype: Any,
    conv_general_dilated: Callable[..., Array] | None,
    **options: Any,
) -> Array:
    """A convolution and its norm, which has the bias. The options go to the norm."""
    # The published weights were trained with equal padding on every side. "SAME" pads less on the
    # left if sizes are even, which moves the windows of a strided convolution.
    x = nn.Conv(
        num_filters,
        (size, size),
        stride,
        padding=size // 2,
        use_bias=norm is None,
        dtype=dtype,
        kernel_init=_kernel_init,
        conv_general_dilated=conv_general_dilated,
    )(x)
    normalized = masked_norm(norm, mask, use_running_average=not train, **options)
    return x if normalized is None else normalized(x)


def _shared(network: Any) -> dict[str, Any]:
    """The arguments that a network passes on to all its convolutions and norms."""
    return {name: getattr(network, name) for name in ("norm", "dtype", "conv_general_dilated")}


class _Block(nn.Module):
    """The arguments and methods of both kinds of block."""

    num_filters: int
    stride: int = 1
    norm: MakeNorm | None = None
    zero_last_scale: bool = False
    dtype: Any = None
    conv_general_dilated: Callable[..., Array] | None = None

    @nn.nowrap
    def last_options(self) -> dict[str, Any]:
        """The further arguments of the last norm in the block."""
        return {"scale_init": nn.initializers.zeros} if self.zero_last_scale else {}

    @nn.nowrap
    def shortcut(self, x: Array, shape: tuple[int, ...], conv: Callable[..., Array]) -> Array:
        """x, or a 1×1 convolution of it with a norm if the block changes the shape."""
        return x if x.shape == shape else conv(x, shape[-1], 1, self.stride)


class BasicBlock(_Block):
    """ReLU of the sum of two branches: two 3×3 convolutions, and a shortcut.

    The result has `num_filters` channels.

    Args:
        num_filters: the filters of both convolutions.
        stride: the stride of the first convolution and of the shortcut.
        norm, zero_last_scale, dtype, conv_general_dilated: as in `jbn.models.ResNet`.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        train: bool,
        mask: Mask | None = None,
    ) -> Float[Array, "batch new_height new_width new_channels"]:
        conv: Callable[..., Array] = functools.partial(
            _conv_and_norm, train=train, mask=mask, **_shared(self)
        )
        y = nn.relu(conv(x, self.num_filters, 3, self.stride))
        y = conv(y, self.num_filters, 3, **self.last_options())
        return nn.relu(y + self.shortcut(x, y.shape, conv))


class BottleneckBlock(_Block):
    """ReLU of the sum of two branches: 1×1, 3×3 and 1×1 convolutions, and a shortcut.

    The result has 4 `num_filters` channels. The 3×3 convolution has the stride ("v1.5"). In the
    paper of He et al. the first convolution has it.

    Args:
        num_filters: the filters of the first two convolutions.
        stride: the stride of the second convolution and of the shortcut.
        norm, zero_last_scale, dtype, conv_general_dilated: as in `jbn.models.ResNet`.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        train: bool,
        mask: Mask | None = None,
    ) -> Float[Array, "batch new_height new_width new_channels"]:
        conv: Callable[..., Array] = functools.partial(
            _conv_and_norm, train=train, mask=mask, **_shared(self)
        )
        y = nn.relu(conv(x, self.num_filters, 1))
        y = nn.relu(conv(y, self.num_filters, 3, self.stride))
        y = conv(y, 4 * self.num_filters, 1, **self.last_options())
        return nn.relu(y + self.shortcut(x, y.shape, conv))


class ResNet(nn.Module):
    """A residual network for images; returns logits. `resnet18` and `resnet50` make two of them.

    First comes the stem, then stages of blocks. Each stage has twice the filters of the one before,
    and half the pixels on a side. Then come the average over the pixels and a dense layer.

    The parameters are those of the published networks: as many, with the same meaning.

    Variables: in each block, `Conv_i` comes before the i-th norm. It has no bias, because the norm
    has one. The convolution and norm of the shortcut are the last ones. Without norm the
    convolutions have a bias; their names are the same.

    Args:
        stage_sizes: the number of blocks in each stage.
        block: `BasicBlock` or `BottleneckBlock`.
        num_outputs: units of the last layer, which has neither activation nor norm.
        stem: "imagenet" is a 7×7 convolution of stride 2, then the largest of 3×3 pixels, also of
            stride 2. "cifar" is one 3×3 convolution, for small images.
        norm: makes a norm layer when called as `norm(use_running_average=...)`. None is no norm.
        num_filters: the filters of the first stage.
        zero_last_scale: whether the scale of the last norm in each block starts at 0. Then each
            block starts as ReLU of its shortcut. `norm` gets `scale_init=...` for these norms. It
            has no effect on norms without a scale.
        dtype: the dtype of the computation; None promotes the dtypes of x and the parameters.
        conv_general_dilated: as in `nn.Conv`; None is JAX's.

    Raises:
        ValueError: x isn't a batch of images, or there is no such stem.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> from jbn.models.resnet import resnet50
        >>> model = resnet50(num_outputs=1000, stem="imagenet", norm=jbn.linen.BatchNorm)
        >>> images = jnp.zeros((2, 224, 224, 3))
        >>> def init():
        ...     return model.init(jax.random.key(0), images, train=True)
        >>> sum(param.size for param in jax.tree.leaves(jax.eval_shape(init)["params"]))
        25557032

    References:
        He, Zhang, Ren and Sun, 2015, Deep Residual Learning, arXiv:1512.03385.
        Goyal et al., 2017, Accurate, Large Minibatch SGD, arXiv:1706.02677: `zero_last_scale`.
    """

    stage_sizes: Sequence[int]
    block: type[BasicBlock] | type[BottleneckBlock]
    num_outputs: int
    stem: Literal["cifar", "imagenet"]
    norm: MakeNorm | None = None
    num_filters: int = 64
    zero_last_scale: bool = False
    dtype: Any = None
    conv_general_dilated: Callable[..., Array] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        train: bool,
        mask: Mask | None = None,
    ) -> Float[Array, "batch classes"]:
        if x.ndim != 4:
            raise ValueError(f"x: found shape {x.shape}, wanted (batch, height, width, channels)")
        conv: Callable[..., Array] = functools.partial(
            _conv_and_norm, train=train, mask=mask, **_shared(self)
        )
        match self.stem:
            case "cifar":
                x = nn.relu(conv(x, self.num_filters, 3))
            case "imagenet":
                x = nn.relu(conv(x, self.num_filters, 7, 2))
                x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
            case _:
                raise ValueError(f"stem: found {self.stem!r}, wanted 'cifar' or 'imagenet'")
        for stage, num_blocks in enumerate(self.stage_sizes):
            for index in range(num_blocks):
                x = self.block(
                    num_filters=self.num_filters * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    zero_last_scale=self.zero_last_scale,
                    **_shared(self),
                )(x, train, mask)
        return nn.Dense(self.num_outputs, dtype=self.dtype)(x.mean((1, 2)))


# Call these with the other arguments of `ResNet`, by keyword.
resnet18 = functools.partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
resnet50 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock)
