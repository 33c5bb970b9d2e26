"""Batch norm, ghost norm and renorm in training: warm-up, new statistics; batches of one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import close, normal

from jbn.config import ArmConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Examples
from jbn.train import (
    Hypers,
    RunKeys,
    make_init,
    make_settle,
    make_train_chunk,
    make_train_run,
)

X = 2 + 3 * normal(48, 4)
EXAMPLES = Examples(X, jnp.arange(48) % 3)
every_kind = pytest.mark.parametrize("kind", ["batch", "ghost", "renorm"])


def config_of(kind, *, hidden_sizes=(8,), accumulate=1, norm=None, **train):
    return ArmConfig(
        model=ModelConfig(hidden_sizes=hidden_sizes),
        norm=NormConfig(kind=kind, num_plain_steps=0, **(norm or {})),
        optimizer=OptimizerConfig(accumulate=accumulate),
        train=TrainConfig(order="fixed", **train),
    )


def initial(config):
    return make_init(config, 3)(jax.random.key(0), EXAMPLES, Hypers.of(config))


@every_kind
@pytest.mark.parametrize("momentum", [1.0, 0.5])
def test_warmed_up_statistics_are_those_of_all_batches_and_of_no_initial_values(kind, momentum):
    """Of parameters that don't move, as their step is one of 12 batches; in two parts of a run."""
    norm = {"momentum": momentum, "momentum_warmup": True, "virtual_batch_size": 4}
    config = config_of(kind, norm=norm, accumulate=12, num_epochs=2, batch_size=8)
    hypers, keys, state = Hypers.of(config), RunKeys.of(jax.random.key(0)), initial(config)
    dense = state.params["Dense_0"]
    chunk = jax.jit(make_train_chunk(config, 3))
    for _ in range(2):
        state = jax.tree.map(np.asarray, state)  # as if stored and loaded
        state, _ = chunk(state, EXAMPLES, EXAMPLES, keys, hypers)
    hidden = np.maximum(np.asarray(X, np.float64) @ dense["kernel"], 0).reshape(6, 8, 8)
    # The weights of the batches, written out: of all alike, or halved with each batch.
    weights = {1.0: np.ones(12), 0.5: 0.5 ** np.array([11, *range(11, 0, -1)])}[momentum]
    means, variances = (np.tile(v, (2, 1)) for v in (hidden.mean(1), hidden.var(1)))
    (stats,) = state.batch_stats.values()
    close(stats["mean"], np.average(means, axis=0, weights=weights), 1e-5)
    close(stats["var"], np.average(variances, axis=0, weights=weights), 1e-5)
    assert stats.get("step", 12) == 12


@pytest.mark.parametrize("kind", ["ghost", "renorm"])
def test_recomputed_statistics_are_batch_norms_and_owe_nothing_to_old_ones(kind):
    """Batches of 20, which 48 examples aren't; so they are of 24, which groups of 5 don't make."""
    options = {"hidden_sizes": (8, 4), "recompute_stats": True, "batch_size": 20}

    def settled(kind, change):
        config = config_of(kind, norm={"virtual_batch_size": 5}, **options)
        state = initial(config)
        stats = jax.tree.map(change, state.batch_stats)
        settle = make_settle(config, 3, lambda x, hypers: x)
        new = settle(state._replace(batch_stats=stats), X, Hypers.of(config))["batch_stats"]
        return {re.sub("^.*Batch(Norm|Renorm)", "", layer): v for layer, v in new.items()}

    wanted = settled("batch", lambda old: old)
    found = settled(kind, lambda old: 3 * old + 7)
    for layer, stats in found.items():
        assert stats.pop("step", 7) == 7
        close(stats, wanted[layer], 1e-5)


@pytest.mark.parametrize("kind", ["layer", "none"])
def test_what_needs_no_batch_learns_of_batches_of_one(kind):
    config = config_of(kind, batch_size=1, num_epochs=5)
    x = X.at[:, :3].add(9 * jax.nn.one_hot(EXAMPLES.y, 3))
    examples = EXAMPLES._replace(x=x)
    run = jax.jit(make_train_run(config, 3))
    _, metrics = run(jax.random.key(0), examples, examples, Hypers.of(config))
    assert metrics.val.accuracy[-1] > 0.6
