"""What is timed is what its time is divided by, and no program always comes after the same one."""

import jax
import numpy as np
import pytest
from bench.in_turn import seconds_in_turn
from timing import make_steps

from jbn.config import ArmConfig, DataConfig, ModelConfig, TrainConfig
from jbn.data import load


@pytest.mark.optimized
def test_so_many_steps_are_taken_as_are_named():
    config = ArmConfig(
        data=DataConfig(name="wine"),
        model=ModelConfig(hidden_sizes=(5,)),
        train=TrainConfig(batch_size=16),
    )
    dataset = load(config.data)
    examples = jax.device_put(dataset.train)
    run = make_steps(config, examples, dataset.input_stats, dataset.num_classes, 7)
    (first, metrics), (second, _) = run(), run()
    assert first.step == second.step == 7
    right = 7 * 16 * float(metrics.train["accuracy"])  # of 112 examples, each once
    assert right == pytest.approx(round(right), abs=1e-3)
    # Each call begins anew.
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def test_every_program_runs_once_in_each_round_in_orders_that_differ():
    names, calls = "abc", []
    programs = {name: lambda name=name: calls.append(name) for name in names}
    seconds = seconds_in_turn(programs, num_rounds=30)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(names, 30)
    rounds = np.reshape(calls, (-1, 3))
    assert len(rounds) == 32  # two for warming up
    assert {"".join(sorted(order)) for order in rounds} == {names}
    assert len({"".join(order) for order in rounds}) > 1
