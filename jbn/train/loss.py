"""What is trained for, and what is reported of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jbn.config import UserError


class Loss(NamedTuple):
    """A loss and its metrics, for targets of any dtype and shape.

    Training makes the mean of `trained` small. What is reported is made of sums over examples, so
    that it is exact over batches and devices: `measured` gives numbers of each example, and
    `metrics` makes the metrics of the numbers' means.
    """

    # The shape of the model's output for one example. None: any output, maybe a tree of arrays.
    output_shape: tuple[int, ...] | None
    # (output, y) -> a number for each example.
    trained: Callable[[Array, Array], Float[Array, " examples"]]
    # (output, y) -> by name, a number or an array for each example.
    measured: Callable[[Array, Array], dict[str, Float[Array, "examples ..."]]]
    # Raises UserError unless y are targets that the loss takes.
    check: Callable[[Any], None] = lambda y: None
    # The means of what is measured, by name -> the metrics by name; "loss" is one of them.
    metrics: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    # The metrics in a table of results. By the first, jbn tells which result is best.
    shown: tuple[str, ...] = ("loss",)
    # Of these metrics more is better; of all others less is.
    higher_is_better: tuple[str, ...] = ()
    # Metrics of evaluations alone: of the training batches they would cost more than they say.
    evaluated_only: tuple[str, ...] = ()
    # What a model without inputs would be called, and y -> its output for every example.
    baseline: tuple[str, Callable[[Any], Array]] | None = None

    @property
    def num_outputs(self) -> int | None:
        """The numbers in the model's output for one example."""
        return None if self.output_shape is None else math.prod(self.output_shape)


