"""What a run says of its trials in the summary."""

import numpy as np

from jbn.config import config_from_dict, plan
from jbn.run.results import SECONDS, summarize


def test_a_diverged_seed_leaves_the_mean_open():
    """A mean of the others would flatter an arm that diverges."""
    config = config_from_dict({"name": "x", "num_seeds": 3, "train": {"num_epochs": 1}})
    results = {
        "val_accuracy": np.array([[0.5], [0.7], [0.1]]),
        "test_accuracy": np.array([0.5, 0.6, 0.1]),
        "test_loss": np.array([1.0, 2.0, np.nan]),
        "diverged_step": np.array([-1, -1, 4]),
        **{name: np.zeros(3) for name in SECONDS},
    }
    arm = summarize(config, plan(config), [1], results)["arms"]["batch"]
    assert arm["num_diverged"] == 1
    assert arm["test_loss"] == {
        "mean": None,
        "std": None,
        "interval": None,
        "per_seed": [1.0, 2.0, None],
    }
    np.testing.assert_allclose(arm["test_accuracy"]["mean"], 0.4)
