"""What normalized inputs cost, and what batch norm costs, in the article's network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bench.in_turn import seconds_in_turn

from jbn.config import ArmConfig, DataConfig, NormConfig
from jbn.data import Examples, fit_inputs
from jbn.functional._input_stats import InputStats
from jbn.models import build_model
from jbn.train import Hypers, RunKeys, make_init, make_train_chunk
from jbn.train.loop import make_prepare

NUM_ROUNDS, NUM_IMAGES, NUM_STEPS, BATCH_SIZE = 15, 60_000, 300, 32
NUM_PIXELS = (784, 64)  # as MNIST has, and as handwritten digits have
ARMS = {
    "plain": ArmConfig(data=DataConfig(normalize="none"), norm=NormConfig(kind="none")),
    "standardized": ArmConfig(norm=NormConfig(kind="none")),
    "batch norm": ArmConfig(data=DataConfig(normalize="none")),
}
PREDICTED = ("plain", "batch norm")  # standardized inputs are predicted by the plain network


class Seconds(NamedTuple):
    """Of each round."""

    fit: np.ndarray  # statistics of all images
    epochs: dict[str, np.ndarray]  # an epoch's training steps: plain, batch norm, standardized
    predictions: dict[str, np.ndarray]  # of all images, in batches of 1000: plain, batch norm


def collect(data: str | None = None) -> dict[int, Seconds]:
    """Times everything, in turn, by the number of pixels; in a process of its own, on one core.

    What is in the images makes no difference to it, so `data` doesn't either.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, __file__]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return {
        int(num_pixels): Seconds(
            np.array(fit),
            *({name: np.array(v) for name, v in times.items()} for times in (epochs, predictions)),
        )
        for num_pixels, (fit, epochs, predictions) in json.loads(done.stdout).items()
    }


def _seconds(num_pixels: int) -> Seconds:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_IMAGES, num_pixels), np.uint8)
    labels = rng.integers(0, 10, NUM_IMAGES).astype(np.int32)
    input_stats = fit_inputs(DataConfig(), images)
    examples = jax.device_put(Examples(images, labels))
    programs: dict[str, Callable[[], Any]] = {"fit": lambda: fit_inputs(DataConfig(), images)}
    for arm, config in ARMS.items():
        programs[f"{arm}, training"] = _make_training(config, examples, input_stats)
    for arm in PREDICTED:
        programs[f"{arm}, prediction"] = _make_prediction(ARMS[arm], examples.x)
    found = seconds_in_turn(programs, NUM_ROUNDS)
    epoch = NUM_IMAGES / (BATCH_SIZE * NUM_STEPS)
    return Seconds(
        fit=found["fit"],
        epochs={arm: epoch * found[f"{arm}, training"] for arm in ARMS},
        predictions={arm: found[f"{arm}, prediction"] for arm in PREDICTED},
    )


def _make_training(
    config: ArmConfig, examples: Examples, input_stats: InputStats
) -> Callable[[], Any]:
    """So many steps as `jbn run` takes them, compiled."""
    hypers, keys = Hypers.of(config), RunKeys.of(jax.random.key(0))
    train, val = (jax.tree.map(lambda v, n=n: v[:n], examples) for n in (NUM_STEPS * BATCH_SIZE, 2))
    first = val._replace(x=make_prepare(config, input_stats)(val.x, hypers))
    state = make_init(config, 10)(keys.init, first, hypers)
    chunk = jax.jit(make_train_chunk(config, 10, input_stats))
    return lambda: chunk(state, train, val, keys, hypers)


def _make_prediction(config: ArmConfig, x: Any) -> Callable[[], Any]:
    """The classes of all images, compiled."""
    model = build_model(config.model, config.norm, 10)
    variables = model.init(jax.random.key(0), x[:2].astype(jnp.float32), train=False)

    @jax.jit
    def run(variables: Any, x: Any) -> Any:
        def of(batch: Any) -> Any:
            logits: Any = model.apply(variables, batch.astype(jnp.float32), train=False)
            return logits.argmax(-1)

        return jax.lax.map(of, x.reshape(-1, 1000, x.shape[-1]))

    return lambda: run(variables, x)


if __name__ == "__main__":
    # How XLA shares such small work out among cores differs from program to program, by more than
    # a norm takes.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {num_pixels: _seconds(num_pixels) for num_pixels in NUM_PIXELS}
    print(json.dumps(found, default=np.ndarray.tolist))
