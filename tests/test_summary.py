"""What a run says of its trials in the summary."""

import numpy as np
import pytest
from scipy import stats

from jbn.config import config_from_dict
from jbn.summary import summarize

COLUMNS = {
    "trial": np.arange(3),
    "arm": np.array(["batch"] * 3),
    "seed": np.arange(3),
    "num_parameters": np.full(3, 1),
    "diverged_step": np.array([-1, -1, 4]),
    "val_accuracy": np.array([0.5, 0.97, 0.1]),
    "test_accuracy": np.array([0.5, 0.6, 0.1]),
    "test_loss": np.array([1.0, 2.0, np.nan]),
    "seconds": np.array([1.0, 2.0, 3.0]),
}
METRICS = {
    "trial": np.array([0, 0, 1, 1, 2, 2]),
    "epoch": np.array([1, 2] * 3),
    "val_accuracy": np.array([0.4, 0.5, 0.96, 0.97, 0.2, 0.1]),
}
SHOWN = {"shown": ["accuracy", "loss"], "higher_is_better": ["accuracy"]}
GROUPS = {"arm": np.array(["batch", "batch"]), "compile_seconds": np.array([1.5, 2.0])}


def summarized(rows, arms=("batch",)):
    """Of these rows of the trials."""
    arms = {arm: {} if arm == "batch" else {"norm": {"kind": "none"}} for arm in arms}
    config = config_from_dict(
        {"name": "x", "num_seeds": 3, "train": {"num_epochs": 2}, "arms": arms}
    )
    trials = {name: column[rows] for name, column in COLUMNS.items()}
    return summarize(config, SHOWN, trials, METRICS, GROUPS)["arms"]


def test_a_diverged_seed_leaves_the_mean_open():
    """A mean of the others would flatter an arm that diverges."""
    arm = summarized([0, 1, 2])["batch"]
    assert arm["num_diverged"] == 1
    assert arm["test_loss"] == {
        "mean": None,
        "std": None,
        "interval": None,
        "per_seed": [1.0, 2.0, None],
    }
    np.testing.assert_allclose(arm["test_accuracy"]["mean"], 0.4)
    assert arm["epochs_to_target"] == {
        "median": None,
        "num_reached": 1,
        "per_seed": [None, 1, None],
    }
    assert (arm["compile_seconds"], arm["train_seconds"]) == (3.5, 6.0)


@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 2, 0]])
def test_the_order_of_the_rows_says_nothing(rows):
    assert summarized(rows) == summarized([0, 1, 2])


def test_of_a_run_that_goes_on_it_has_what_is_done():
    arms = summarized([0, 1], arms=("batch", "none"))
    assert list(arms) == ["batch"]
    assert arms["batch"]["num_trials"] == 2
    assert arms["batch"]["test_loss"]["per_seed"] == [1.0, 2.0]
    assert summarized([]) == {}


@pytest.mark.parametrize("num_seeds", [2, 3, 8, 40])
def test_the_interval_is_scipys_percentile_bootstrap(num_seeds):
    values = np.random.default_rng(num_seeds).integers(300, 360, num_seeds) / 360
    config = config_from_dict({"name": "x", "num_seeds": num_seeds, "arms": {"batch": {}}})
    repeated = {name: column[:1].repeat(num_seeds) for name, column in COLUMNS.items()}
    trials = repeated | {"trial": np.arange(num_seeds), "test_accuracy": values}
    found = summarize(config, SHOWN, trials, METRICS, GROUPS)["arms"]["batch"]["test_accuracy"]
    wanted = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    np.testing.assert_allclose(found["interval"], wanted, rtol=1e-12)


def test_the_lowest_error_is_best_and_the_target_is_an_upper_limit():
    """Of two points with two seeds; a point with a seed that diverged isn't best."""
    table = {"name": "x", "num_seeds": 2, "report": {"target": 0.5}}
    axes = {"optimizer": {"learning_rate": [0.1, 0.2, 0.3]}}
    config = config_from_dict({**table, "sweep": axes})
    shown = {"shown": ["rmse"], "higher_is_better": []}
    trials = {
        "trial": np.arange(6),
        "arm": np.array(["batch"] * 6),
        "val_rmse": np.array([0.9, 0.7, 0.6, 0.4, 0.1, np.nan]),
        "test_rmse": np.arange(6.0),
        "num_parameters": np.ones(6, int),
        "diverged_step": np.array([-1] * 5 + [3]),
        "seconds": np.ones(6),
    }
    metrics = {
        "trial": np.repeat(np.arange(6), 2),
        "val_rmse": np.array([1, 0.9, 0.8, 0.7, 0.55, 0.6, 0.5, 0.4, 0.1, 0.1, np.nan, np.nan]),
    }
    groups = {"arm": np.array(["batch"]), "compile_seconds": np.ones(1)}
    summary = summarize(config, shown, trials, metrics, groups)
    arm = summary["arms"]["batch"]
    assert arm["point"] == {"optimizer.learning_rate": 0.2}
    assert arm["test_rmse"]["per_seed"] == [2, 3]
    assert summary["target"] == 0.5
    assert arm["epochs_to_target"]["per_seed"] == [None, 1]
