"""The engine's lanes, as the benches time them: trained from the beginning, and tested."""

from collections.abc import Callable
from typing import Any

from jbn.train import CompiledProgram, Lanes


def make_trainer(program: CompiledProgram, lanes: Lanes, num_epochs: int) -> Callable[[], Any]:
    """Returns a function that trains the lanes; it returns the last metrics, and `finish`'s."""

    def train() -> Any:
        state = program.init(lanes)
        for _ in range(num_epochs):
            *_, (state, _, metrics) = program.run_epoch(state, lanes, None)
        return metrics, program.finish(state, lanes)

    return train
