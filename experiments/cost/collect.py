"""What normalized inputs cost, and what batch norm costs, in the article's network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bench.in_turn import seconds_in_turn
from timing import NUM_ROUNDS, answer, ask_processes, make_steps

from jbn.config import ArmConfig, DataConfig, NormConfig
from jbn.data import Examples, fit_inputs, load
from jbn.models import build_model

NUM_IMAGES, NUM_STEPS, NUM_PREDICTED = 60_000, 100, 10_000
NUM_PIXELS = (784, 64)  # as MNIST has, and as handwritten digits have
ARMS = {
    "plain": ArmConfig(data=DataConfig(normalize="none"), norm=NormConfig(kind="none")),
    "standardized": ArmConfig(norm=NormConfig(kind="none")),
    "batch norm": ArmConfig(data=DataConfig(normalize="none")),
}
PREDICTED = ("plain", "batch norm")  # standardized inputs are predicted by the plain network


class Seconds(NamedTuple):
    """Arrays of the shape (processes, rounds)."""

    fit: np.ndarray  # statistics of all images
    epochs: dict[str, np.ndarray]  # an epoch's training steps: plain, batch norm, standardized
    predictions: dict[str, np.ndarray]  # of all images, in batches of 1000: plain, batch norm


def collect(data: str | None = None) -> dict[int, Seconds]:
    """Times everything, in turn, by the number of pixels: those of a data set, if one is named."""
    sizes = NUM_PIXELS
    if data is not None:
        sizes = (load(DataConfig(name=data)).train.x[0].size,)
    found = {size: ask_processes(__file__, str(size)) for size in sizes}
    return {size: _in_one(processes) for size, processes in found.items()}


def _in_one(processes: list[dict[str, list[float]]]) -> Seconds:
    seconds = {name: np.array([found[name] for found in processes]) for name in processes[0]}
    epoch = NUM_IMAGES / (ArmConfig().train.batch_size * NUM_STEPS)
    return Seconds(
        fit=seconds["fit"],
        epochs={arm: epoch * seconds[f"{arm}, training"] for arm in ARMS},
        predictions={
            arm: NUM_IMAGES / NUM_PREDICTED * seconds[f"{arm}, prediction"] for arm in PREDICTED
        },
    )


def measure_seconds(num_pixels: str) -> dict[str, np.ndarray]:
    """Of every program, on random images: what is in them makes no difference to the time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_IMAGES, int(num_pixels)), np.uint8)
    labels = rng.integers(0, 10, NUM_IMAGES).astype(np.int32)
    input_stats = fit_inputs(DataConfig(), images)
    examples = jax.device_put(Examples(images, labels))
    programs: dict[str, Callable[[], Any]] = {"fit": lambda: fit_inputs(DataConfig(), images)}
    for arm, config in ARMS.items():
        programs[f"{arm}, training"] = make_steps(config, examples, input_stats, 10, NUM_STEPS)
    for arm in PREDICTED:
        programs[f"{arm}, prediction"] = _make_prediction(ARMS[arm], examples.x[:NUM_PREDICTED])
    return seconds_in_turn(programs, NUM_ROUNDS)


def _make_prediction(config: ArmConfig, x: Any) -> Callable[[], Any]:
    """The classes of images, compiled."""
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
    answer(measure_seconds)
