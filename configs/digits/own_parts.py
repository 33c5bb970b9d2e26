"""The parts of own_parts.toml: an optimizer, a schedule, a loss and an augmentation."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.data import Batch, DataSpec
from jbn.train import Loss, make_cross_entropy


def make_lion(
    learning_rate: Float[Array, ""], weight_decay: Float[Array, ""]
) -> optax.GradientTransformation:
    """Chen et al., 2023, Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675."""
    return optax.lion(learning_rate, weight_decay=weight_decay)


def make_schedule(num_steps: int) -> optax.Schedule:
    """The rate stays for half of the training, then falls to 0 along a line."""
    return optax.linear_schedule(1.0, 0.0, num_steps // 2, transition_begin=num_steps // 2)


def make_focal_loss(spec: DataSpec) -> Loss:
    """The cross-entropy, where examples that are nearly right count less: (1 - p)² log(1 / p).

    Lin et al., 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002.
    """

    def focal(
        logits: Float[Array, "examples classes"], labels: Int[Array, " examples"]
    ) -> Float[Array, " examples"]:
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
        return -jnp.square(1 - jnp.exp(log_p)) * log_p

    assert spec.num_classes is not None  # the digits have labels
    # What is reported stays the accuracy and the cross-entropy.
    return make_cross_entropy(spec.num_classes)._replace(trained=focal)


def add_noise(key: PRNGKeyArray, batch: Batch) -> Batch:
    """The inputs, which are normalized by now, with noise of a tenth of their deviation."""
    return batch._replace(x=batch.x + 0.1 * jax.random.normal(key, batch.x.shape))
