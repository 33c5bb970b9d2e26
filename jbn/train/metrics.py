"""Metrics as sums and a count: they add up over batches, and are divided once, at the end."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class Metrics(NamedTuple):
    """Sums over examples of the cross-entropy (in nats) and of right answers; their count."""

    loss_sum: Float[Array, "..."]
    correct: Int[Array, "..."]
    count: Int[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose

    @property
    def loss(self) -> Float[Array, "..."]:
        """Mean categorical cross-entropy, in nats."""
        return self.loss_sum / self.count

    @property
    def accuracy(self) -> Float[Array, "..."]:
        """The share of right answers."""
        return self.correct / self.count


def measure(logits: Float[Array, "examples classes"], labels: Int[Array, " examples"]) -> Metrics:
    """The metrics of one batch; a label that is no class makes the loss NaN."""
    return Metrics(
        loss_sum=cross_entropies(logits, labels).sum(),
        correct=jnp.equal(logits.argmax(-1), labels).sum(dtype=jnp.int32),
        count=jnp.asarray(len(labels), jnp.int32),
    )


def cross_entropies(
    logits: Float[Array, "examples classes"],
    labels: Int[Array, " examples"],
    label_smoothing: float = 0.0,
) -> Float[Array, " examples"]:
    """Each example's cross-entropy, in nats, with a share of its label spread over all classes.

    References:
        Szegedy et al., 2016, Rethinking the Inception Architecture, arXiv:1512.00567, Section 7.
    """
    # One-hot labels: the gradient of an indexed loss is a scatter, which is slow on every device.
    one_hot = jnp.equal(labels[:, None], jnp.arange(logits.shape[-1])).astype(logits.dtype)
    is_class = jnp.any(one_hot, -1)
    if label_smoothing:
        one_hot = optax.smooth_labels(one_hot, label_smoothing)
    return jnp.where(is_class, optax.softmax_cross_entropy(logits, one_hot), jnp.nan)
