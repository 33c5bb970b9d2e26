"""Batches: what one holds, which examples come in which, and a split cut into batches of one size.

The order of the examples is a function of a key; the noise of a label is a function of a key and
the example's row. So it makes no difference who gathers the examples, and when.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from jbn.functional._input_stats import InputStats

Order = Literal["shuffled", "fixed", "sorted", "class_blocked"]


class Batch(NamedTuple):
    """Examples that are computed together.

    `weight` is 1 where an example counts and 0 where it only fills the batch up. None: all count.
    """

    x: Shaped[Any, "batch *features"]
    y: Shaped[Any, "batch *targets"]
    weight: Float[Any, " batch"] | None = None


class DataSpec(NamedTuple):
    """What a training knows of its data before it sees an example."""

    num_examples: int  # of the training split
    features: tuple[int, ...]  # the shape of one input
    num_classes: int | None  # None: the targets are no labels
    input_stats: InputStats | None = None  # to normalize raw inputs with; None: they are as wanted
    target: jax.ShapeDtypeStruct = jax.ShapeDtypeStruct((), jnp.int32)  # of one example
    target_std: tuple[float, ...] | None = None  # of standardized targets, in their units
    class_counts: tuple[int, ...] | None = None  # of each class in the training split


def epoch_rows(
    key: PRNGKeyArray, labels: Int[Array, " examples"], batch_size: int, order: Order = "shuffled"
) -> Int[Array, " examples"]:
    """The rows of one epoch, every example once: the first `batch_size` are the first batch.

    "shuffled": in random order. "fixed": in the order of the data. "sorted": sorted by class.
    "class_blocked": batches of one class each (but where the next begins), in random order.

    If `batch_size` doesn't divide the number of examples, the last batch is smaller. In
    "class_blocked" it has examples of any class.

    Raises:
        ValueError: the batch size is larger than the number of examples, or below 1; or an order by
            class has no labels.
    """
    num_examples = len(labels)
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size: found {batch_size}, wanted from 1 to {num_examples}, the number of "
            "examples"
        )
    if order in ("sorted", "class_blocked") and jnp.ndim(labels) != 1:
        raise ValueError(
            f"labels: found shape {jnp.shape(labels)}, wanted (examples,) for the order {order!r}"
        )
    match order:
        case "shuffled":
            return jax.random.permutation(key, num_examples)
        case "fixed":
            return jnp.arange(num_examples)
        case "sorted":
            return jnp.argsort(labels, stable=True)
        case "class_blocked":
            examples_key, batches_key = jax.random.split(key)
            shuffled = jax.random.permutation(examples_key, num_examples)
            whole, rest = jnp.split(shuffled, [num_examples // batch_size * batch_size])
            by_class = whole[jnp.argsort(jnp.asarray(labels)[whole], stable=True)]
            batches = jax.random.permutation(batches_key, by_class.reshape(-1, batch_size))
            return jnp.concatenate([batches.reshape(-1), rest])


def noisy_labels(
    key: PRNGKeyArray,
    labels: Int[Array, " examples"],
    rows: Int[Array, " examples"],
    share: float | Float[Array, ""],
    num_classes: int,
) -> Int[Array, " examples"]:
    """The labels, of which about this share are drawn anew: any class, the old one too.

    `rows` are the rows of the labels in the data set: they say, with the key, what is drawn.
    """

    def bits(row: Int[Array, ""]) -> Array:
        return jax.random.bits(jax.random.fold_in(key, row), (2,), jnp.uint32)

    which, anew = jax.vmap(bits, out_axes=1)(rows)
    uniform = (which >> 8).astype(jnp.float32) / 2**24
    return jnp.where(uniform < share, (anew % num_classes).astype(labels.dtype), labels)


def check_as_many(x: Any, y: Any) -> None:
    """Raises an error unless there are inputs, and a target for each."""
    if not len(x):
        raise ValueError("found no examples, wanted at least one")
    if len(x) != len(y):
        raise ValueError(f"found {len(x)} inputs and {len(y)} targets, wanted as many")


def stacked(x: Any, y: Any, most: int, divisor: int = 1) -> Batch:
    """A split as batches of one size, at most `most`: each array has an axis of batches first.

    There are as few batches as can be, and `divisor` divides their size, which may exceed `most` by
    less. If they don't divide the examples, the first ones fill the last batch up again, with
    weight 0.

    Raises:
        ValueError: there are more inputs than targets, or fewer.
    """
    check_as_many(x, y)
    num_examples = len(y)
    num_batches = math.ceil(num_examples / most)
    size = math.ceil(num_examples / num_batches / divisor) * divisor
    num_more = num_batches * size - num_examples

    def cut(values: Any) -> Any:
        if num_more:
            values = values[np.arange(num_batches * size) % num_examples]
        return values.reshape(num_batches, size, *values.shape[1:])

    if not num_more:
        return Batch(cut(x), cut(y))
    weight = np.arange(num_batches * size) < num_examples
    return Batch(cut(x), cut(y), weight.astype(np.float32).reshape(num_batches, size))
