"""Ioffe and Szegedy's network with and without batch norm, and with noise after batch norm."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jbn.config import DataConfig
from jbn.data import Dataset, Examples, epoch_rows, load, normalize_inputs
from jbn.linen import BatchNorm
from jbn.train.loss import cross_entropies

NUM_SEEDS, NUM_EPOCHS, BATCH_SIZE, NUM_PROBED = 10, 60, 60, 256
RATES = [0.03, 0.1, 0.3, 1.0, 3.0]
ARMS = ("batch_norm", "noisy_batch_norm", "no_norm")
QUANTILES = jnp.array([0.15, 0.5, 0.85])
STEPS = jnp.array([0.5, 1.0, 2.0, 4.0])  # as multiples of a step


class Traces(NamedTuple):
    """Of each arm, rate and seed, at each probe; arrays with these axes first, in this order."""

    quantiles: np.ndarray  # of what each unit of the last hidden layer takes: (..., 3, units)
    val: np.ndarray  # accuracy of the validation split
    test: np.ndarray
    loss_change: np.ndarray  # along a step: the largest less the smallest loss, over the loss
    gradient_change: np.ndarray  # along a step: the largest ‖Δg‖ / ‖g‖


class Net(nn.Module):
    """Three hidden layers of 100 sigmoid units; returns logits and what the last of them takes."""

    norm: Literal["batch_norm", "noisy_batch_norm", "no_norm"]

    @nn.compact
    def __call__(self, x: Any, train: bool) -> tuple[Any, Any]:
        for _ in range(3):
            x = nn.Dense(100)(x)
            if self.norm != "no_norm":
                x = BatchNorm(momentum=0.9, use_running_average=not train)(x)
            if self.norm == "noisy_batch_norm" and train:
                x = add_noise(self.make_rng("noise"), x)
            taken, x = x, nn.sigmoid(x)
        return nn.Dense(10)(x), taken


def add_noise(key: Any, x: Any) -> Any:
    """x times a factor, plus a term, drawn for each entry from a distribution drawn for each unit.

    As Santurkar et al., 2018, disturb what batch norm has made stable: with another mean and
    another scale of each unit in every step.
    """
    units = jax.random.split(key, 4)
    mean = jax.random.uniform(units[0], x.shape[1:], minval=-0.5, maxval=0.5)
    scale = jax.random.uniform(units[1], x.shape[1:], minval=0.5, maxval=1.5)
    factor = scale * (1 + 0.1 * jax.random.normal(units[2], x.shape))
    return factor * x + mean + 0.1 * jax.random.normal(units[3], x.shape)


def collect(data: Any = None) -> Traces:
    """Trains every arm from every seed at every rate; on another data set, if one is named."""
    config = DataConfig(name=data or "digits")
    dataset = load(config)
    splits = jax.device_put([_prepared(config, dataset, split) for split in dataset[:3]])
    found = []
    for arm in ARMS:
        run = make_run(Net(arm))
        over_seeds = jax.vmap(run, (0, None, None))
        over_rates = jax.jit(jax.vmap(over_seeds, (None, 0, None)))
        keys = jax.random.split(jax.random.key(0), NUM_SEEDS)
        found.append(over_rates(keys, jnp.array(RATES), splits))
    return Traces(*(np.array(arrays) for arrays in zip(*found, strict=True)))


def _prepared(config: DataConfig, dataset: Dataset, split: Examples) -> Examples:
    x = normalize_inputs(config, dataset.input_stats, split.x)
    return Examples(x.reshape(len(x), -1), split.y)


def make_run(net: Net) -> Any:
    """Returns `run(key, rate, splits)`, plain gradient descent, probed after each epoch."""

    def run(key: Any, rate: Any, splits: Sequence[Examples]) -> Traces:
        (x, y), val, test = splits
        init_key, order_key, noise_key = jax.random.split(key, 3)
        variables = net.init({"params": init_key, "noise": noise_key}, x[:2], train=True)
        stats = variables.get("batch_stats", {})

        def forward(params: Any, stats: Any, rows: Any, step: Any) -> Any:
            (logits, taken), updates = net.apply(
                {"params": params, "batch_stats": stats},
                x[rows],
                train=True,
                mutable=["batch_stats"],
                rngs={"noise": jax.random.fold_in(noise_key, step)},
            )
            loss = cross_entropies(logits, y[rows]).mean()
            return loss, (updates.get("batch_stats", {}), taken)

        def one_step(carry: Any, rows: Any) -> tuple[Any, None]:
            params, stats, step = carry
            gradient, (stats, _) = jax.grad(forward, has_aux=True)(params, stats, rows, step)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
            return (params, stats, step + 1), None

        def probe(carry: Any) -> Traces:
            params, stats, step = carry
            rows = jnp.arange(NUM_PROBED)
            (loss, (_, taken)), gradient = jax.value_and_grad(forward, has_aux=True)(
                params, stats, rows, step
            )

            def along(length: Any) -> Any:
                moved = jax.tree.map(lambda p, g: p - length * rate * g, params, gradient)
                (there, _), changed = jax.value_and_grad(forward, has_aux=True)(
                    moved, stats, rows, step
                )
                difference = optax.tree.sub(changed, gradient)
                return there, optax.tree.norm(difference) / optax.tree.norm(gradient)

            losses, changes = jax.lax.map(along, STEPS)
            losses = jnp.append(losses, loss)

            def accuracy(split: Examples) -> Any:
                variables = {"params": params, "batch_stats": stats}
                logits, _ = net.apply(variables, split.x, train=False)
                return jnp.equal(logits.argmax(-1), split.y).mean()

            return Traces(
                quantiles=jnp.quantile(taken, QUANTILES, axis=0),
                val=accuracy(val),
                test=accuracy(test),
                loss_change=(losses.max() - losses.min()) / loss,
                gradient_change=changes.max(),
            )

        def section(carry: Any, batches: Any) -> tuple[Any, Traces]:
            carry, _ = jax.lax.scan(one_step, carry, batches)
            return carry, probe(carry)

        epochs = jax.random.split(order_key, NUM_EPOCHS)
        rows = jax.vmap(lambda key: epoch_rows(key, y, BATCH_SIZE))(epochs)
        batches = rows.reshape(NUM_EPOCHS, -1, BATCH_SIZE)
        first = (variables["params"], stats, jnp.zeros((), jnp.int32))
        return jax.lax.scan(section, first, batches)[1]

    return run
