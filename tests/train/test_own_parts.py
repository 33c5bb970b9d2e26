"""Parts of a user's own: models in Linen and NNX, optimizers, schedules, losses, augmentations."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from jbn.config import ArmConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig, UserError
from jbn.data import Batch, DataSpec, Examples
from jbn.train import (
    Hypers,
    Loss,
    TrainKeys,
    batches_to_evaluate,
    check_task,
    final_variables,
    make_task,
    metric_names,
    run_epoch,
    run_training,
)
from jbn.train.optimizer import make_optimizer
from jbn.train.parts import Parts

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=40).astype(np.int32)
X = (RNG.normal(size=(40, 4)) + 2 * np.eye(3, 4)[Y]).astype(np.float32)
EXAMPLES = Examples(X, Y)
SPEC = DataSpec(num_examples=40, features=(4,), num_classes=3)
KEYS = TrainKeys.of(jax.random.key(1))
SGD = OptimizerConfig(kind="sgd", learning_rate=0.1)


def config_of(optimizer=SGD, norm_kind="batch", **train):
    return ArmConfig(
        norm=NormConfig(kind=norm_kind, momentum=0.9),
        optimizer=optimizer,
        train=TrainConfig(**({"num_epochs": 2, "batch_size": 8} | train)),
    )


class InLinen(nn.Module):
    """Two layers with norms, named as those of `InNNX`."""

    num_outputs: int
    norm: object
    rate: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        for name in ("0", "1"):
            x = nn.Dense(8, name=f"dense_{name}")(x)
            layer = self.norm(use_running_average=not train, name=f"norm_{name}")
            x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(layer(x)))
        return nn.Dense(self.num_outputs, name="head")(x)


class InNNX(nnx.Module):
    def __init__(self, num_inputs, num_outputs, norm, rate, rngs):
        self.dense_0 = nnx.Linear(num_inputs, 8, rngs=rngs)
        self.norm_0 = norm(8, rngs=rngs)
        self.dense_1 = nnx.Linear(8, 8, rngs=rngs)
        self.norm_1 = norm(8, rngs=rngs)
        self.head = nnx.Linear(8, num_outputs, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.norm_0(self.dense_0(x))))
        return self.head(self.dropout(nnx.relu(self.norm_1(self.dense_1(x)))))


def in_nnx(features, num_outputs, norm, rngs):
    return InNNX(features[0], num_outputs, norm, 0.0, rngs)


def with_dropout(features, num_outputs, norm, rngs):
    return InNNX(features[0], num_outputs, norm, 0.5, rngs)


@functools.cache
def epoch_of(task):
    return jax.jit(functools.partial(run_epoch, task))


def one_epoch(task):
    """The state before and after an epoch, and its metrics."""
    hypers = Hypers.of(task.config)
    start = task.init(KEYS, hypers)
    val = batches_to_evaluate(EXAMPLES)
    return start, *epoch_of(task)(start, EXAMPLES, val, KEYS, hypers)


@pytest.mark.parametrize("kind", ["batch", "ghost", "renorm", "layer", "rms", "group"])
def test_a_model_in_nnx_trains_as_the_same_in_linen(kind):
    """Each kind of norm, from the same weights; batch norms warmed up, so that momenta count."""
    config = config_of(norm_kind=kind)
    norm = {"virtual_batch_size": 4, "momentum_warmup": True, "num_groups": 2}
    config = config.model_copy(update={"norm": config.norm.model_copy(update=norm)})
    ours = make_task(config, SPEC, model=in_nnx)
    start, state, metrics = one_epoch(ours)
    same = make_task(config, SPEC, model=InLinen, weights=start.variables)
    wanted_start, wanted, wanted_metrics = one_epoch(same)
    chex.assert_trees_all_equal(wanted_start.variables, start.variables)
    chex.assert_trees_all_close(state, wanted, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(metrics, wanted_metrics, rtol=1e-4, atol=1e-5)


def test_a_step_in_nnx_is_that_of_flaxs_own_loop():
    task = make_task(config_of(), SPEC, model=in_nnx)
    hypers = Hypers.of(task.config)
    state = task.init(KEYS, hypers)
    batch = Batch(jnp.asarray(X[:8]), jnp.asarray(Y[:8]))
    found, _ = jax.jit(task.step)(state, batch, KEYS, hypers)

    norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-3)
    model = InNNX(4, 3, norm, 0.0, nnx.Rngs(0))
    nnx.update(model, state.params, state.collections["batch_stats"])
    model.train()

    def loss(model):
        logits = model(batch.x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.y).mean()

    gradient = nnx.grad(loss)(model)
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    optimizer.update(model, gradient)
    for kind, ours in (
        (nnx.Param, found.params),
        (nnx.BatchStat, found.collections["batch_stats"]),
    ):
        wanted = nnx.to_pure_dict(nnx.state(model, kind))
        chex.assert_trees_all_close(ours, wanted, rtol=1e-4, atol=1e-6)


def test_dropout_in_nnx_is_of_the_step_and_of_training_alone():
    task = make_task(config_of(), SPEC, model=with_dropout)
    check_task(task)
    hypers = Hypers.of(task.config)
    state = task.init(KEYS, hypers)
    batch = Batch(jnp.asarray(X[:8]), jnp.asarray(Y[:8]))
    gradient = jax.jit(lambda state, keys: task.gradient(state, batch, keys, hypers)[0])
    once, again = gradient(state, KEYS), gradient(state, KEYS)
    chex.assert_trees_all_equal(once, again)
    later = gradient(state._replace(step=state.step + 1), KEYS)
    other = gradient(state, TrainKeys.of(jax.random.key(2)))
    for changed in (later, other):
        assert not np.allclose(ravel_pytree(once)[0], ravel_pytree(changed)[0])
    evaluated = [
        jax.jit(make_task(config_of(), SPEC, model=model).evaluate)(state.variables, batch, hypers)
        for model in (with_dropout, in_nnx)
    ]
    chex.assert_trees_all_close(*evaluated)


def test_statistics_of_an_nnx_model_are_recomputed():
    """Over all examples in one batch they are those of the layer's inputs, by NumPy."""
    config = config_of(recompute_stats=True, batch_size=40)
    task = make_task(config, SPEC, model=in_nnx)
    check_task(task)
    hypers = Hypers.of(config)
    state = task.init(KEYS, hypers)
    found = final_variables(task, state, jnp.asarray(X), KEYS, hypers)["batch_stats"]["norm_0"]
    dense = state.params["dense_0"]
    inputs = X @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"])
    np.testing.assert_allclose(found["mean"], inputs.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["var"], inputs.var(0), rtol=1e-5)


