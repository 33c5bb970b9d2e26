"""ResNet-18 for small images as Flax NNX modules, whose batch norm is an argument.

The network of He et al., 2015, arXiv:1512.03385, with a 3×3 convolution as its stem, and the last
scale of each block starting at 0, as in Goyal et al., 2017, arXiv:1706.02677.
"""

import functools

import jax
from flax import nnx

# Each layer pads as much on every side, as the published network does; a norm follows, so no bias.
kernel_init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
conv = functools.partial(nnx.Conv, use_bias=False, kernel_init=kernel_init)
conv3x3 = functools.partial(conv, kernel_size=(3, 3), padding=1)
conv1x1 = functools.partial(conv, kernel_size=(1, 1), padding=0)


class Block(nnx.Module):
    """Two 3×3 convolutions beside a shortcut: ReLU of their sum."""

    def __init__(self, channels_in, channels, stride, *, norm, last_scale_init, rngs):
        self.conv1 = conv3x3(channels_in, channels, strides=stride, rngs=rngs)
        self.norm1 = norm(channels, rngs=rngs)
        self.conv2 = conv3x3(channels, channels, rngs=rngs)
        self.norm2 = norm(channels, scale_init=last_scale_init, rngs=rngs)
        self.shortcut = nnx.Sequential()  # x as it is
        if channels_in != channels:
            self.shortcut = nnx.Sequential(
                conv1x1(channels_in, channels, strides=stride, rngs=rngs),
                norm(channels, rngs=rngs),
            )

    def __call__(self, x):
        """Of x, (batch, height, width, channels_in), with 1 / stride of the height and width."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        return nnx.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nnx.Module):
    """Logits of images, of shape `(batch, num_classes)`.

    Args:
        num_classes: how many logits.
        norm: `jbn.nnx.BatchNorm`, `flax.nnx.BatchNorm`, or what takes the same arguments.
            `model.train()` and `model.eval()` switch it.
        channels_in: of the images.
        num_filters: of the stem and the first stage; each later stage has twice as many.
        last_scale_init: initializer of the scale of each block's last norm. With zeros a block
            starts as ReLU of its shortcut.
        rngs: as in every NNX module.
    """

    def __init__(
        self,
        num_classes,
        *,
        norm,
        channels_in=3,
        num_filters=64,
        last_scale_init=nnx.initializers.zeros,
        rngs,
    ):
        self.stem = conv3x3(channels_in, num_filters, rngs=rngs)
        self.norm = norm(num_filters, rngs=rngs)
        options = {"norm": norm, "last_scale_init": last_scale_init, "rngs": rngs}
        blocks, channels_in = [], num_filters
        for stage in range(4):
            channels = num_filters * 2**stage
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(Block(channels_in, channels, stride, **options))
                channels_in = channels
        self.blocks = nnx.Sequential(*blocks)
        self.head = nnx.Linear(channels_in, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of x, of shape `(batch, height, width, channels_in)`."""
        x = nnx.relu(self.norm(self.stem(x)))
        return self.head(self.blocks(x).mean((1, 2)))
