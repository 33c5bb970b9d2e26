"""Times the steps of the networks of `convergence`, and takes from there how many there are."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from bench.in_turn import seconds_in_turn
from convergence.collect import ARMS, MEASURES, NETWORKS, REPEATS, Network
from convergence.measure import best_steps
from timing import NUM_ROUNDS, answer, ask_processes, make_steps
from values import SEED, SPLIT, Row, label, read_rows, values_of

from jbn.data import load

STEPS = Path(__file__).parents[1] / "convergence" / "values.csv"
MAX_TIMED_STEPS = 100
SECONDS = "seconds_a_step"


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm and split, with times of a process; and the seconds it took."""
    clock = time.perf_counter()
    processes = ask_processes(__file__, num_processes=len(splits))
    found = steps_of(read_rows(STEPS))
    return [
        row | {SECONDS: label(processes[splits.index(split)][row["network"]][row["arm"]])}
        for row in found
        if (split := int(row[SPLIT])) in splits
    ], time.perf_counter() - clock


def steps_of(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Steps to each target at the best rate of each split, of the rows of `convergence`.

    The geometric mean over the seeds; infinite if none reached it.
    """
    found = []
    for title, network in NETWORKS.items():
        of_network = [row for row in rows if row["network"] == title]
        splits = list(dict.fromkeys(row[SPLIT] for row in of_network))
        values = values_of(of_network, tuple(MEASURES.values()))
        for arm in ARMS:
            at_best = [best_steps(values.at({"arm": arm}), of, network) for of in MEASURES]
            steps = [
                np.where(best.never.all(-1), np.inf, 2 ** np.log2(best.steps).mean(-1))
                for best in at_best
            ]
            for split, *of_split in zip(splits, *steps, strict=True):
                row = {"network": title, "arm": arm, SPLIT: split, SEED: split}
                of_targets = zip(MEASURES.values(), of_split, strict=True)
                found.append(row | {name: label(float(number)) for name, number in of_targets})
    return found


def measure_seconds() -> Mapping[str, Mapping[str, float]]:
    """What a step takes, without evaluation, by network and arm: the median over the rounds."""
    return {title: _seconds(network) for title, network in NETWORKS.items()}


def _seconds(network: Network) -> dict[str, float]:
    dataset = load(network.shared.data)
    examples = jax.device_put(dataset.train)
    num_batches = len(examples.y) // network.shared.train.batch_size
    num_steps = min(num_batches, MAX_TIMED_STEPS)
    programs = {
        arm: make_steps(
            network.shared.model_copy(update={"norm": norm}),
            examples,
            dataset.input_stats,
            dataset.num_classes,
            num_steps,
        )
        for arm, norm in ARMS.items()
    }
    rounds = seconds_in_turn(programs, NUM_ROUNDS)
    return {arm: float(np.median(seconds)) / num_steps for arm, seconds in rounds.items()}


if __name__ == "__main__":
    answer(measure_seconds)