def leaves(tree):
    """Arrays by path."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in flat}


def flaxs_own(in_call):
    """The network with Flax's batch norm, which is told the mode in the call or in the layer."""

    class Net(nn.Module):
        num_outputs: int

        @nn.compact
        def __call__(self, x, train):
            for name in ("0", "1"):
                x = nn.Dense(8, name=f"dense_{name}")(x)
                mode = {"use_running_average": not train}
                layer = nn.BatchNorm(name=f"norm_{name}", **({} if in_call else mode))
                x = nn.relu(layer(x, **(mode if in_call else {})))
            return nn.Dense(self.num_outputs, name="head")(x)

    return Net


FROZEN_MODELS = {
    "Linen": InLinen,
    "NNX": in_nnx,
    "Flax's norm, told in the layer": flaxs_own(in_call=False),
    "Flax's norm, told in the call": flaxs_own(in_call=True),
}


@pytest.mark.parametrize("model", FROZEN_MODELS.values(), ids=FROZEN_MODELS)
def test_what_is_frozen_stays_and_normalizes_as_in_evaluation(model):
    """As in a network whose first norm has constants in the place of a batch's statistics."""
    optimizer = OptimizerConfig(kind="sgd", learning_rate=0.1, weight_decay=0.1, clip_norm=0.5)
    config = config_of(optimizer, freeze=("dense_0*", "norm_0*"))
    task = make_task(config, SPEC, model=model)
    start, state, _ = one_epoch(task)
    old, new = leaves(start.variables), leaves(state.variables)
    for path, value in new.items():
        is_frozen = path.split("/")[1] in ("dense_0", "norm_0")
        assert np.array_equal(value, old[path]) == is_frozen, path

    hypers = Hypers.of(config)
    batch = Batch(jnp.asarray(X[:8]), jnp.asarray(Y[:8]))
    found = jax.jit(task.gradient)(start, batch, KEYS, hypers)[0]

    def loss(params):
        def dense(name, x):
            return x @ params[name]["kernel"] + params[name]["bias"]

        def affine(name, x):
            return x * params[name]["scale"] + params[name]["bias"]

        epsilon = (
            1e-5 if "Flax" in str(model) or model in tuple(FROZEN_MODELS.values())[2:] else 1e-3
        )
        x = jax.nn.relu(affine("norm_0", dense("dense_0", batch.x) / jnp.sqrt(1 + epsilon)))
        x = dense("dense_1", x)
        x = (x - x.mean(0)) / jnp.sqrt(x.var(0) + epsilon)
        logits = dense("head", jax.nn.relu(affine("norm_1", x)))
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.y).mean()

    wanted = jax.grad(loss)(start.params)
    for name in ("dense_1", "norm_1", "head"):
        chex.assert_trees_all_close(found[name], wanted[name], rtol=1e-3, atol=1e-5)
    for name in ("dense_0", "norm_0"):
        assert not ravel_pytree(found[name])[0].any()


