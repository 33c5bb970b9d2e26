"""The gradient's norm by layer, at the start and in training, of networks of several depths."""

from typing import Any, NamedTuple

import numpy as np
from probes import make_accuracy, make_gradient_norms, train_probed

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, TrainConfig
from jbn.data import Dataset, Examples, load
from jbn.train import Hypers, Task, TrainKeys, TrainState, make_task

NUM_SEEDS, WIDTH, NUM_EPOCHS, NUM_EXAMPLES = 10, 64, 5, 256
DEPTHS = (5, 20, 50)
ARMS = {"batch_norm": NormConfig(), "no_norm": NormConfig(kind="none")}
# An activation, and how its kernels begin: as the article leaves it, and as textbooks have it.
CASES = {
    "sigmoid": ModelConfig(activation="sigmoid"),
    "tanh": ModelConfig(activation="tanh"),
    "ReLU": ModelConfig(activation="relu"),
    "ReLU, He's initialization": ModelConfig(activation="relu", kernel_init="he_normal"),
}


class Gradients(NamedTuple):
    """Of one case at one depth, in each arm."""

    norms: np.ndarray  # (arms, seeds, 2, hidden layers): at the start, after 5 epochs
    accuracy: np.ndarray  # (arms, seeds), of the validation split, after 5 epochs


def collect(data: Any = None) -> dict[tuple[str, int], Gradients]:
    """Trains every case at every depth; on another data set, if one is named."""
    dataset = load(DataConfig(name=data or "digits"))
    return {
        (case, depth): _gradients(
            model.model_copy(update={"hidden_sizes": (WIDTH,) * depth}), dataset
        )
        for case, model in CASES.items()
        for depth in DEPTHS
    }


def _gradients(model: ModelConfig, dataset: Dataset) -> Gradients:
    found = []
    for norm in ARMS.values():
        config = ArmConfig(model=model, norm=norm, train=TrainConfig(recompute_stats=True))
        task = make_task(config, dataset.spec)
        norms, accuracy = train_probed(
            task,
            dataset,
            _make_probe(task),
            rates=[config.optimizer.learning_rate],
            num_seeds=NUM_SEEDS,
            num_steps=NUM_EPOCHS * task.num_batches,
            every=task.num_batches,
        )
        found.append((norms[0][:, [0, -1]], accuracy[0][:, -1]))
    return Gradients(*(np.array(arrays) for arrays in zip(*found, strict=True)))


def _make_probe(task: Task) -> Any:
    gradient_norms = make_gradient_norms(task)
    accuracy = make_accuracy(task)

    def probe(
        state: TrainState, keys: TrainKeys, hypers: Hypers, train: Examples, val: Examples
    ) -> Any:
        first = Examples(train.x[:NUM_EXAMPLES], train.y[:NUM_EXAMPLES])
        norms = gradient_norms(state, keys, hypers, first)
        return norms, accuracy(state, keys, hypers, train, val)

    return probe
