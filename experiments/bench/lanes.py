"""The engine's lanes, as the benches time them: trained from the beginning, and tested."""

from collections.abc import Callable
from typing import Any

from jbn.train import Lanes, Sweep


def make_trainer(sweep: Sweep, lanes: Lanes, num_epochs: int) -> Callable[[], Any]:
    """Returns a function that trains the lanes; it returns the last metrics, and `finish`'s."""

    def train() -> Any:
        state = sweep.init(lanes)
        for _ in range(num_epochs):
            state, metrics = sweep.train_chunk(state, lanes)
        return metrics, sweep.finish(state, lanes)

    return train
