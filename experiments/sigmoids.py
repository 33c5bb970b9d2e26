"""Ioffe and Szegedy's network of sigmoids, trained and looked at after each epoch.

Three hidden layers of 100 units (Ioffe and Szegedy, 2015, Figure 1) on standardized handwritten
digits, batches of 60, plain gradient descent.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from splits import stack
from values import SEED, SPLIT, Values, label, tuned

from jbn.config import DataConfig
from jbn.data import Examples, epoch_rows, load, normalize_inputs
from jbn.linen import BatchNorm
from jbn.train import place
from jbn.train.loss import cross_entropies

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
COMMON_RATE = "0.3"  # at which both networks learn, and which suits neither best
NUM_EPOCHS, BATCH_SIZE = 60, 60
BEST, COMMON = "each at its best rate", f"both at rate {COMMON_RATE}"
ACCURACIES = ("val_accuracy", "test_accuracy")
ARMS = ("batch_norm", "no_norm")

# Of the network, its parameters, the learning rate, training examples and a key.
Probe = Callable[["Net", Any, Any, Examples, Any], Any]


class Noise(NamedTuple):
    """The widths of what disturbs each unit after its norm, in every step anew."""

    mean: float  # of a unit: from minus this to this
    scale: tuple[float, float]  # of a unit: from, to
    example: float  # of an example's mean and scale: from its unit's less this to that and this


class Net(nn.Module):
    """Returns logits, and of the last hidden layer what it computes and what its sigmoids take."""

    has_norm: bool
    noise: Noise | None = None

    @nn.compact
    def __call__(self, x: Any, train: bool) -> tuple[Any, tuple[Any, Any]]:
        for _ in range(3):
            x = before = nn.Dense(100)(x)
            if self.has_norm:
                x = BatchNorm(momentum=0.0, use_running_average=not train)(x)
            if self.noise is not None and train:
                x = add_noise(self.make_rng("noise"), x, self.noise)
            taken, x = x, nn.sigmoid(x)
        return nn.Dense(10)(x), (before, taken)


def add_noise(key: Any, x: Any, noise: Noise) -> Any:
    """x times a scale, plus a mean, drawn for each entry about values drawn for each unit.

    As Santurkar et al., 2018, disturb what batch norm has made stable.
    """
    mean_key, scale_key, example_key = jax.random.split(key, 3)
    low, high = noise.scale
    mean = jax.random.uniform(mean_key, x.shape[1:], minval=-noise.mean, maxval=noise.mean)
    scale = jax.random.uniform(scale_key, x.shape[1:], minval=low, maxval=high)
    of_example = noise.example * jax.random.uniform(example_key, (2, *x.shape), minval=-1)
    return (scale + of_example[0]) * x + mean + of_example[1]


def loss_of(net: Net, params: Any, examples: Examples, key: Any) -> tuple[Any, tuple[Any, Any]]:
    """The mean loss in training; and what the net says of its last hidden layer."""
    (logits, inputs), _ = net.apply(
        {"params": params},
        examples.x,
        train=True,
        mutable=["batch_stats"],
        rngs={"noise": key},
    )
    return cross_entropies(logits, examples.y).mean(), inputs


def train_probed(
    net: Net, probe: Probe, splits: Sequence[int], num_epochs: int = NUM_EPOCHS
) -> Any:
    """What a probe finds before training and after each epoch, and the accuracies then.

    Accuracies are with statistics of all training examples, without noise.

    Returns:
        Arrays on the host, of the shape (splits, rates, 1 + epochs, ...).
    """

    def lane(seed: Any, rate: Any, train: Examples, val: Examples, test: Examples) -> Any:
        init_key, order_key, noise_key = jax.random.split(jax.random.key(seed), 3)

        def one_step(carry: Any, rows: Any) -> tuple[Any, None]:
            params, step = carry
            batch, key = jax.tree.map(lambda v: v[rows], train), jax.random.fold_in(noise_key, step)
            gradient = jax.grad(lambda p: loss_of(net, p, batch, key)[0])(params)
            return (jax.tree.map(lambda p, g: p - rate * g, params, gradient), step + 1), None

        def accuracies(params: Any) -> dict[str, Any]:
            _, stats = net.clone(noise=None).apply(
                {"params": params}, train.x, train=True, mutable=["batch_stats"]
            )
            variables = {"params": params, **stats}
            logits = [net.apply(variables, split.x, train=False)[0] for split in (val, test)]
            right = [
                jnp.equal(of.argmax(-1), split.y).mean()
                for of, split in zip(logits, (val, test), strict=True)
            ]
            return dict(zip(ACCURACIES, right, strict=True))

        def section(carry: Any, batches: Any) -> tuple[Any, Any]:
            params, step = carry
            key = jax.random.fold_in(noise_key, step)
            found = probe(net, params, rate, train, key) | accuracies(params)
            return jax.lax.scan(one_step, carry, batches)[0], found

        keys = jax.random.split(order_key, num_epochs)
        rows = jax.vmap(lambda key: epoch_rows(key, train.y, BATCH_SIZE))(keys)
        batches = rows[:, : rows.shape[1] // BATCH_SIZE * BATCH_SIZE]
        batches = batches.reshape(num_epochs, -1, BATCH_SIZE)
        # The last probe has steps after it, for nothing: less than compiling the probe twice costs.
        batches = jnp.concatenate([batches, batches[:1]])
        variables = net.clone(noise=None).init(init_key, train.x[:2], train=True)
        first = (variables["params"], jnp.zeros((), jnp.int32))
        return jax.lax.scan(section, first, batches)[1]

    placement = place(jax.devices(), num_lanes=len(splits))
    over_rates = jax.vmap(lane, (None, 0, None, None, None))
    over_splits = jax.vmap(over_rates, (0, None, 0, 0, 0))
    program = jax.jit(over_splits, out_shardings=placement.by_lane)
    loaded = [load_split(split) for split in splits]
    data = jax.device_put(stack(loaded), placement.by_lane)
    seeds = jax.device_put(np.array(splits), placement.by_lane)
    rates = jax.device_put(np.array(RATES, np.float32), placement.everywhere)
    return jax.device_get(program(seeds, rates, *data))


def load_split(split: int) -> list[Examples]:
    """The training, validation and test examples, standardized, in rows."""
    config = DataConfig(split_seed=split)
    dataset = load(config)
    return [
        Examples(
            np.asarray(normalize_inputs(config, dataset.input_stats, of.x)).reshape(len(of.x), -1),
            of.y,
        )
        for of in dataset[:3]
    ]


def rows_of(
    nets: Mapping[str, Net],
    probe: Probe,
    columns: Callable[[dict[str, np.ndarray]], dict[str, Any]],
    splits: Sequence[int],
) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, rate and split, with the columns of its trace; and the seconds."""
    clock = time.perf_counter()
    found = []
    for arm, net in nets.items():
        traces = train_probed(net, probe, splits)
        for (n, split), (m, rate) in itertools.product(enumerate(splits), enumerate(RATES)):
            varied = {"arm": arm, "learning_rate": rate, SPLIT: split, SEED: split}
            values = columns({name: of[n, m] for name, of in traces.items()})
            found.append({name: label(of) for name, of in (varied | values).items()})
    return found, time.perf_counter() - clock


def of_splits(values: Values, arm: str, at: str) -> dict[str, np.ndarray]:
    """Each measure of an arm, of each split: at the rate that suits the others, or at one rate."""
    measures = values.at({"arm": arm}).measures
    if at == BEST:
        return {name: tuned(measures["val_accuracy"], of).mean(-1) for name, of in measures.items()}
    rate = values.labels["learning_rate"].index(COMMON_RATE)
    return {name: of[rate].mean(-1) for name, of in measures.items()}


def halvings(with_norm: np.ndarray, without: np.ndarray) -> np.ndarray:
    """How many times what there is without batch norm is halved with it.

    >>> halvings(np.array([1.0]), np.array([8.0])).tolist()
    [3.0]
    """
    return np.log2(without / with_norm)
