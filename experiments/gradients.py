"""Claims on the gradient of the network of sigmoids: what is done with what a probe finds.

Each measure is a number at each probe, above 0, and batch norm is said to make it small. Its mean
over the epochs is that of its logarithms: it falls or rises by orders of magnitude in training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from findings import Panel
from sigmoids import ARMS, BATCH_SIZE, BEST, COMMON, Net, halvings, loss_of, of_splits
from values import Row, extent, values_of
from verdicts import Comparison, in_words, judge, mean_of

from jbn.data import Examples, epoch_rows

NETS = {"batch_norm": Net(has_norm=True), "no_norm": Net(has_norm=False)}
EPOCHS = (0, 1, 2, 3, 5, 10, 20, 40, 60)
FROM, TO = 1.0, 0.03  # the training loss, where the two are compared at equal loss
EQUAL = f"where the loss is from {FROM:g} to {TO:g}"
SMALLEST = 1.0  # halving


def gradient_of(net: Net, params: Any, examples: Examples, key: Any) -> tuple[Any, Any]:
    """The loss and its gradient, in training mode."""
    return jax.value_and_grad(lambda p: loss_of(net, p, examples, key)[0])(params)


def stepped(params: Any, gradient: Any, length: Any) -> Any:
    """The parameters after a step of gradient descent."""
    return jax.tree.map(lambda p, g: p - length * g, params, gradient)


def batches_of(train: Examples, key: Any) -> Examples:
    """The batches of an epoch: (batches, examples of each, ...)."""
    rows = epoch_rows(key, train.y, BATCH_SIZE)
    rows = rows[: len(rows) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)
    return jax.tree.map(lambda of: jnp.asarray(of)[rows], train)


def names_of(measures: Sequence[str]) -> tuple[str, ...]:
    """The columns that `columns_of` makes of these measures."""
    of_each = ("", "_at_equal_loss", *(f"_{epoch}" for epoch in EPOCHS))
    columns = (f"{name}{end}" for name in (*measures, "loss") for end in of_each)
    return ("val_accuracy", "test_accuracy", *columns)


def columns_of(trace: Mapping[str, np.ndarray], measures: Sequence[str]) -> dict[str, float]:
    """A training's accuracies; its measures and its loss in the mean, and at some epochs.

    Args:
        trace: each an array (1 + epochs,), of probes.
    """
    loss = trace["loss"]
    is_between = (loss <= FROM) & (loss >= TO)
    found = {
        "val_accuracy": trace["val_accuracy"][1:].mean(),
        "test_accuracy": trace["test_accuracy"][-1],
    }
    for name in (*measures, "loss"):
        of = trace[name]
        found[name] = geometric_mean(of[1:])
        found[f"{name}_at_equal_loss"] = geometric_mean(of[is_between])
        found |= {f"{name}_{epoch}": of[epoch] for epoch in EPOCHS}
    return {name: float(of) for name, of in found.items()}


def geometric_mean(values: np.ndarray) -> float:
    """That of all values, NaN if there are none.

    >>> geometric_mean(np.array([1.0, 4.0])), geometric_mean(np.array([]))
    (2.0, nan)
    """
    if not len(values):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values.astype(float)).mean()))


def compare(
    rows: Sequence[Row],
    measures: Mapping[str, tuple[str, str]],
    predicted: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """A finding's parts but for its summary: the halvings of each measure that batch norm makes.

    Args:
        measures: of each, its name in words, and its unit.
        predicted: of each measure, and each of `BEST`, `COMMON` and `EQUAL`.
    """
    values = values_of(rows, names_of(list(measures)))
    of_arms = {
        at: [of_splits(values, arm, COMMON if at == COMMON else BEST) for arm in ARMS]
        for at in (BEST, COMMON, EQUAL)
    }

    def column(name: str, at: str) -> str:
        return f"{name}_at_equal_loss" if at == EQUAL else name

    comparisons = [
        Comparison(
            f"{measures[name][0]}, {at}",
            halvings(*(of[column(name, at)] for of in of_arms[at])),
            SMALLEST,
            expected,
        )
        for (name, at), expected in predicted.items()
    ]
    verdict, judged = judge(comparisons)
    table = [
        [
            f"{arm}, {at}",
            *(in_words(mean_of(of[column(name, at)]), ".3g") for name in measures),
            in_words(mean_of(of[column("loss", at)]), ".2g"),
            in_words(mean_of(100 * of["test_accuracy"])),
        ]
        for at, found in of_arms.items()
        for arm, of in zip(ARMS, found, strict=True)
    ]
    panels = [
        Panel(
            title=f"{words[0].upper()}{words[1:]}, {at}",
            x="epochs",
            y=unit,
            lines={
                arm: (EPOCHS, np.array([of[f"{name}_{epoch}"] for epoch in EPOCHS]))
                for arm, of in zip(ARMS, of_arms[at], strict=True)
            },
            log_y=True,
        )
        for name, (words, unit) in measures.items()
        for at in (BEST, COMMON)
        if (name, at) in predicted
    ]
    headings = [f"{words}, {unit}" for words, unit in measures.values()]
    return {
        "headings": ["network", *headings, "training loss", "test accuracy, %"],
        "rows": table,
        "verdict": verdict,
        "panels": panels,
        "headline": ARMS,
        "judged": judged,
        "unit": "halvings (1: half, 2: a quarter)",
        **extent(rows),
    }
