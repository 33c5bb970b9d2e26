"""The gradient in the first and the last hidden layer of deep networks, as they are trained.

Compiling takes longer than training here. So the hidden layers are a loop, and the networks of a
depth are lanes of one program: they differ in numbers alone.
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from probes import norm
from splits import split_of, stack
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig
from jbn.data import Batch, Dataset, load
from jbn.models.norm import masked_norm
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    evaluate_batches,
    make_gather,
    make_task,
    place,
    rows_of_epoch,
    run_steps,
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
DEPTHS, WIDTH, NUM_EXAMPLES = (5, 20, 50), 64, 256
STEPS = (0, 1, 10, 100, 225)  # at which a training is looked at; the last is its end, five epochs
ARMS = {"batch_norm": NormConfig(momentum_warmup=True), "no_norm": NormConfig(kind="none")}
ACTIVATIONS = (nn.sigmoid, nn.tanh, nn.relu)


class Case(NamedTuple):
    """What a network's layers are, in numbers."""

    activation: int  # its place among `ACTIVATIONS`
    gain: float = 1.0  # of all kernels, which LeCun's initialization draws
    shortcut: float = 0.0  # 1: each hidden layer but the first is added to what it takes


CASES = {
    "sigmoid": Case(0),
    "tanh": Case(1),
    "ReLU": Case(2),
    "ReLU, He's initialization": Case(2, gain=2**0.5),
    "ReLU, shortcuts": Case(2, shortcut=1.0),
}
DESCENT = {"ReLU, gradient descent": CASES["ReLU"]}  # of the deepest networks


class Program(NamedTuple):
    """Networks that are trained together, in each arm."""

    cases: Mapping[str, Case]
    depth: int
    optimizer: str
    rates: Sequence[float]


PROGRAMS = (
    *(Program(CASES, depth, "adam", (1e-4, 1e-3, 1e-2, 0.1)) for depth in DEPTHS),
    Program(DESCENT, DEPTHS[-1], "sgd", (0.01, 0.1, 1.0)),
)


class Layer(nn.Module):
    """A hidden layer as the article has it: Dense, activation, norm; maybe added to its input."""

    norm: Callable[..., nn.Module] | None
    train: bool
    width: int

    @nn.compact
    def __call__(self, x: Any, activation: Any, shortcut: Any, mask: Any) -> tuple[Any, None]:
        y = jax.lax.switch(activation, ACTIVATIONS, nn.Dense(self.width)(x))
        normalize = masked_norm(self.norm, mask, use_running_average=not self.train)
        y = y if normalize is None else normalize(y)
        return (y if shortcut is None else shortcut * x + y), None