def make_cross_entropy(
    num_classes: int,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Loss:
    """The categorical cross-entropy, in nats, of logits and integer labels; and the accuracy.

    What is trained for has smoothed labels, and each example has the weight of its class. What is
    reported has the labels as they are, and every example counts the same:

        accuracy = the share of the examples whose largest logit is that of their class
        balanced accuracy = the mean over the classes of the accuracy of the class's examples

    A class without an example has no part in the balanced accuracy. It is that of validation and
    test, not of the training batches.

    Args:
        num_classes: the number of logits.
        label_smoothing: the share of a label that is spread over all classes.
        class_weights: a weight for each class; None is 1 for each. Training makes the mean over the
            examples of weight times cross-entropy small.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.train import make_cross_entropy
        >>> loss = make_cross_entropy(2, class_weights=[1, 3])
        >>> logits, labels = jnp.zeros((2, 2)), jnp.array([0, 1])
        >>> print(loss.trained(logits, labels).round(3))
        [0.693 2.079]

    References:
        Brodersen et al., 2010, The balanced accuracy and its posterior distribution, ICPR.
    """
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def trained(logits: Array, labels: Array) -> Array:
        losses = cross_entropies(logits, labels, label_smoothing)
        return losses if weights is None else losses * weights[labels]

    def measured(logits: Array, labels: Array) -> dict[str, Array]:
        is_right = jnp.equal(logits.argmax(-1), labels).astype(jnp.float32)
        of_class = jnp.equal(labels[:, None], jnp.arange(num_classes)).astype(jnp.float32)
        return {
            "loss": cross_entropies(logits, labels),
            "accuracy": is_right,
            "right_of_class": of_class * is_right[:, None],
            "of_class": of_class,
        }

    def baseline(labels: Any) -> Array:
        counts = jnp.bincount(jnp.asarray(labels), length=num_classes)
        return jnp.log(jnp.maximum(counts, 1e-6) / counts.sum())

    is_weighted = class_weights is not None
    return Loss(
        output_shape=(num_classes,),
        check=_check_labels,
        trained=trained,
        measured=measured,
        metrics=_accuracies,
        shown=("accuracy", *(["balanced_accuracy"] if is_weighted else []), "loss"),
        higher_is_better=("accuracy", "balanced_accuracy"),
        evaluated_only=("balanced_accuracy",),
        baseline=("majority class", baseline),
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


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """A weight for each class, so that all classes weigh the same and the mean weight is 1.

    A class without an example has the weight 0.

    >>> balanced_weights([1, 3, 0])
    [2.0, 0.6666666666666666, 0.0]
    """
    num_present = sum(count > 0 for count in class_counts)
    return [sum(class_counts) / (num_present * count) if count else 0.0 for count in class_counts]


def make_squared_error(std: Sequence[float] | float = 1.0) -> Loss:
    """The squared error of one or several standardized targets; RMSE, MAE and R² in their units.

        loss = mean over the targets t of (output_t - y_t)²
        RMSE = mean over t of sqrt(mean over the examples of (std_t (output_t - y_t))²)
        MAE = mean over t of the mean over the examples of std_t |output_t - y_t|
        R² = mean over t of 1 - mean of (output_t - y_t)² / variance of y_t

    The targets have the shape `(examples,)` or `(examples, targets)`, the output always
    `(examples, targets)`. R² is that of the examples which are evaluated: their variance is around
    their own mean. Of a target that never varies, it is 1 if every output is right, else 0.

    Args:
        std: what a standardized target of 1 is in the target's units: a number, or one for each of
            several targets.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.train import make_squared_error
        >>> loss = make_squared_error(std=10.0)
        >>> numbers = loss.measured(jnp.array([[1.0], [2.0]]), jnp.array([1.0, 3.0]))
        >>> metrics = loss.metrics({name: values.mean(0) for name, values in numbers.items()})
        >>> print({name: round(float(metric), 2) for name, metric in metrics.items()})
        {'loss': 0.5, 'rmse': 7.07, 'mae': 5.0, 'r2': 0.5}
    """
    units = jnp.atleast_1d(jnp.asarray(std, jnp.float32))

    def errors(output: Array, y: Array) -> Array:
        return output - y.reshape(output.shape)

    def trained(output: Array, y: Array) -> Array:
        return jnp.square(errors(output, y)).mean(-1)

    def measured(output: Array, y: Array) -> dict[str, Array]:
        found, targets = errors(output, y), y.reshape(output.shape)
        return {
            "loss": trained(output, y),
            "squared_error": jnp.square(found),
            "absolute_error": jnp.abs(found),
            "target": targets,
            "target_squared": jnp.square(targets),
        }

    def metrics(means: Mapping[str, Array]) -> dict[str, Array]:
        squared_error = means["squared_error"]
        var = means["target_squared"] - jnp.square(means["target"])
        varies = var > 1e-6 * means["target_squared"]
        of_constant = jnp.where(squared_error == 0, 1.0, 0.0)
        explained = 1 - squared_error / jnp.where(varies, var, 1)
        return {
            "loss": means["loss"],
            "rmse": (units * jnp.sqrt(squared_error)).mean(-1),
            "mae": (units * means["absolute_error"]).mean(-1),
            "r2": jnp.where(varies, explained, of_constant).mean(-1),
        }

    return Loss(
        output_shape=units.shape,
        check=lambda y: _check_numbers(y, units.size),
        trained=trained,
        measured=measured,
        metrics=metrics,
        shown=("rmse", "mae", "r2"),
        higher_is_better=("r2",),
        baseline=("mean of the targets", lambda y: jnp.asarray(y).reshape(len(y), -1).mean(0)),
    )


def _accuracies(means: Mapping[str, Array]) -> dict[str, Array]:
    has_examples = means["of_class"] > 0
    recall = means["right_of_class"] / jnp.where(has_examples, means["of_class"], 1)
    balanced = recall.sum(-1) / has_examples.sum(-1)
    return {"loss": means["loss"], "accuracy": means["accuracy"], "balanced_accuracy": balanced}


def _check_labels(y: Any) -> None:
    if jnp.ndim(y) != 1 or not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise UserError(
            f"y: found shape {jnp.shape(y)} and dtype {jnp.result_type(y)}, wanted integer labels "
            "of shape (examples,)"
        )


def _check_numbers(y: Any, num_targets: int) -> None:
    shapes = [(num_targets,)] if num_targets > 1 else [(), (1,)]
    if (
        jnp.ndim(y) < 1
        or jnp.shape(y)[1:] not in shapes
        or not jnp.issubdtype(jnp.result_type(y), jnp.floating)
    ):
        wanted = "examples" if num_targets == 1 else f"examples, {num_targets}"
        raise UserError(
            f"y: found shape {jnp.shape(y)} and dtype {jnp.result_type(y)}, wanted floating "
            f"numbers of shape ({wanted})"
        )
