"""Losses and their metrics, against scikit-learn; as sums over batches, they are those of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.utils.class_weight import compute_class_weight

from jbn.config import ArmConfig, LossConfig, TrainConfig, UserError
from jbn.data import DataSpec
from jbn.train import baseline_metrics, make_cross_entropy, make_squared_error, make_task
from jbn.train.loss import balanced_weights
from jbn.train.metrics import measure

RNG = np.random.default_rng(0)
LABELS = RNG.choice(4, p=[0.7, 0.2, 0.1, 0.0], size=90).astype(np.int32)  # none of class 3
LOGITS = (RNG.normal(size=(90, 4)) + np.eye(4)[LABELS]).astype(np.float32)
NUMBERS = RNG.normal(size=(90, 2)).astype(np.float32) * [0.5, 3] + [0.1, -0.2]
OUTPUT = (NUMBERS + RNG.normal(size=(90, 2))).astype(np.float32)
STD = (7.0, 0.01)


def in_batches(loss, output, y):
    """The metrics of batches of 40, 40 and 10, of which the last is filled up to 40 with NaN."""
    parts = []
    for start in (0, 40, 80):
        number = len(y[start : start + 40])
        fill = [(0, 40 - number)] + [(0, 0)] * (output.ndim - 1)
        x = np.pad(output[start : start + 40], fill, constant_values=np.nan)
        targets = np.pad(y[start : start + 40], fill[: y.ndim])
        weight = jnp.asarray(np.arange(40) < number, jnp.float32)
        parts.append(measure(loss.measured(jnp.asarray(x), jnp.asarray(targets)), weight))
    total = jax.tree.map(lambda *sums: sum(sums), *parts)
    return {name: float(metric) for name, metric in loss.metrics(total.means).items()}


def test_accuracies_are_scikit_learns():
    found = in_batches(make_cross_entropy(4), LOGITS, LABELS)
    predicted = LOGITS.argmax(1)
    wanted = sklearn_metrics.accuracy_score(LABELS, predicted)
    np.testing.assert_allclose(found["accuracy"], wanted, rtol=1e-6)
    present = np.isin(predicted, LABELS)  # scikit-learn warns of a class that is predicted alone
    assert not present.all()
    recalls = [(predicted[c == LABELS] == c).mean() for c in range(3)]
    np.testing.assert_allclose(found["balanced_accuracy"], np.mean(recalls), rtol=1e-6)
    of_present = np.where(present, predicted, 0)
    scored = sklearn_metrics.balanced_accuracy_score(LABELS, of_present)
    as_scored = in_batches(make_cross_entropy(4), np.eye(4)[of_present], LABELS)
    np.testing.assert_allclose(as_scored["balanced_accuracy"], scored, rtol=1e-6)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    nats = sklearn_metrics.log_loss(LABELS, probabilities, labels=range(4))
    np.testing.assert_allclose(found["loss"], nats, rtol=1e-5)


@pytest.mark.parametrize("targets", [[0, 1], [0]])
def test_errors_of_a_regression_are_scikit_learns_in_its_units(targets):
    y, output = NUMBERS[:, targets].astype(np.float32), OUTPUT[:, targets]
    std = np.array(STD)[targets]
    loss = make_squared_error(std.tolist())
    found = in_batches(loss, output, y)
    mine, theirs = y * std, output * std
    wanted = {
        "rmse": sklearn_metrics.root_mean_squared_error(mine, theirs),
        "mae": sklearn_metrics.mean_absolute_error(mine, theirs),
        "r2": sklearn_metrics.r2_score(mine, theirs),
        "loss": sklearn_metrics.mean_squared_error(y, output),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    if len(targets) == 1:  # the targets may be a vector
        assert in_batches(loss, output, y[:, 0]) == found


def test_r2_of_a_target_that_never_varies_is_scikit_learns():
    y = np.full((90, 1), 2.5, np.float32)
    for output in (y, y + 1):
        found = in_batches(make_squared_error(), output, y)
        assert found["r2"] == sklearn_metrics.r2_score(y, output)


def test_balanced_weights_are_scikit_learns():
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    counts = np.bincount(LABELS, minlength=4)
    np.testing.assert_allclose(balanced_weights(counts.tolist()), [*wanted, 0.0])


@pytest.mark.parametrize("weights", ["balanced", [1.0, 2.0, 0.5, 3.0]])
def test_class_weights_multiply_what_is_trained_and_nothing_that_is_reported(weights):
    counts = tuple(np.bincount(LABELS, minlength=4).tolist())
    spec = DataSpec(num_examples=90, features=(3,), num_classes=4, class_counts=counts)
    config = ArmConfig(loss=LossConfig(class_weights=weights))
    loss, plain = make_task(config, spec).loss, make_cross_entropy(4)
    of_each = np.array(balanced_weights(counts) if weights == "balanced" else weights)[LABELS]
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    wanted = of_each * plain.trained(logits, labels)
    np.testing.assert_allclose(loss.trained(logits, labels), wanted, rtol=1e-6)
    assert in_batches(loss, LOGITS, LABELS) == in_batches(plain, LOGITS, LABELS)
    assert loss.shown == ("accuracy", "balanced_accuracy", "loss")


def test_weights_of_another_number_of_classes_are_named():
    config = ArmConfig(loss=LossConfig(class_weights=[1.0, 2.0]))
    with pytest.raises(UserError, match="found 2 numbers, wanted 4, one for each class"):
        make_task(config, DataSpec(num_examples=90, features=(3,), num_classes=4))


def test_the_baseline_is_what_scikit_learns_dummies_say():
    config = ArmConfig(train=TrainConfig(batch_size=10))
    task = make_task(config, DataSpec(num_examples=90, features=(3,), num_classes=4))
    found = baseline_metrics(task, LABELS, LABELS[:30])
    assert found["accuracy"] == pytest.approx(np.mean(LABELS[:30] == 0))
    shares = np.tile(np.bincount(LABELS, minlength=4) / 90, (30, 1))
    nats = sklearn_metrics.log_loss(LABELS[:30], shares, labels=range(4))
    assert found["loss"] == pytest.approx(nats, rel=1e-5)

    target = jax.ShapeDtypeStruct((2,), jnp.float32)
    spec = DataSpec(90, (3,), None, target=target, target_std=STD)
    y = NUMBERS.astype(np.float32)
    found = baseline_metrics(make_task(config, spec), y, y[:30])
    mean = np.tile(y.mean(0), (30, 1))
    wanted = sklearn_metrics.root_mean_squared_error(y[:30] * STD, mean * STD)
    assert found["rmse"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("y", "num_targets"), [(np.zeros(5, np.int32), 1), (np.zeros((5, 3)), 2), (np.zeros(5), 2)]
)
def test_targets_of_another_kind_are_named(y, num_targets):
    with pytest.raises(UserError, match=r"y: found shape .* wanted floating numbers of shape"):
        make_squared_error([1.0] * num_targets).check(jnp.asarray(y))
