"""The laws of training: what fills a batch up, who gathers it and where it lies change nothing."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from problems import normal

from jbn.config import (
    ArmConfig,
    DataConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    TrainConfig,
    UserError,
)
from jbn.data import Examples
from jbn.train import (
    Batch,
    DataSpec,
    Hypers,
    Loss,
    TrainKeys,
    batches_to_evaluate,
    check_task,
    evaluate_batches,
    final_variables,
    make_gather,
    make_task,
    place,
    rows_of_epoch,
    run_epoch,
    run_steps,
    run_training,
)

KEYS = TrainKeys.of(jax.random.key(0))
X, Y = normal(44, 4) + 2, np.arange(44, dtype=np.int32) % 3
SPEC = DataSpec(num_examples=44, features=(4,), num_classes=3)
IMAGES = normal(44, 8, 8, 3) + 2
IMAGE_SPEC = SPEC._replace(features=(8, 8, 3))
MODELS = {
    "mlp": (ModelConfig(hidden_sizes=(8,)), SPEC, X),
    "cnn": (ModelConfig(kind="cnn", channels=(2, 4)), IMAGE_SPEC, IMAGES),
    "resnet18": (ModelConfig(kind="resnet18", num_filters=2), IMAGE_SPEC, IMAGES),
}


def config_of(model=MODELS["mlp"][0], *, kind="batch", data=None, **train):
    options = {"order": "shuffled", "batch_size": 8, "num_epochs": 2, **train}
    return ArmConfig(
        data=data or DataConfig(),
        model=model,
        norm=NormConfig(kind=kind, virtual_batch_size=4, num_groups=2, num_plain_steps=0),
        optimizer=OptimizerConfig(kind="sgd", learning_rate=0.1),
        train=TrainConfig(**options),
    )


def equal(found, wanted, tolerance=1e-5):
    """Each leaf, relative to its largest number."""
    chex.assert_trees_all_equal_shapes(found, wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        scale = max(1e-2, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


CASES: list[Any] = [("mlp", kind) for kind in ("batch", "ghost", "renorm", "layer")]
CASES += [
    pytest.param("cnn", "batch", marks=pytest.mark.slow),
    pytest.param("resnet18", "batch", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_what_fills_a_batch_up_changes_nothing(model, kind):
    """Loss, metrics, gradient and statistics of six examples; two more have weight 0.

    Of inputs in float64, in which the model then computes: deep ones make much of a rounding.
    """
    with jax.enable_x64():
        _check_filled_up(model, kind)


def _check_filled_up(model, kind):
    section, spec, x = MODELS[model]
    x = jnp.asarray(x, jnp.float64)
    task = make_task(config_of(section, kind=kind), spec)
    assert task.takes_mask
    hypers = Hypers.of(task.config)
    state = task.init(KEYS, hypers)
    if kind == "ghost":  # groups of four: six examples alone are no two groups
        x, number = x.at[:4].get(), 4
    else:
        number = 6
    filled = jnp.concatenate([x[:number], 1e3 + x[:2]])
    alone = Batch(x[:number], Y[:number])
    labels = jnp.concatenate([Y[:number], Y[:2]])
    weight = jnp.arange(len(labels)) < number
    together = Batch(filled, labels, weight.astype(jnp.float32))
    if kind == "ghost":
        together = jax.tree.map(lambda v: jnp.concatenate([v, v[-2:]]), together)
    found, wanted = (jax.jit(task.gradient)(state, b, KEYS, hypers) for b in (together, alone))
    equal(found, wanted)
    variables = state.variables
    equal(*(jax.jit(task.evaluate)(variables, b, hypers) for b in (together, alone)))


def by_hand(task, examples, num_epochs=1):
    """The state after epochs of batches of their own size, gathered on the host."""
    hypers = Hypers.of(task.config)
    state, step = task.init(KEYS, hypers), jax.jit(task.step)
    for epoch in range(num_epochs):
        rows = np.asarray(rows_of_epoch(task, examples.y, KEYS, epoch))
        for of_batch in rows:
            batch = Batch(*(np.asarray(v)[of_batch[of_batch >= 0]] for v in examples))
            state, _ = step(state, batch, KEYS, hypers)
    return state


class Plain(nn.Module):
    """A user's model, which takes no mask."""

    num_outputs: int
    norm: object

    @nn.compact
    def __call__(self, x, train):
        x = self.norm(use_running_average=not train)(nn.Dense(8)(x))
        return nn.Dense(self.num_outputs)(nn.relu(x))


USERS = ModelConfig(factory="train.test_training_laws:Plain")