class Deep(nn.Module):
    """A perceptron with a case's hidden layers; returns logits.

    Args:
        num_outputs: units of the last layer.
        depth: hidden layers.
        case: its numbers may be traced; its gain has no part here.
        norm: as in `jbn.models.MLP`.
        width: of the hidden layers.
    """

    num_outputs: int
    depth: int
    case: Case
    norm: Callable[..., nn.Module] | None = None
    width: int = WIDTH

    @nn.compact
    def __call__(self, x: Any, train: bool, mask: Any = None) -> Any:
        activation, _, shortcut = self.case
        x = x.reshape(len(x), -1)
        options = self.norm, train, self.width
        x, _ = Layer(*options, name="first")(x, activation, None, mask)
        others = nn.scan(
            Layer,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.depth - 1,
        )
        x, _ = others(*options, name="others")(x, activation, shortcut, mask)
        return nn.Dense(self.num_outputs, name="logits")(x)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm, rate and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = [load(DataConfig(split_seed=split)) for split in splits]
    found = []
    for program, (arm, of_arm) in itertools.product(PROGRAMS, ARMS.items()):
        config = ArmConfig(norm=of_arm, optimizer=OptimizerConfig(kind=program.optimizer))
        points = list(itertools.product(program.cases, program.rates))
        lanes = [(program.cases[name], np.float32(rate)) for name, rate in points]
        measured = trained(config, program.depth, lanes, datasets, splits)
        for (n, (name, rate)), (s, split) in itertools.product(
            enumerate(points), enumerate(splits)
        ):
            row = {"case": name, "depth": program.depth, "arm": arm, "learning_rate": rate}
            row |= {SPLIT: split, SEED: split}
            row |= {key: of[s, n].item() for key, of in measured.items()}
            found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def trained(
    config: ArmConfig,
    depth: int,
    lanes: Sequence[tuple[Case, np.float32]],
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """What `sizes` finds at each of `STEPS`, and accuracies at the end: each (datasets, lanes).

    A lane is a case and its learning rate.
    """

    def lane(case: Case, rate: Any, seed: Any, splits: Any, normalization: Any) -> Any:
        train, val, test = splits
        model: Any = functools.partial(Deep, depth=depth, case=case)
        task = make_task(config, datasets[0].spec, model=model).with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(config)._replace(learning_rate=rate, init_gain=case.gain)
        epochs = jnp.arange(-(-STEPS[-1] // task.num_batches))
        rows = jax.vmap(lambda epoch: rows_of_epoch(task, train.y, keys, epoch))(epochs)
        rows = rows.reshape(-1, rows.shape[-1])
        gather = functools.partial(make_gather(task, train, keys, hypers), is_full=False)
        first = Batch(*(v[:NUM_EXAMPLES] for v in train))

        def step(number: Any, state: TrainState) -> TrainState:
            return run_steps(task, state, rows[number][None], keys, hypers, gather)[0]

        def go_on(state: TrainState, between: Any) -> tuple[TrainState, Any]:
            start, end = between
            state = jax.lax.fori_loop(start, end, step, state)
            return state, sizes(task, state, first, keys, hypers)

        def accuracy(batches: Batch) -> Any:
            return evaluate_batches(task, variables, batches, hypers).means["accuracy"]

        steps = jnp.array((0, *STEPS))
        state, found = jax.lax.scan(go_on, task.init(keys, hypers), (steps[:-1], steps[1:]))
        variables = with_stats_of(task, state, train.x, hypers)
        of_steps = {
            f"{name}_{step}": of[n] for name, of in found.items() for n, step in enumerate(STEPS)
        }
        return of_steps | {"val_accuracy": accuracy(val), "test_accuracy": accuracy(test)}

    shared = [split_of(config.data, of, seed) for seed, of in zip(seeds, datasets, strict=True)]
    placement = place(jax.devices(), num_lanes=len(shared))
    by_split = jax.device_put(stack(shared), placement.by_lane)
    over_lanes = jax.vmap(lane, (0, 0, None, None, None))
    over_splits = jax.vmap(over_lanes, (None, None, 0, 0, 0))
    program = jax.jit(over_splits, out_shardings=placement.by_lane)
    numbers = jax.device_put(stack(lanes), placement.everywhere)
    found: dict[str, np.ndarray] = jax.device_get(program(*numbers, *by_split))
    return found


def sizes(
    task: Task, state: TrainState, examples: Batch, keys: TrainKeys, hypers: Hypers
) -> Mapping[str, Any]:
    """Norms of the gradient of the examples' mean loss, and the size of the error at the logits.

    first, last: for the kernels of the first and of the last hidden layer.
    error: root of the mean square, over the examples, of the norm of the gradient of an example's
        own loss for its logits, which is its softmax less its label.
    """
    layers = by_layer(task, state, examples, keys, hypers)
    return {"first": layers[0], "last": layers[-1], "error": error(task, state, examples, hypers)}


def by_layer(
    task: Task, state: TrainState, examples: Batch, keys: TrainKeys, hypers: Hypers
) -> Any:
    """Norms of the gradient of the examples' mean loss for each hidden layer's kernel."""
    gradient, *_ = task.gradient(state, examples, keys, hypers)
    first, others = (gradient[name]["Dense_0"]["kernel"] for name in ("first", "others"))
    return jnp.append(norm(first), jax.vmap(norm)(others))


def error(task: Task, state: TrainState, examples: Batch, hypers: Hypers) -> Any:
    """Root of the mean square of what flows in at the logits, as `sizes` has it."""
    logits, _ = applied(task, state, examples.x, hypers)
    found = jax.nn.softmax(logits) - jax.nn.one_hot(examples.y, logits.shape[-1])
    return norm(found) / np.sqrt(len(found))


def with_stats_of(task: Task, state: TrainState, x: Any, hypers: Hypers) -> dict[str, Any]:
    """The variables, with the batch statistics of all these inputs together."""
    _, collections = applied(task, state, x, hypers._replace(norm_momentum=jnp.zeros(())))
    return {"params": state.params, **collections}


def applied(task: Task, state: TrainState, x: Any, hypers: Hypers) -> tuple[Any, Any]:
    """The model's output in training, of raw inputs, and its new collections."""
    model = task.build(task.config.norm, hypers)
    mutable = list(state.collections)
    return model.apply(state.variables, task.prepare(x, hypers), train=True, mutable=mutable)