class ToldInTheCall(nnx.Module):
    """Its norms are told the mode in their calls."""

    def __init__(self, num_outputs, rngs):
        self.dense_0 = nnx.Linear(4, 8, rngs=rngs)
        self.norm_0 = nnx.BatchNorm(8, rngs=rngs)
        self.norm_1 = nnx.BatchNorm(8, rngs=rngs)
        self.head = nnx.Linear(8, num_outputs, rngs=rngs)

    def __call__(self, x, train):
        x = self.norm_0(self.dense_0(x), use_running_average=not train)
        return self.head(nnx.relu(self.norm_1(x, use_running_average=not train)))


def test_a_frozen_norm_in_nnx_may_be_told_the_mode_in_the_call():
    """It leaves x as it is, by its first statistics; else it would take the batch's mean away."""
    config = config_of(freeze=("norm_0*",))
    frozen, free = (make_task(c, SPEC, model=ToldInTheCall) for c in (config, config_of()))
    hypers = Hypers.of(config)
    state = frozen.init(KEYS, hypers)
    batch = Batch(jnp.asarray(X[:8] + 9), jnp.asarray(Y[:8]))
    after = [jax.jit(task.step)(state, batch, KEYS, hypers)[0] for task in (frozen, free)]
    means = [s.collections["batch_stats"]["norm_1"]["mean"] for s in after]
    assert not np.allclose(means[0], 0, atol=1e-3)
    np.testing.assert_allclose(means[1], 0, atol=1e-5)


@pytest.mark.parametrize(
    "model", [InLinen, in_nnx, flaxs_own(in_call=True), ToldInTheCall], ids=range(4)
)
def test_frozen_statistics_are_not_recomputed(model):
    config = config_of(freeze=("norm_0*",), recompute_stats=True)
    task = make_task(config, SPEC, model=model)
    hypers = Hypers.of(config)
    state = task.init(KEYS, hypers)
    stats = final_variables(task, state, jnp.asarray(X), KEYS, hypers)["batch_stats"]
    chex.assert_trees_all_equal(stats["norm_0"], state.collections["batch_stats"]["norm_0"])
    assert not np.allclose(stats["norm_1"]["mean"], 0)


@pytest.mark.parametrize(
    ("freeze", "line"),
    [
        (
            "conv*",
            r"train.freeze: found 'conv\*', which matches no path; .* begin with dense_0",
        ),
        ("head", r"train.freeze: found 'head', which matches no path; did you mean 'head\*'\?"),
        ("*", r"train.freeze: found \['\*'\], which leaves no parameter to train"),
    ],
)
def test_patterns_that_freeze_nothing_or_all_are_named(freeze, line):
    with pytest.raises(UserError, match=line):
        check_task(make_task(config_of(freeze=freeze), SPEC, model=in_nnx))


PARAMS = {"kernel": np.float32([1.0, -2.0, 3.0]), "scale": np.float32([0.5])}
GRADIENTS = [
    {"kernel": np.float32([0.3, -0.2, 0.1]) * n, "scale": np.float32([-0.4]) / n} for n in (1, 2, 3)
]


def stepped(optimizer, as_vector):
    """The parameters after three steps."""
    _, to_tree = ravel_pytree(PARAMS)
    state, params = optimizer.init(PARAMS), PARAMS
    if as_vector:
        params = ravel_pytree(PARAMS)[0]
    for gradient in GRADIENTS:
        gradient = ravel_pytree(gradient)[0] if as_vector else gradient
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return to_tree(params) if as_vector else params