@pytest.mark.parametrize("model", [MODELS["mlp"][0], USERS], ids=["takes a mask", "takes none"])
def test_the_last_batch_counts_whatever_its_size(model):
    """44 examples are five batches of 8 and one of 4."""
    task = make_task(config_of(model), SPEC)
    assert task.takes_mask == (model != USERS)
    hypers, examples = Hypers.of(task.config), Examples(X, Y)
    epoch = jax.jit(functools.partial(run_epoch, task))
    val = batches_to_evaluate(examples)
    state, metrics = epoch(task.init(KEYS, hypers), examples, val, KEYS, hypers)
    right = 44 * float(metrics.train["accuracy"])  # of 44 examples, each once
    assert (int(state.step), right) == (6, pytest.approx(round(right), abs=1e-4))
    equal(state, by_hand(task, examples))


def test_a_last_batch_of_one_is_an_error_where_its_variance_is_none():
    with pytest.raises(UserError, match="found 43, which leaves a last batch of 1 of 44 examples"):
        make_task(config_of(batch_size=43), SPEC)
    with pytest.raises(UserError, match=r"a last batch of 5 of 21 examples, and norm\.kind"):
        make_task(config_of(batch_size=16, kind="ghost"), SPEC._replace(num_examples=21))
    make_task(config_of(batch_size=16, kind="ghost"), SPEC._replace(num_examples=22))
    make_task(config_of(batch_size=43, kind="layer"), SPEC)
    make_task(config_of(MODELS["cnn"][0], batch_size=43), IMAGE_SPEC)


@pytest.mark.optimized
def test_a_training_fed_from_the_host_has_the_bits_of_one_fed_on_the_device():
    """64 steps; the labels' noise, the order and the augmentation are the same."""
    data = DataConfig(label_noise=0.5, augment={"shift": 1, "flip": True})
    config = config_of(ModelConfig(hidden_sizes=(8,)), data=data, batch_size=4, num_epochs=6)
    examples = Examples(IMAGES, Y)
    task, keys = make_task(config, IMAGE_SPEC), TrainKeys.of(jax.random.key(1))
    hypers = Hypers.of(config)
    on_device = jax.jit(lambda: run_training(task, jax.random.key(1), examples, examples, hypers))
    steps = jax.jit(functools.partial(run_steps, task))
    gather = functools.partial(make_gather(task, examples, keys, hypers), is_full=True)
    state = jax.jit(task.init)(keys, hypers)
    for epoch in range(config.train.num_epochs):
        rows = np.asarray(rows_of_epoch(task, Y, keys, epoch))
        batches = [jax.tree.map(np.asarray, gather(of_batch)) for of_batch in rows]
        stack = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        state, _ = steps(state, stack, keys, hypers)
    chex.assert_trees_all_equal(state, on_device()[0])


def test_evaluation_is_exact_in_batches_of_one_size():
    """2500 examples are three batches of 834, the last of which is filled up with two."""
    x, y = normal(2500, 4), np.arange(2500, dtype=np.int32) % 3
    task = make_task(config_of(), SPEC)
    hypers = Hypers.of(task.config)
    variables = task.init(KEYS, hypers).variables
    batches = batches_to_evaluate(Examples(x, y))
    assert batches.y.shape == (3, 834)
    found = jax.jit(functools.partial(evaluate_batches, task))(variables, batches, hypers)
    whole = task.evaluate(variables, Batch(x, y), hypers)
    assert found.weight == 2500
    assert found.sums["accuracy"] == whole.sums["accuracy"]
    np.testing.assert_allclose(found.sums["loss"], whole.sums["loss"], rtol=1e-5)


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_a_step_of_a_batch_shared_out_is_the_step_of_the_whole(num_shards):
    """The statistics are those of the global batch; with lanes shared out as well."""
    task = make_task(config_of(), SPEC)
    hypers = Hypers.of(task.config)
    state, batch = task.init(KEYS, hypers), Batch(X[:32], Y[:32])
    placement = place([jax.devices()[:num_shards]])
    placed = jax.device_put(batch, placement.by_example)
    assert len(jax.tree.leaves(placed)[0].sharding.device_set) == num_shards
    everywhere = jax.device_put((state, KEYS, hypers), placement.everywhere)
    (found, metrics), (wanted, alone) = (
        jax.jit(task.step)(s, b, k, h)
        for s, b, k, h in ((everywhere[0], placed, *everywhere[1:]), (state, batch, KEYS, hypers))
    )
    equal((found, metrics), (wanted, alone), 1e-6)


