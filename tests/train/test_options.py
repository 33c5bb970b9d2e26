"""What the keys of a config do in training, each against a law or NumPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbn.config import (
    ArmConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    TrainConfig,
    UserError,
    config_from_dict,
)
from jbn.data import Examples, fit_inputs, normalize_inputs
from jbn.train import (
    Batch,
    DataSpec,
    Hypers,
    TrainKeys,
    batches_to_evaluate,
    final_variables,
    make_task,
    run_epoch,
    run_training,
)
from jbn.train.divergence import find_divergence
from jbn.train.loss import cross_entropies

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=48).astype(np.int32)
X = (RNG.normal(size=(48, 4)) + 6 * np.eye(3, 4)[Y]).astype(np.float32)
EXAMPLES = Examples(X, Y)
MODEL = ModelConfig(hidden_sizes=(8,))
KEYS = TrainKeys.of(jax.random.key(0))
SHORT = TrainConfig(num_epochs=2, batch_size=8)
# Where two programs are compared: Adam makes a step of what rounding leaves of a gradient of 0.
SGD = OptimizerConfig(kind="sgd", learning_rate=0.1)


def learning(label_noise=0.0, label_smoothing=0.0):
    """A config whose net learns the examples."""
    return ArmConfig(
        data=DataConfig(label_noise=label_noise),
        model=MODEL,
        norm=NormConfig(momentum=0.9),
        optimizer=OptimizerConfig(learning_rate=0.03),
        loss=LossConfig(label_smoothing=label_smoothing),
        train=TrainConfig(num_epochs=20, batch_size=8),
    )


def task_of(config, examples=EXAMPLES, input_stats=None):
    return make_task(config, DataSpec(48, examples.x.shape[1:], 3, input_stats))


def trained(config, examples=EXAMPLES, input_stats=None):
    train = jax.jit(functools.partial(run_training, task_of(config, examples, input_stats)))
    return train(jax.random.key(0), examples, examples, Hypers.of(config))


def test_smoothed_labels_are_mixed_with_all_classes():
    logits = RNG.normal(size=(5, 3))
    labels = np.array([0, 1, 2, 0, 1])
    log_probability = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = 0.8 * np.eye(3)[labels] + 0.2 / 3
    found = cross_entropies(jnp.asarray(logits, jnp.float32), jnp.asarray(labels), 0.2)
    np.testing.assert_allclose(found, -(target * log_probability).sum(1), rtol=1e-6)


def test_smoothing_is_of_what_is_trained_not_of_what_is_measured():
    """A net that is sure has a measured loss near 0; and with smoothing it becomes less sure."""
    assert trained(learning())[1].train["loss"][-1] < 0.1
    # Of the smoothed labels 1/2 + 1/6 is the true class's: its measured loss is log(3/2).
    smooth = learning(label_smoothing=0.5)
    np.testing.assert_allclose(trained(smooth)[1].train["loss"][-1], np.log(1.5), atol=0.1)


def test_the_average_follows_the_weights_and_is_what_is_evaluated():
    plain = ArmConfig(model=MODEL, optimizer=SGD, train=SHORT)
    averaged = ArmConfig(
        model=MODEL,
        optimizer=SGD,
        train=TrainConfig(num_epochs=2, batch_size=8, ema_decay=0.999),
    )
    (state, metrics), (other, other_metrics) = trained(plain), trained(averaged)
    chex.assert_trees_all_close(state.params, other.params, rtol=1e-5, atol=1e-6)
    assert state.average is None
    chex.assert_trees_all_equal_shapes(other.average, other.params)
    assert not np.allclose(metrics.val["loss"], other_metrics.val["loss"])


def test_the_average_is_the_mean_of_the_steps():
    """As long as the memory is longer than they are many; the initial parameters have no part."""
    config = ArmConfig(model=MODEL, train=TrainConfig(batch_size=8, ema_decay=0.99))
    hypers = Hypers.of(config)
    task = task_of(config)
    state, step = task.init(KEYS, hypers), jax.jit(task.step)
    params = []
    for first in range(0, 48, 8):
        rows = slice(first, first + 8)
        state, _ = step(state, Batch(X[rows], Y[rows]), KEYS, hypers)
        params.append(state.params)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *params)
    chex.assert_trees_all_close(state.average, mean, rtol=1e-4, atol=1e-6)


def test_an_average_takes_in_what_has_moved_and_nothing_twice():
    """Of accumulated batches: after the first half of them the average is where it began."""
    optimizer = OptimizerConfig(kind="sgd", learning_rate=0.1, accumulate=3)
    config = ArmConfig(
        model=MODEL, optimizer=optimizer, train=TrainConfig(batch_size=8, ema_decay=0.99)
    )
    hypers = Hypers.of(config)
    task = task_of(config)
    state, step = task.init(KEYS, hypers), jax.jit(task.step)
    states = [state]
    for first in range(0, 48, 8):
        rows = slice(first, first + 8)
        states.append(step(states[-1], Batch(X[rows], Y[rows]), KEYS, hypers)[0])
    chex.assert_trees_all_equal(states[2].average, states[0].params)
    chex.assert_trees_all_close(states[3].average, states[3].params, rtol=1e-6)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, states[3].params, states[6].params)
    chex.assert_trees_all_close(states[6].average, mean, rtol=1e-5, atol=1e-7)


def test_a_divergence_is_found_at_its_step():
    x = X.copy()
    x[3 * 8 + 5, 2] = np.inf  # in the batch of step 3
    config = ArmConfig(model=MODEL, train=TrainConfig(batch_size=8, order="fixed"))
    task, hypers = task_of(config), Hypers.of(config)
    find = functools.partial(
        find_divergence, task, task.init(KEYS, hypers), Examples(x, Y), KEYS, hypers
    )
    assert find(last_step=2) is None
    found = find(last_step=9)
    assert found.step == 3
    assert {"loss", "gradient of Dense_0/kernel"} <= set(found.arrays)
    assert not [name for name in found.arrays if name.startswith("batch_stats")]  # a bad batch


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ({"accumulate": 13}, "optimizer.accumulate: found 13, wanted at most 12, the number of ba"),
        ({"warmup_steps": 12}, "optimizer.warmup_steps: found 12, wanted fewer than 12, the numb"),
        ({"warmup_steps": 4, "accumulate": 3}, "found 4, wanted fewer than 4"),
    ],
)
def test_a_run_too_short_for_its_optimizer_is_named(optimizer, line):
    config = ArmConfig(model=MODEL, optimizer=OptimizerConfig(**optimizer), train=SHORT)
    with pytest.raises(UserError, match=line):
        task_of(config)


@pytest.mark.parametrize("train", [{"recompute_stats": True}, {"ema_decay": 0.9}])
def test_final_statistics_are_those_of_all_training_examples(train):
    config = ArmConfig(model=MODEL, train=TrainConfig(num_epochs=2, batch_size=8, **train))
    state, _ = trained(config)
    variables = final_variables(task_of(config), state, X, KEYS, Hypers.of(config))
    is_averaged = state.average is not None
    assert is_averaged == ("ema_decay" in train)
    wanted = state.average if is_averaged else state.params
    chex.assert_trees_all_equal(variables["params"], wanted)
    dense = variables["params"]["Dense_0"]
    hidden = np.maximum(X.astype(np.float64) @ dense["kernel"] + dense["bias"], 0)
    stats = variables["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], hidden.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["var"], hidden.var(0), rtol=1e-4, atol=1e-6)
    plain = ArmConfig(model=MODEL, train=SHORT)
    running = final_variables(task_of(plain), state, X, KEYS, Hypers.of(plain))
    chex.assert_trees_all_equal(running["batch_stats"], state.collections["batch_stats"])


def test_the_gain_multiplies_every_kernel_and_nothing_else():
    one, five = (
        task_of(config).init(KEYS, Hypers.of(config)).params
        for config in (ArmConfig(), ArmConfig(model=ModelConfig(init_gain=5.0)))
    )
    for layer, params in one.items():
        for name, param in params.items():
            factor = 5 if name == "kernel" else 1
            np.testing.assert_allclose(five[layer][name], factor * param, rtol=1e-6)


def test_normalized_in_the_step_is_normalized_before():
    config = ArmConfig(model=MODEL, train=SHORT, data=DataConfig(normalize="standardize"))
    stats = fit_inputs(config.data, X)
    inside = trained(config, EXAMPLES, stats)
    before = trained(config, Examples(normalize_inputs(config.data, stats, X), Y))
    chex.assert_trees_all_close(inside, before, rtol=1e-3, atol=1e-5)


def test_bytes_train_as_the_numbers_they_are():
    pixels = np.random.default_rng(1).integers(0, 256, (48, 4, 4, 1)).astype(np.uint8)
    data = DataConfig(normalize="min_max")
    config = ArmConfig(model=MODEL, optimizer=SGD, train=SHORT, data=data)
    stats = fit_inputs(config.data, pixels)
    of_bytes = trained(config, Examples(pixels, Y), stats)
    of_floats = trained(config, Examples(pixels.astype(np.float32), Y), stats)
    chex.assert_trees_all_close(of_bytes, of_floats, rtol=1e-5, atol=1e-6)


def test_augmented_images_differ_from_epoch_to_epoch_and_follow_the_key():
    images = np.random.default_rng(1).normal(size=(48, 6, 6, 1)).astype(np.float32)
    table = {"name": "x", "model": {"hidden_sizes": [8]}, "train": {"num_epochs": 1}}
    table["train"]["batch_size"] = 48
    table["optimizer"] = {"kind": "sgd", "learning_rate": 1e-12}
    (config,) = config_from_dict({**table, "data": {"augment": {"shift": 2}}}).arms.values()
    hypers = Hypers.of(config)
    examples = Examples(images, Y)
    task = task_of(config, examples)
    epoch = jax.jit(functools.partial(run_epoch, task))
    state, val = task.init(KEYS, hypers), batches_to_evaluate(examples)
    new, first = epoch(state, examples, val, KEYS, hypers)
    _, again = epoch(state, examples, val, KEYS, hypers)
    _, second = epoch(new, examples, val, KEYS, hypers)
    first, again, second = (metrics.train["loss"] for metrics in (first, again, second))
    assert first == again
    assert abs(first - second) > 1e-4  # at a rate that moves nothing


def test_noisy_labels_are_trained_on_and_not_validated_on():
    """Of 16 seeds together: one alone may learn nothing, or learn the noise."""

    def accuracies(label_noise):
        config = learning(label_noise=label_noise)
        train = functools.partial(run_training, task_of(config))
        of_keys = jax.vmap(train, in_axes=(0, None, None, None))
        keys = jax.vmap(jax.random.key)(jnp.arange(16))
        _, metrics = jax.jit(of_keys)(keys, EXAMPLES, EXAMPLES, Hypers.of(config))
        return (float(split["accuracy"][:, -1].mean()) for split in (metrics.train, metrics.val))

    clean_train, _ = accuracies(0.0)
    noisy_train, noisy_val = accuracies(0.5)
    assert clean_train > 0.95
    assert noisy_train < 0.8  # about a third of the labels are wrong
    assert noisy_val > noisy_train + 0.1  # found: 0.19, with a standard error of 0.025


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    half = ArmConfig(model=ModelConfig(hidden_sizes=(8,), dtype="bfloat16"), train=SHORT)
    whole = ArmConfig(model=MODEL, train=SHORT)
    state, metrics = trained(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.variables)} == {jnp.dtype("float32")}
    _, wanted = trained(whole)
    np.testing.assert_allclose(metrics.train["loss"], wanted.train["loss"], rtol=0.05)
    assert not np.array_equal(metrics.train["loss"], wanted.train["loss"])


def test_sorted_examples_come_class_by_class():
    """In one batch per class, the loss of a net that learns nothing is that of the class."""
    y = np.repeat(np.arange(3), 16).astype(np.int32)
    order = np.random.default_rng(0).permutation(48)
    config = ArmConfig(
        model=MODEL,
        optimizer=OptimizerConfig(kind="sgd", learning_rate=1.0),
        train=TrainConfig(num_epochs=1, batch_size=16, order="sorted"),
    )
    of_sorted = trained(config, Examples(X[order], y[order]))
    stable = np.argsort(y[order], kind="stable")
    fixed = config.model_copy(
        update={"train": TrainConfig(num_epochs=1, batch_size=16, order="fixed")}
    )
    presorted = trained(fixed, Examples(X[order][stable], y[order][stable]))
    chex.assert_trees_all_close(of_sorted[0].params, presorted[0].params, rtol=1e-5, atol=1e-6)
