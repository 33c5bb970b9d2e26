"""Mutated configs through load, check and one step: each is answered, or trains."""

import functools

import jax
import numpy as np
from judge import outcome_of
from mutants import mutants

from jbn.config import load_config, plan
from jbn.data import Batch, load
from jbn.train import Hypers, TrainKeys, check_taken, check_task, make_task

MOST_NUMBERS = 1_000_000  # of a model or a data set that is made here
MOST_PROGRAMS = 3


def is_large(config):
    """Whether it is valid, and to make its data or its model would take long."""
    model, mixture = config.model, config.data.mixture
    sizes = [*model.hidden_sizes, *model.channels, model.num_filters, config.train.batch_size]
    features = mixture.num_features * max(mixture.num_features, mixture.num_examples)
    return max(sizes) > 4096 or features > MOST_NUMBERS


@functools.cache
def compiled_step(config, spec):
    """Programs are shared by configs that differ in numbers."""
    task = make_task(config, spec)

    def start_and_step(x, y, key, hypers):
        keys = TrainKeys.of(key)
        state = task.init(keys, hypers)
        return state, *task.step(state, Batch(x, y), keys, hypers)

    return jax.jit(start_and_step)


def check_and_step(path):
    """What `jbn show` checks, and a step of the first programs."""
    config = load_config(path)
    for program in plan(config)[:MOST_PROGRAMS]:
        arm = program.config
        if is_large(arm):
            continue
        dataset = load(arm.data)
        task = make_task(arm, dataset.spec)
        _ = task.first
        if arm.own_functions:
            check_task(task)
            for trial in program.trials:
                check_taken(trial.config, task.parts)
        # The statistics of inputs are arrays, which no cache can hash: none has a part in a step.
        step = compiled_step(arm, dataset.spec._replace(input_stats=None))
        size = min(arm.train.batch_size, 32)
        x = dataset.train.x[:size].astype(np.float32)
        x = (x - x.mean(0)) / (x.std(0) + 1)
        y, trial = dataset.train.y[:size], program.trials[0]
        first, last, metrics = step(x, y, jax.random.key(trial.seed), Hypers.of(trial.config))
        for before, after in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True):
            assert (before.shape, before.dtype) == (after.shape, after.dtype)
        # What isn't finite is declared: jbn counts a trial as diverged by these two.
        declared = not np.isfinite([metrics.batch.means["loss"], metrics.gradient_norm]).all()
        assert declared or all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(first.params))


def tried(number, root):
    """What so many configs come to, by what was done to them."""
    (root / "outside").mkdir(exist_ok=True)
    path = root / "config.toml"
    outcomes = {}
    for label, text in mutants(number).items():
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        outcomes[label] = outcome_of(lambda: check_and_step(path), root, inside=[])
    return outcomes
