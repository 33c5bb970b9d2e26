"""Training images moved, mirrored and covered, inside the compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from jbn.config import AugmentConfig


def augment(
    config: AugmentConfig, key: PRNGKeyArray, x: Shaped[Array, "batch height width channels"]
) -> Shaped[Array, "batch height width channels"]:
    """Each image moved at random, mirrored or not, with a square of it set to 0.

    What moves out of the picture is lost, and 0 moves in; the square's centre is any pixel. Of
    inputs that are standardized before, 0 is the mean.

    Raises:
        ValueError: something is asked for, and x isn't images.

    References:
        DeVries and Taylor, 2017, Improved Regularization of Convolutional Neural Networks with
        Cutout, arXiv:1708.04552.
    """
    if keeps_images(config):
        return x
    if x.ndim != 4:
        raise ValueError(f"x: found shape {x.shape}, wanted (batch, height, width, channels)")
    shift_key, flip_key, cutout_key = jax.random.split(key, 3)
    if config.shift:
        x = _shifted(shift_key, x, config.shift)
    if config.flip:
        x = jnp.where(_coin(flip_key, len(x)), x[:, :, ::-1], x)
    if config.cutout:
        x = jnp.where(_square(cutout_key, x.shape, config.cutout), jnp.zeros((), x.dtype), x)
    return x


def keeps_images(config: AugmentConfig) -> bool:
    """Whether `augment` changes nothing."""
    return config.model_copy(update={"function": None}) == AugmentConfig()


def _shifted(key: PRNGKeyArray, x: Array, most: int) -> Array:
    """Each image moved by at most so many pixels along its height and its width."""
    padded = jnp.pad(x, [(0, 0), (most, most), (most, most), (0, 0)])
    starts = jax.random.randint(key, (len(x), 2), 0, 2 * most + 1)

    def window(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), x.shape[1:])

    return jax.vmap(window)(padded, starts)


def _coin(key: PRNGKeyArray, number: int) -> Array:
    return jax.random.bernoulli(key, shape=(number, 1, 1, 1))


def _square(key: PRNGKeyArray, shape: tuple[int, ...], side: int) -> Array:
    """True in a square of each image, as far as it is inside."""
    number, height, width, _ = shape
    inside = []
    for part, size in zip(jax.random.split(key), (height, width), strict=True):
        first = jax.random.randint(part, (number, 1), 0, size) - side // 2
        pixels = jnp.arange(size)
        inside.append((pixels >= first) & (pixels < first + side))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[..., None]