@pytest.mark.parametrize("as_vector", [False, True])
def test_an_optimizer_of_ones_own_sees_each_array(as_vector):
    """LAMB has a ratio for each array, so one vector of all would be another rule."""

    def lamb(learning_rate, weight_decay):
        return optax.lamb(learning_rate, weight_decay=weight_decay)

    config = config_of(OptimizerConfig(learning_rate=0.1, weight_decay=0.2, kind="sgd"))
    found = make_optimizer(config, Parts(optimizer=lamb), Hypers.of(config), PARAMS, 3)
    wanted = stepped(optax.lamb(0.1, weight_decay=0.2), as_vector=False)
    chex.assert_trees_all_close(stepped(found, as_vector), wanted, rtol=1e-6)


def test_a_schedule_of_ones_own_multiplies_the_rate_of_every_optimizer():
    def falling(num_steps):
        return optax.linear_schedule(1.0, 0.0, num_steps)

    def sgd(learning_rate):
        return optax.sgd(learning_rate)

    def ones(num_steps):
        return optax.constant_schedule(1.0)

    config = config_of()
    linear = config.model_copy(update={"optimizer": SGD.model_copy(update={"schedule": "linear"})})
    wanted = stepped(make_optimizer(linear, Parts(), Hypers.of(config), PARAMS, 3), False)
    for parts in (Parts(schedule=falling), Parts(schedule=falling, optimizer=sgd)):
        found = stepped(make_optimizer(config, parts, Hypers.of(config), PARAMS, 3), True)
        chex.assert_trees_all_close(found, wanted, rtol=1e-6)
    steady = stepped(
        make_optimizer(config, Parts(schedule=ones), Hypers.of(config), PARAMS, 3), True
    )
    assert not np.allclose(steady["kernel"], wanted["kernel"])


def test_a_factory_is_given_the_steps_of_the_whole_training():
    """Also where the state is made: it may depend on them."""
    seen = []

    def make(learning_rate, num_steps):
        seen.append(num_steps)
        return optax.sgd(learning_rate)

    task = make_task(config_of(), SPEC, optimizer=make)
    check_task(task)
    assert set(seen) == {10}  # two epochs of five batches


def test_what_a_partial_function_has_already_it_is_not_given():
    model = functools.partial(InLinen, norm=lambda use_running_average, name: lambda x: x)
    state = make_task(config_of(), SPEC, model=model).first
    assert sorted(state.params) == ["dense_0", "dense_1", "head"]


def test_a_class_in_nnx_is_a_factory():
    assert "norm_1" in make_task(config_of(), SPEC, model=ToldInTheCall).first.params


LOGITS = Loss((3,), lambda output, y: output[:, 0], lambda output, y: {"loss": output[:, 0]})


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (
            LOGITS._replace(trained=lambda output, y: output),
            r"loss: found trained of shape \(2, 3\)",
        ),
        (LOGITS._replace(measured=lambda output, y: {"x": output}), "loss: measured lack 'loss'"),
        (LOGITS._replace(metrics=lambda means: {"x": 0.0}), "loss: metrics lack 'loss', found x"),
        (
            LOGITS._replace(measured=lambda output, y: {"loss": output}),
            r"loss: the metric 'loss' has the shape \(3,\), wanted \(\)",
        ),
    ],
)
def test_a_loss_that_gives_something_else_is_named(loss, line):
    with pytest.raises(UserError, match=line):
        metric_names(make_task(config_of(), SPEC, loss=loss))


def test_an_augmentation_of_ones_own_changes_training_batches_alone():
    """Labels, too: with every label 0 the net learns to say 0, and validation shows the truth."""

    def all_zero(key, batch):
        noise = 0.01 * jax.random.normal(key, batch.x.shape)
        return batch._replace(x=batch.x + noise, y=jnp.zeros_like(batch.y))

    config = config_of(OptimizerConfig(learning_rate=0.1), batch_size=4)
    task = make_task(config, SPEC, augment=all_zero)
    _, _, metrics = one_epoch(task)
    assert metrics.train["accuracy"] > 0.7
    np.testing.assert_allclose(metrics.val["accuracy"], np.mean(Y == 0), atol=0.1)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"optimizer": lambda rate: optax.sgd(rate)}, "optimizer.factory: .* missing .* 'rate'"),
        ({"optimizer": lambda learning_rate: 3}, "returned a int, wanted an optax.GradientTrans"),
        ({"schedule": lambda num_steps: 3}, "returned a int, wanted an optax.Schedule, a function"),
        ({"augment": lambda x: x}, "augment.function: .* too many positional arguments; wanted"),
        ({"augment": lambda key, batch: batch.x}, "Tracer, wanted the batch, such as batch._repl"),
        (
            {"optimizer": optax.sgd(0.1)},
            "found a GradientTransform.*, wanted a function that makes",
        ),
        ({"model": InLinen(3, None)}, "found a InLinen that is made already, wanted the function"),
        ({"model": lambda: 3}, "returned a int, wanted a flax.linen.Module, or an nnx.Module made"),
        ({"model": lambda rngs: 3}, "returned a int, wanted an nnx.Module .* as the factory takes"),
        ({"model": lambda: nn.Dense(3)}, "returned a Dense, whose __call__ takes no train; wanted"),
    ],
)
def test_a_part_that_is_something_else_is_named(parts, line):
    with pytest.raises(UserError, match=line):
        check_task(make_task(config_of(), SPEC, **parts))


