"""What normalized inputs cost, and what batch norm costs, in the article's network."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench.in_turn import seconds_in_turn
from timing import NUM_ROUNDS, answer, ask_processes, make_steps

from jbn.config import ArmConfig, DataConfig, NormConfig
from jbn.data import Examples, fit_inputs
from jbn.models import build_model

REPEATS = tuple(range(10))  # processes
NUM_IMAGES, NUM_STEPS, NUM_PREDICTED = 60_000, 100, 10_000
NUM_PIXELS = (784, 64)  # as MNIST has, and as handwritten digits have
ARMS = {
    "plain": ArmConfig(data=DataConfig(normalize="none"), norm=NormConfig(kind="none")),
    "standardized": ArmConfig(norm=NormConfig(kind="none")),
    "batch_norm": ArmConfig(data=DataConfig(normalize="none")),
}
PREDICTED = ("plain", "batch_norm")  # standardized inputs are predicted by the plain network
TIMES_TO_ALL = {  # of what is timed, to that of all images
    "statistics": 1.0,
    "epoch": NUM_IMAGES / (ArmConfig().train.batch_size * NUM_STEPS),
    "prediction": NUM_IMAGES / NUM_PREDICTED,
}


def rows(repeats: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each size, program, process and round, with its seconds for all images.

    And the seconds that it all took.
    """
    clock = time.perf_counter()
    found = []
    for pixels in NUM_PIXELS:
        for process, programs in enumerate(ask_processes(__file__, len(repeats), str(pixels))):
            for name, rounds in programs.items():
                what, _, arm = name.partition(" ")
                for number, seconds in enumerate(rounds):
                    row = {"pixels": pixels, "what": what, "arm": arm, "process": process}
                    row |= {"round": number, "seconds": f"{TIMES_TO_ALL[what] * seconds:.6g}"}
                    found.append({key: str(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def measure_seconds(num_pixels: str) -> dict[str, np.ndarray]:
    """Of every program, on random images: what is in them makes no difference to the time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_IMAGES, int(num_pixels)), np.uint8)
    labels = rng.integers(0, 10, NUM_IMAGES).astype(np.int32)
    input_stats = fit_inputs(DataConfig(), images)
    examples = jax.device_put(Examples(images, labels))
    programs: dict[str, Callable[[], Any]] = {
        "statistics standardized": lambda: fit_inputs(DataConfig(), images)
    }
    for arm, config in ARMS.items():
        programs[f"epoch {arm}"] = make_steps(config, examples, input_stats, 10, NUM_STEPS)
    for arm in PREDICTED:
        programs[f"prediction {arm}"] = _make_prediction(ARMS[arm], examples.x[:NUM_PREDICTED])
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
