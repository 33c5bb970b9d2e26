"""What is trained for, and what is reported of it: numbers of each example."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jbn.config import UserError


class Loss(NamedTuple):
    """A loss and its metrics, for targets of any dtype and shape.

    `output_shape` is that of the model's output for one example. `check(y)` raises UserError unless
    y are targets that the loss takes. `trained(output, y)` is what training makes small, a number
    for each example. `reported(output, y)` are the metrics by name, a number of each for each
    example; "loss" is one of them.
    """

    output_shape: tuple[int, ...]
    check: Callable[[Any], None]
    trained: Callable[[Array, Array], Float[Array, " examples"]]
    reported: Callable[[Array, Array], dict[str, Float[Array, " examples"]]]


def make_cross_entropy(num_classes: int, *, label_smoothing: float = 0.0) -> Loss:
    """The categorical cross-entropy, in nats, of logits and integer labels; and the accuracy.

    What is trained for has smoothed labels; what is reported has the labels as they are.
    """
    return Loss(
        output_shape=(num_classes,),
        check=_check_labels,
        trained=lambda logits, labels: cross_entropies(logits, labels, label_smoothing),
        reported=lambda logits, labels: {
            "loss": cross_entropies(logits, labels),
            "accuracy": jnp.equal(logits.argmax(-1), labels).astype(jnp.float32),
        },
    )


def cross_entropies(
    logits: Float[Array, "examples classes"],
    labels: Int[Array, " examples"],
    label_smoothing: float = 0.0,
) -> Float[Array, " examples"]:
    """Each example's cross-entropy, in nats, with a share of its label spread over all classes.

    It is NaN where a label is no class.

    References:
        Szegedy et al., 2016, Rethinking the Inception Architecture, arXiv:1512.00567, Section 7.
    """
    # One-hot labels: the gradient of an indexed loss is a scatter, which is slow on every device.
    one_hot = jnp.equal(labels[:, None], jnp.arange(logits.shape[-1])).astype(logits.dtype)
    is_class = jnp.any(one_hot, -1)
    if label_smoothing:
        one_hot = optax.smooth_labels(one_hot, label_smoothing)
    return jnp.where(is_class, optax.softmax_cross_entropy(logits, one_hot), jnp.nan)


def _check_labels(y: Any) -> None:
    if jnp.ndim(y) != 1 or not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise UserError(
            f"y: found shape {jnp.shape(y)} and dtype {jnp.result_type(y)}, wanted integer labels "
            "of shape (examples,)"
        )