class WithMore(nn.Module):
    """Dropout, and a collection of the user's own."""

    num_outputs: int
    norm: object

    @nn.compact
    def __call__(self, x, train):
        calls = self.variable("counts", "calls", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            calls.value += 1
        x = nn.Dense(32)(x.reshape(len(x), -1))
        x = self.norm(use_running_average=not train)(x)
        self.sow("intermediates", "hidden", x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


def test_dropout_and_any_collection_train():
    config = config_of(ModelConfig(factory="train.test_training_laws:WithMore"), batch_size=11)
    task, hypers = make_task(config, SPEC), Hypers.of(config)
    assert set(task.first.collections) == {"batch_stats", "counts"}
    examples = Examples(X, Y)
    train = jax.jit(functools.partial(run_training, task))
    state, metrics = train(jax.random.key(0), examples, examples, hypers)
    assert state.collections["counts"]["calls"] == state.step == 8
    assert np.isfinite(metrics.train["loss"]).all()
    again, _ = train(jax.random.key(0), examples, examples, hypers)
    chex.assert_trees_all_equal(state, again)
    # Of one state and batch: another key, or another step, leaves other units out.
    gradient = jax.jit(task.gradient)
    batch = Batch(X[:11], Y[:11])
    other_keys = KEYS._replace(dropout=jax.random.key(9))
    norms = [
        float(jnp.linalg.norm(gradient(s, batch, keys, hypers)[0]["Dense_1"]["kernel"]))
        for s, keys in (
            (state, KEYS),
            (state, other_keys),
            (state._replace(step=state.step + 1), KEYS),
            (state, KEYS._replace(augment=jax.random.key(9), order=jax.random.key(9))),
        )
    ]
    assert len(set(norms[:3])) == 3
    assert norms[3] == norms[0]
    evaluate = jax.jit(task.evaluate)
    variables = final_variables(task, state, X, KEYS, hypers)
    once, again = (evaluate(variables, batch, hypers) for _ in range(2))
    chex.assert_trees_all_equal(once, again)


def test_a_purpose_that_is_added_moves_no_other_key():
    key = jax.random.key(5)
    for number, part in enumerate(TrainKeys.of(key)):
        wanted = jax.random.key_data(jax.random.fold_in(key, number))
        np.testing.assert_array_equal(jax.random.key_data(part), wanted)


def mean_squared_error(num_targets):
    """A loss of a user's own, of several targets; with a metric."""

    def squares(output, y):
        return jnp.mean(jnp.square(output - y), -1)

    def check(y):
        assert y.shape[1:] == (num_targets,)

    def measured(output, y):
        return {"loss": squares(output, y), "worst": jnp.abs(output - y).max(-1)}

    return Loss((num_targets,), squares, measured, check)


def test_a_loss_of_ones_own_takes_targets_of_any_dtype_and_shape():
    """A linear map of four inputs to two targets is found again."""
    x = np.asarray(X) - 2
    y = x @ np.arange(8.0).reshape(4, 2) + [1, -1]
    model = ModelConfig(hidden_sizes=())
    config = config_of(model, kind="none", num_epochs=60, batch_size=6)
    target = jax.ShapeDtypeStruct((2,), jnp.float32)
    spec = DataSpec(num_examples=44, features=(4,), num_classes=None, target=target)
    task = make_task(config, spec, loss=mean_squared_error(2))
    check_task(task)
    examples = Examples(x, y.astype(np.float32))
    train = jax.jit(functools.partial(run_training, task))
    hypers = Hypers.of(config)._replace(label_noise=jnp.float32(0.5))  # of labels alone
    state, metrics = train(jax.random.key(0), examples, examples, hypers)
    assert set(metrics.by_name) >= {"train_worst", "val_worst", "val_loss"}
    assert metrics.val["worst"][-1] < 1e-2
    (dense,) = state.params.values()
    np.testing.assert_allclose(dense["kernel"], np.arange(8.0).reshape(4, 2), atol=1e-2)


def test_what_is_no_image_cannot_be_augmented():
    config = config_of(data=DataConfig(augment={"flip": True}))
    with pytest.raises(UserError, match=r"data.augment: found inputs of shape \(4,\), wanted im"):
        make_task(config, SPEC)


class Sows(nn.Module):
    """A collection that grows with each step."""

    num_outputs: int
    norm: object

    @nn.compact
    def __call__(self, x, train):
        self.sow("losses", "size", jnp.sum(x))
        return nn.Dense(self.num_outputs)(x)


class OwnStatistics(nn.Module):
    """`batch_stats` that no batch normalization keeps."""

    num_outputs: int
    norm: object

    @nn.compact
    def __call__(self, x, train):
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(x.shape[-1]))
        if train and not self.is_initializing():
            mean.value = x.mean(0)
        return nn.Dense(self.num_outputs)(x - mean.value)


@pytest.mark.parametrize(
    ("model", "train", "line"),
    [
        ("Sows", {}, "model: found the collection 'losses', in which a step leaves other arrays"),
        ("OwnStatistics", {"recompute_stats": True}, "found no batch normalization in the model"),
    ],
)
def test_collections_that_do_not_train_are_named_before(model, train, line):
    config = config_of(ModelConfig(factory=f"train.test_training_laws:{model}"), **train)
    with pytest.raises(UserError, match=line):
        check_task(make_task(config, SPEC))


def test_a_training_outside_of_jit_takes_numpys_arrays():
    task = make_task(config_of(num_epochs=1, batch_size=22), SPEC)
    examples = Examples(np.asarray(X), np.asarray(Y))
    state, _ = run_training(task, jax.random.key(0), examples, examples, Hypers.of(task.config))
    assert state.step == 2
