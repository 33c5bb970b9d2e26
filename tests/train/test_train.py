"""Training: a pure function, compiled once, whose parts agree with its whole and with NumPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jbn
from jbn.config import (
    ArmConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    TrainConfig,
    UserError,
)
from jbn.data import Batch, Dataset, DataSpec, Examples
from jbn.train import (
    Hypers,
    Metrics,
    TrainKeys,
    batches_to_evaluate,
    check_task,
    count_parameters,
    make_cross_entropy,
    make_task,
    run_epoch,
    run_training,
)
from jbn.train.metrics import measure

CONFIG = ArmConfig(
    model=ModelConfig(hidden_sizes=(8,)),
    optimizer=OptimizerConfig(learning_rate=0.01),
    train=TrainConfig(num_epochs=3, batch_size=8),
)
NO_NORM = CONFIG.model_copy(update={"norm": NormConfig(kind="none")})
NUM_CLASSES = 3
SPEC = DataSpec(num_examples=40, features=(4,), num_classes=NUM_CLASSES)
KEYS = TrainKeys.of(jax.random.key(3))


def training(config, spec=SPEC):
    """A function of a key, both splits and numbers."""
    task = make_task(config, spec)
    return lambda *arguments: run_training(task, *arguments)


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    y = rng.integers(NUM_CLASSES, size=56).astype(np.int32)
    x = (rng.normal(size=(56, 4)) + 2 * y[:, None] * [1, -1, 1, 0]).astype(np.float32)
    train, val, test = (
        Examples(x[rows], y[rows]) for rows in (slice(40), slice(40, 48), slice(48, 56))
    )
    return Dataset(train, val, test, jbn.init_input_stats(4), NUM_CLASSES, sha256="", where="here")


@pytest.fixture(scope="module")
def trained(dataset):
    train_run = jax.jit(training(CONFIG))
    return train_run(jax.random.key(3), dataset.train, dataset.val, Hypers.of(CONFIG))


def test_metrics_are_sums_that_agree_with_numpy():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    loss = make_cross_entropy(4)
    metrics = measure(loss.measured(jnp.asarray(logits), jnp.asarray(labels)), None)
    wide = logits.astype(np.float64)
    log_probability = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    expected = -log_probability[np.arange(6), labels]
    np.testing.assert_allclose(metrics.sums["loss"], expected.sum(), rtol=1e-6)
    assert metrics.sums["accuracy"] == (logits.argmax(1) == labels).sum()
    assert metrics.weight == 6


def test_parts_of_unequal_size_divide_once():
    sums = {"loss": jnp.array([1.0, 5.0]), "accuracy": jnp.array([1.0, 2.0])}
    total = jax.tree.map(jnp.sum, Metrics(sums, jnp.array([1.0, 3.0])))
    assert total.means == {"loss": 1.5, "accuracy": 0.75}


def test_it_learns(trained):
    _, metrics = trained
    assert metrics.train["loss"][-1] < metrics.train["loss"][0]
    assert metrics.val["accuracy"][-1] > 0.6


def test_a_step_is_adam_on_the_mean_cross_entropy(dataset):
    """Against the update written out, on a net without normalization."""
    hypers = Hypers.of(NO_NORM)
    batch = Batch(*(jnp.asarray(part[:8]) for part in dataset.train))
    task = make_task(NO_NORM, SPEC)
    state = task.init(KEYS, hypers)
    new, (metrics, gradient_norm) = jax.jit(task.step)(state, batch, KEYS, hypers)

    def loss(params):
        hidden = jax.nn.relu(batch.x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
        logits = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
        return -jax.nn.log_softmax(logits)[jnp.arange(8), batch.y].mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    # Adam's first step moves each parameter by the learning rate against its gradient's sign.
    expected = jax.tree.map(lambda p, g: p - 0.01 * g / (jnp.abs(g) + 1e-8), state.params, gradient)
    chex.assert_trees_all_close(new.params, expected, atol=1e-6)
    np.testing.assert_allclose(metrics.means["loss"], value, rtol=1e-6)
    squares = sum(float((g**2).sum()) for g in jax.tree.leaves(gradient))
    np.testing.assert_allclose(gradient_norm, np.sqrt(squares), rtol=1e-5)


def test_epochs_one_by_one_equal_one_training_and_a_resumed_one_the_uninterrupted(dataset, trained):
    hypers = Hypers.of(CONFIG)
    task = make_task(CONFIG, SPEC)
    of_epoch = jax.jit(functools.partial(run_epoch, task))
    state, val = task.init(KEYS, hypers), batches_to_evaluate(dataset.val)
    for epoch in range(CONFIG.train.num_epochs):
        state = jax.tree.map(np.asarray, state)  # as if stored and loaded
        state, metrics = of_epoch(state, dataset.train, val, KEYS, hypers)
        of_whole = jax.tree.map(lambda per_epoch, e=epoch: per_epoch[e], trained[1])
        chex.assert_trees_all_close(metrics, of_whole, rtol=1e-4)
    chex.assert_trees_all_close(state, trained[0], rtol=1e-4, atol=1e-6)


@pytest.mark.optimized
def test_numbers_are_traced_not_baked_in(dataset):
    """Other numbers change the result and compile nothing."""
    chex.clear_trace_counter()
    train_run = jax.jit(chex.assert_max_traces(training(CONFIG), n=1))
    hypers = Hypers.of(CONFIG)
    changes = [{}, {"learning_rate": 0.02}, {"norm_momentum": 0.5}, {"norm_epsilon": 1.0}]
    changes += [{"init_gain": 0.5}, {"label_noise": 0.5}]
    results = [
        train_run(
            jax.random.key(0),
            dataset.train,
            dataset.val,
            hypers._replace(**{name: jnp.float32(number) for name, number in change.items()}),
        )
        for change in changes
    ]
    losses = [float(metrics.val["loss"][-1]) for _, metrics in results]
    assert len(set(losses)) == len(losses)


def test_evaluation_uses_the_running_statistics(dataset, trained):
    state, _ = trained
    evaluate = jax.jit(make_task(CONFIG, SPEC).evaluate)
    whole = evaluate(state.variables, Batch(*dataset.val), Hypers.of(CONFIG))
    halves = [
        evaluate(
            state.variables, Batch(dataset.val.x[rows], dataset.val.y[rows]), Hypers.of(CONFIG)
        )
        for rows in (slice(4), slice(4, 8))
    ]
    losses = [half.sums["loss"] for half in halves]
    np.testing.assert_allclose(whole.sums["loss"], sum(losses), rtol=1e-5)


def test_batch_norm_sits_after_each_hidden_activation():
    state = make_task(ArmConfig(), SPEC).first
    assert sorted(state.params) == [
        *("BatchNorm_0", "BatchNorm_1"),
        *("Dense_0", "Dense_1", "Dense_2"),
    ]
    assert state.collections["batch_stats"]["BatchNorm_0"]["mean"].shape == (128,)


def test_the_articles_parameters_are_counted():
    dense = (64 * 128 + 128) + (128 * 64 + 64) + (64 * 10 + 10)
    digits = DataSpec(num_examples=32, features=(64,), num_classes=10)
    assert count_parameters(make_task(ArmConfig(), digits)) == dense + 2 * (128 + 64)
    plain = ArmConfig(norm=NormConfig(kind="none"))
    assert count_parameters(make_task(plain, digits)) == dense


class Linear(nn.Module):
    """A user's own model."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x)