def test_weights_begin_a_training_and_fresh_ones_are_drawn():
    first = make_task(config_of(), SPEC, model=InLinen)
    hypers = Hypers.of(first.config)
    weights = jax.tree.map(lambda leaf: leaf + 1, first.init(KEYS, hypers).variables)
    drawn = first.init(KEYS, hypers).variables
    config = config_of()
    fresh = config.model_copy(
        update={"model": ModelConfig(init_from="a", init_fresh=("head*", "norm_1/mean"))}
    )
    found = leaves(
        make_task(fresh, SPEC, model=InLinen, weights=weights).init(KEYS, hypers).variables
    )
    for path, value in found.items():
        is_fresh = "head" in path or path == "batch_stats/norm_1/mean"
        np.testing.assert_array_equal(value, leaves(drawn if is_fresh else weights)[path])


def changed(weights, path, value):
    collection, layer, name = path.split("/")
    layers = {**weights[collection], layer: {**weights[collection][layer], name: value}}
    if value is None:
        del layers[layer][name]
    return {**weights, collection: layers}


@pytest.mark.parametrize(
    ("path", "value", "fresh", "line"),
    [
        (
            "params/head/kernel",
            np.zeros((8, 2)),
            (),
            r"found an array of shape \(8, 2\) at params/head/kernel, where the model has the "
            r"shape \(8, 3\); wanted that, or a pattern in model.init_fresh that matches head/ker",
        ),
        ("batch_stats/norm_0/mean", None, (), "found nothing at batch_stats/norm_0/mean"),
        ("params/head/bias", np.zeros(3), ("tail*",), r"init_fresh: found 'tail\*', which matches"),
    ],
)
def test_weights_that_do_not_fit_are_named(path, value, fresh, line):
    task = make_task(config_of(), SPEC, model=InLinen)
    weights = changed(task.init(KEYS, Hypers.of(task.config)).variables, path, value)
    config = task.config.model_copy(update={"model": ModelConfig(init_from="a", init_fresh=fresh)})
    with pytest.raises(UserError, match=line):
        _ = make_task(config, SPEC, model=InLinen, weights=weights).first


class MeanAndSpread(nn.Module):
    """A mean and a logarithm of a variance for each example, as a dict."""

    @nn.compact
    def __call__(self, x, train):
        return {"mean": nn.Dense(1)(x)[:, 0], "log_var": nn.Dense(1)(x)[:, 0]}


def test_a_loss_takes_any_output():
    """The likelihood of a Gaussian whose variance the model says, too; found by its optimum."""

    def likelihood(output, y):
        error = jnp.square(output["mean"] - y) * jnp.exp(-output["log_var"])
        return (error + output["log_var"]) / 2

    loss = Loss(None, likelihood, lambda output, y: {"loss": likelihood(output, y)})
    spec = SPEC._replace(num_classes=None, target=jax.ShapeDtypeStruct((), jnp.float32))
    config = config_of(OptimizerConfig(learning_rate=0.05), num_epochs=40, batch_size=40)
    task = make_task(config, spec, model=MeanAndSpread, loss=loss)
    check_task(task)
    assert metric_names(task) == ["loss"]
    y = X[:, 0] + np.float32(0.5) * RNG.normal(size=40).astype(np.float32)
    train = jax.jit(functools.partial(run_training, task))
    examples = Examples(X, y)
    _, metrics = train(jax.random.key(0), examples, examples, Hypers.of(config))
    assert metrics.val["loss"][-1] < 0.2 < metrics.val["loss"][0]
    with pytest.raises(UserError, match="loss: found one without output_shape, which jbn's own"):
        _ = make_task(config, spec, loss=loss).first
