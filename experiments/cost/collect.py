"""What normalized inputs cost, and what batch norm costs, in the article's network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bench.in_turn import seconds_in_turn
from flax import linen as nn

from jbn.config import ArmConfig, DataConfig, NormConfig
from jbn.data import Examples, fit_inputs, normalize_inputs
from jbn.models import build_model
from jbn.train import Hypers, make_init, make_train_step

NUM_ROUNDS, NUM_IMAGES, NUM_PIXELS, NUM_STEPS, BATCH_SIZE = 15, 60_000, 784, 300, 32
KINDS = {"plain": "none", "batch norm": "batch"}


class Seconds(NamedTuple):
    """Of each round."""

    fit: np.ndarray  # statistics of all images
    epochs: dict[str, np.ndarray]  # an epoch's training steps: plain, batch norm, standardized
    predictions: dict[str, np.ndarray]  # of all images, in batches of 1000: plain, batch norm


def collect(data: str | None = None) -> Seconds:
    """Times everything, in turn; what is in the images makes no difference, whatever `data`."""
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, NUM_PIXELS), np.uint8)
    x = jnp.asarray(images)
    data = DataConfig()
    input_stats = fit_inputs(data, images)
    programs = {"fit": lambda: fit_inputs(data, images)}
    for name, kind in KINDS.items():
        config = ArmConfig(norm=NormConfig(kind=kind))
        programs[f"{name}, training"] = _make_epoch(config, x, None)
        programs[f"{name}, prediction"] = _make_prediction(config, x)
    programs["standardized, training"] = _make_epoch(
        ArmConfig(norm=NormConfig(kind="none")), x, input_stats
    )
    found = seconds_in_turn(programs, NUM_ROUNDS)
    epoch = NUM_IMAGES / (BATCH_SIZE * NUM_STEPS)
    return Seconds(
        fit=found["fit"],
        epochs={name: epoch * found[f"{name}, training"] for name in (*KINDS, "standardized")},
        predictions={name: found[f"{name}, prediction"] for name in KINDS},
    )


def _make_epoch(config: ArmConfig, x: Any, input_stats: Any) -> Any:
    """A part of an epoch, compiled: images as float32, standardized if there are statistics."""
    num_classes = 10
    hypers = Hypers.of(config)
    y = jnp.arange(len(x)) % num_classes

    def prepare(x: Any) -> Any:
        if input_stats is None:
            return x.astype(jnp.float32)
        return normalize_inputs(config.data, input_stats, x)

    @jax.jit
    def run(state: Any, x: Any, y: Any) -> Any:
        train_step = make_train_step(config, num_classes, NUM_STEPS)

        def step(state: Any, rows: Any) -> tuple[Any, Any]:
            state, (metrics, _) = train_step(state, Examples(prepare(x[rows]), y[rows]), hypers)
            return state, metrics.loss_sum

        batches = jnp.arange(NUM_STEPS * BATCH_SIZE).reshape(NUM_STEPS, BATCH_SIZE)
        return jax.lax.scan(step, state, batches)

    first = Examples(prepare(x[:2]), y[:2])
    state = make_init(config, num_classes)(jax.random.key(0), first, hypers)
    return lambda: run(state, x, y)


def _make_prediction(config: ArmConfig, x: Any) -> Any:
    """The classes of all images, compiled."""
    model: nn.Module = build_model(config.model, config.norm, 10)
    variables = model.init(jax.random.key(0), x[:2].astype(jnp.float32), train=False)

    @jax.jit
    def run(variables: Any, x: Any) -> Any:
        def of(batch: Any) -> Any:
            logits: Any = model.apply(variables, batch.astype(jnp.float32), train=False)
            return logits.argmax(-1)

        return jax.lax.map(of, x.reshape(-1, 1000, NUM_PIXELS))

    return lambda: run(variables, x)
