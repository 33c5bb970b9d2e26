"""How far the weights of each input of each layer move in an epoch."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from probes import kernels, train_probed

from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig
from jbn.data import load
from jbn.train import TrainState, make_task

NUM_SEEDS, NUM_EPOCHS = 10, 10
ARMS = {
    "batch_norm": NormConfig(),
    "layer_norm": NormConfig(kind="layer"),  # added when the first result was there
    "no_norm": NormConfig(kind="none"),
}
OPTIMIZERS = {
    "sgd": OptimizerConfig(kind="sgd", learning_rate=0.1),
    "adam": OptimizerConfig(kind="adam"),
}
INPUTS = ("standardize", "min_max")


def collect(data: Any = None) -> dict[tuple[str, str, str], list[np.ndarray]]:
    """By optimizer, inputs and arm: of each layer, the distances (seeds, epochs, its inputs).

    On another data set than digits, if one is named.
    """
    name = data or "digits"
    found = {}
    for optimizer, settings in OPTIMIZERS.items():
        for inputs in INPUTS:
            for arm, norm in ARMS.items():
                config = ArmConfig(
                    data=DataConfig(name=name, normalize=inputs), norm=norm, optimizer=settings
                )
                found[optimizer, inputs, arm] = _distances(config)
    return found


def _distances(config: ArmConfig) -> list[np.ndarray]:
    def probe(state: TrainState, *_: Any) -> Any:
        return kernels(state.params)

    dataset = load(config.data)
    task = make_task(config, dataset.spec)
    traces = train_probed(
        task,
        dataset,
        probe,
        rates=[config.optimizer.learning_rate],
        num_seeds=NUM_SEEDS,
        num_steps=NUM_EPOCHS * task.num_batches,
        every=task.num_batches,
    )
    # A pixel that is the same in all images moves no weight, with whatever norm behind it.
    varies = np.ptp(dataset.train.x.reshape(len(dataset.train.x), -1), axis=0) > 0
    return [
        np.asarray(jnp.linalg.norm(np.diff(trace[0], axis=1), axis=-1))[
            ..., varies if layer == 0 else slice(None)
        ]
        for layer, trace in enumerate(traces)
    ]
