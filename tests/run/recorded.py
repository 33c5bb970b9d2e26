"""A program that computes nothing but its seeds, and a sink that remembers what it was told."""

import jax
import jax.numpy as jnp
import numpy as np

from jbn import store
from jbn.run import LanesTooMany, Said, TurnBegan
from jbn.train import CompiledProgram, EpochMetrics, EpochPart, TrainKeys


class Recorder:
    """A sink."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def of(self, kind):
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def said(self):
        return [event.text for event in self.of(Said)]

    @property
    def turns(self):
        """The trials' numbers, turn by turn."""
        return [[trial.number for trial in event.trials] for event in self.of(TurnBegan)]

    @property
    def halved(self):
        return [(event.num_lanes, event.next_num_lanes) for event in self.of(LanesTooMany)]


def results(out):
    """All that a run came to, to the bit, but for times and parts."""
    trials, metrics = store.read_trials(out), store.read_metrics(out)
    numbers = [
        {name: column.tolist() for name, column in table.items() if name not in ("seconds", "part")}
        for table in (trials, metrics)
    ]
    best = store.read_config(out).checkpoint.keep_best
    variables = [
        jax.tree.map(np.ndarray.tobytes, store.read_variables(out, arm, seed, best=of_best))
        for arm, seed in zip(trials["arm"].tolist(), trials["seed"].tolist(), strict=True)
        for of_best in ((False, True) if best else (False,))
    ]
    return numbers, variables, store.read_norms(out)


def fake_compile(task, program, dataset, num_lanes, devices, build=None):
    """In the place of `compile_program`: a lane's loss is its seed and the number of the epoch."""
    seeds = {trial.seed for trial in program.trials}
    seed_of = {_bits(TrainKeys.of(jax.random.key(seed)).init): seed for seed in seeds}

    def init(lanes):
        seeds = np.array([seed_of[_bits(key)] for key in lanes.keys.init])
        assert len(seeds) == num_lanes
        return jax.tree.map(jnp.asarray, {"seeds": seeds, "epoch": np.zeros(num_lanes, int)})

    def run_epoch(state, lanes, steps):
        state = {**state, "epoch": state["epoch"] + 1}
        sums = np.asarray(state["seeds"] + state["epoch"], np.float32)
        metrics = {"loss": sums, "accuracy": np.ones(num_lanes)}
        metrics = EpochMetrics(metrics, sums, metrics, np.full(num_lanes, -1))
        yield EpochPart(state, None, metrics)

    def finish(state, lanes):
        seeds = np.asarray(state["seeds"])
        metrics = {"loss": seeds / 20, "accuracy": np.full(num_lanes, 0.5)}
        return {"params": {"kernel": seeds.astype(np.float32)}, "batch_stats": {}}, metrics

    return CompiledProgram(init, run_epoch, finish)


def _bits(key):
    return tuple(jax.random.key_data(key).tolist())