def make_linear(num_outputs, norm):
    return Linear(num_outputs)


def test_a_users_own_model_trains(dataset, monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    config = CONFIG.model_copy(update={"model": ModelConfig(factory="test_train:make_linear")})
    train_run = jax.jit(training(config))
    state, metrics = train_run(jax.random.key(0), dataset.train, dataset.val, Hypers.of(config))
    assert list(state.params) == ["Dense_0"]
    assert metrics.train["loss"][-1] < metrics.train["loss"][0]


def wrong_model(num_outputs, norm):
    return Linear(num_outputs - 1)


def no_model(num_outputs, norm):
    return None


def other_arguments(width):
    return Linear(width)


@pytest.mark.parametrize(
    ("factory", "line"),
    [
        (
            "wrong_model",
            r"model: found an output of shape \(8, 2\) .* wanted the shape \(8, 3",
        ),
        ("no_model", "returned a NoneType, wanted a flax.linen.Module"),
        ("other_arguments", "can't be called: missing a required argument: 'width'"),
        ("missing", "can't be imported"),
    ],
)
def test_a_model_that_does_not_fit_is_named(dataset, monkeypatch, factory, line):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    config = CONFIG.model_copy(update={"model": ModelConfig(factory=f"test_train:{factory}")})
    with pytest.raises(UserError, match=line):
        check_task(make_task(config, SPEC))


@pytest.mark.parametrize(
    ("x", "y", "line"),
    [
        (np.zeros((40, 4)), np.zeros(39, np.int32), "found 40 inputs and 39 targets"),
        (np.zeros((40, 4)), np.zeros(40), "y: found .* float32, wanted integer labels"),
        (np.zeros((40, 4)), np.zeros((40, 3), np.int32), "y: found shape .* wanted integer labels"),
        (np.zeros((7, 4)), np.zeros(7, np.int32), "train.batch_size: found 8, wanted at most 7"),
    ],
)
def test_examples_that_do_not_fit_are_named(x, y, line):
    examples = Examples(jnp.asarray(x, jnp.float32), jnp.asarray(y))
    spec = DataSpec(num_examples=len(x), features=(4,), num_classes=NUM_CLASSES)

    def train():
        arguments = jax.random.key(0), examples, examples, Hypers.of(NO_NORM)
        jax.eval_shape(training(NO_NORM, spec), *arguments)

    with pytest.raises(ValueError, match=line):
        train()


def test_a_label_that_is_no_class_makes_the_loss_nan():
    numbers = make_cross_entropy(2).measured(jnp.zeros((3, 2)), jnp.array([0, 1, 2]))
    assert np.isnan(measure(numbers, None).means["loss"])


def test_the_training_step_lowers_for_cuda_and_tpu(dataset):
    hypers = Hypers.of(CONFIG)
    batch = Batch(*(jnp.asarray(part[:8]) for part in dataset.train))
    task = make_task(CONFIG, SPEC)
    arguments = task.init(KEYS, hypers), batch, KEYS, hypers
    exported = jax.export.export(jax.jit(task.step), platforms=("cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cuda", "tpu")
