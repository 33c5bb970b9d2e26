"""Mutated configs through load, check and two steps: each is answered, or trains."""

import functools

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from judge import commanded, outcome_of
from mutants import mutants

from jbn.config import load_config, plan
from jbn.data import Batch, load
from jbn.train import Hypers, TrainKeys, check_taken, check_task, make_task

MOST_NUMBERS = 1_000_000  # of a model or a data set that is made here
MOST_PROGRAMS = 3
MOST_FINITE = 1e6  # of a config's number, such as a learning rate


def is_large(config):
    """Whether it is valid, and to make its data or its model would take long."""
    model, mixture = config.model, config.data.mixture
    sizes = [*model.hidden_sizes, *model.channels, model.num_filters, config.train.batch_size]
    features = mixture.num_features * max(mixture.num_features, mixture.num_examples)
    return max(sizes) > 4096 or features > MOST_NUMBERS


@functools.cache
def compiled_steps(config, spec):
    """A program that takes two steps, shared by configs that differ in numbers.

    It returns, for each step, the parameters that the step begins with, and the two numbers by
    which jbn counts a trial as diverged. The scan refuses a step that changes a shape or a type.
    """
    task = make_task(config, spec)

    def start_and_step(x, y, key, hypers):
        keys = TrainKeys.of(key)

        def step(state, _):
            after, metrics = task.step(state, Batch(x, y), keys, hypers)
            return after, (state.params, (metrics.batch.means["loss"], metrics.gradient_norm))

        return jax.lax.scan(step, task.init(keys, hypers), length=2)[1]

    return jax.jit(start_and_step)


def is_far_out(config):
    """Whether a number of it is such that two steps may well diverge."""
    numbers = flatten_dict(config.model_dump()).values()
    return any(isinstance(of, float) and abs(of) > MOST_FINITE for of in numbers)


def _finite(values):
    """Whether all numbers of a step are, for each step."""
    return np.isfinite(np.asarray(values)).reshape(len(values), -1).all(1)


def check_and_step(path):
    """What `jbn show` checks, and two steps of the first programs."""
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
        steps = compiled_steps(arm, dataset.spec._replace(input_stats=None))
        size = min(arm.train.batch_size, 32)
        x = dataset.train.x[:size].astype(np.float32)
        x = (x - x.mean(0)) / (x.std(0) + 1)
        y, trial = dataset.train.y[:size], program.trials[0]
        params, numbers = steps(x, y, jax.random.key(trial.seed), Hypers.of(trial.config))
        is_declared = ~_finite(np.transpose(numbers))
        # Only numbers far out may diverge, and a step that begins with what isn't finite says so.
        assert is_far_out(trial.config) or not is_declared.any()
        for leaf in jax.tree.leaves(params):
            assert (_finite(leaf) | is_declared).all()


def tried(number, root):
    """What so many configs come to, by what was done to them."""
    (root / "outside").mkdir(exist_ok=True)
    path = root / "config.toml"
    outcomes = {}
    for turn, (label, text) in enumerate(mutants(number).items()):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        # Every tenth goes a user's way, which is without a step.
        is_shown = turn % 10 == 9
        action = functools.partial(commanded, "show") if is_shown else check_and_step
        outcomes[label] = outcome_of(lambda action=action: action(path), root, inside=[])
    return outcomes
