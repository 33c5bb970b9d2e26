"""What claims are judged by, and that their results follow from the values beside them."""

import importlib
import itertools
import json
import sys
from pathlib import Path

import claims
import initialization.collect as initialization
import jax
import numpy as np
import pytest
from claims import CLAIMS, environment_of, judge, results_of
from findings import Finding, Panel, as_json
from values import MEASURES, SEED, SPLIT, label, read_rows

from jbn.config import config_from_dict, load_config, plan
from jbn.run import run
from jbn.store import read_trials

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_a_logarithmic_panel_has_the_spread_of_logarithms_and_what_is_not_finite_is_none():
    values = np.array([[1.0, 100.0], [np.inf, 1.0]])
    panel = Panel("t", "x", "y", {"a": (np.arange(2), values)}, log_y=True)
    (line,) = json.loads(json.dumps(as_json(panel)))["lines"]
    assert line["x"] == [0, 1]
    assert line["mean"] == [10, None]
    half = np.std([0, 2], ddof=1)
    assert line["low"][0] == pytest.approx(10 ** (1 - half), rel=1e-5)
    assert line["high"][0] == pytest.approx(10 ** (1 + half), rel=1e-5)


RATE, ORDER, NORMALIZE = "optimizer.learning_rate", "train.order", "data.normalize"


def rows_of(name, accuracy, num_splits=10):
    """Rows of a claim's sweeps, with accuracies of `accuracy(config, arm, point)`, less noise."""
    if name == "initialization":
        return rows_of_initialization(accuracy)
    noise, rows = np.random.default_rng(0), []
    for path in sorted((EXPERIMENTS / name).glob("*.toml")):
        for program in plan(load_config(path)):
            for trial in program.trials:
                if trial.point[SPLIT] % 100 >= num_splits:
                    continue
                found = accuracy(path.stem, trial.arm, trial.point) - 0.01 * noise.random()
                point = {key: label(value) for key, value in trial.point.items()}
                measures = dict.fromkeys(MEASURES, str(found))
                rows.append(
                    {"config": path.stem, "arm": trial.arm, **point, SEED: str(trial.seed)}
                    | measures
                )
    return rows


def rows_of_initialization(accuracy):
    noise, rows = np.random.default_rng(0), []
    varied = (initialization.OPTIMIZERS, initialization.DEPTHS, initialization.ARMS)
    points = itertools.product(initialization.GAINS, initialization.RATES, initialization.REPEATS)
    for (optimizer, depth, arm), (gain, rate, split) in itertools.product(
        itertools.product(*varied), list(points)
    ):
        found = accuracy(optimizer, arm, {"depth": depth, "gain": gain}) - 0.01 * noise.random()
        row = {"optimizer": optimizer, "depth": str(depth), "arm": arm, "gain": label(gain)}
        row |= {"learning_rate": label(rate), SPLIT: str(split), SEED: str(split)}
        rows.append(row | dict.fromkeys(MEASURES, str(found)))
    return rows


def learns_to(limits):
    """Accuracies of networks that learn at rates up to a limit of their arm."""
    return lambda config, arm, p: 0.95 if p[RATE] < limits.get(arm, 1) else 0.1


def loses(is_arm, point):
    """Whether the arm loses by the order of the point."""
    return is_arm and point[ORDER] != "shuffled"


# The accuracies, and the verdict that the rule of all claims has for them.
OF_SPLITS = [
    ("learning_rate", learns_to({"no_norm": 0.01}), "holds"),
    ("learning_rate", learns_to({}), "refuted"),
    ("learning_rate", learns_to({"batch_norm": 0.01}), "refuted"),
    (
        "learning_rate",
        lambda c, arm, p: learns_to({"no_norm": 0.01 if c == "sgd" else 1})(c, arm, p),
        "holds partly",
    ),
    ("initialization", lambda c, arm, p: 0.9 - 0.5 * (arm == "no_norm" and p["gain"] > 1), "holds"),
    (
        "initialization",
        lambda c, arm, p: 0.9 - 0.5 * (arm == "no_norm" and p["gain"] > 1 and p["depth"] == 10),
        "holds partly",
    ),
    ("initialization", lambda c, arm, p: 0.9, "refuted"),
    ("sample_order", lambda c, arm, p: 0.9 - 0.2 * loses(arm == "no_norm", p), "holds"),
    ("sample_order", lambda c, arm, p: 0.9 - 0.2 * loses(arm != "no_norm", p), "refuted"),
    ("sample_order", lambda c, arm, p: 0.9, "refuted"),
    ("scale_and_bias", lambda c, arm, p: 0.9 - 0.2 * (arm == "neither"), "holds"),
    (
        "scale_and_bias",
        lambda c, arm, p: 0.9 - 0.2 * (arm == "neither" and p["model.activation"] == "relu"),
        "holds partly",
    ),
    ("scale_and_bias", lambda c, arm, p: 0.9, "refuted"),
    ("input_normalization", lambda c, arm, p: 0.9 - 0.2 * (p[NORMALIZE] != "none"), "holds"),
    ("input_normalization", lambda c, arm, p: 0.9 - 0.2 * (p[NORMALIZE] == "none"), "refuted"),
    ("input_layer", lambda c, arm, p: 0.9 - 0.2 * (arm == "standardized"), "holds"),
    ("input_layer", lambda c, arm, p: 0.9 - 0.2 * (arm == "raw"), "refuted"),
    ("accuracy", lambda c, arm, p: 0.9 - 0.1 * (arm == "no_norm"), "holds"),
    ("accuracy", lambda c, arm, p: 0.9 - 0.1 * (arm == "no_norm" and c == "cnn"), "holds partly"),
    ("accuracy", lambda c, arm, p: 0.9 - 0.1 * (arm == "batch_norm"), "refuted"),
    ("architectures", lambda c, arm, p: 0.9 - 0.1 * (arm == "no_norm"), "holds"),
    (
        "architectures",
        lambda c, arm, p: 0.9 - 0.1 * (arm == "no_norm" and c == "resnet"),
        "holds partly",
    ),
    ("architectures", lambda c, arm, p: 0.9 - 0.02 * (arm == "no_norm"), "refuted"),
    ("batch_size", lambda c, arm, p: 0.9 - 0.1 * (arm == "batch_norm"), "holds"),
    (
        "batch_size",
        lambda c, arm, p: 0.9 - 0.1 * (arm == "batch_norm" and p["train.batch_size"] == 2),
        "holds partly",
    ),
    ("batch_size", lambda c, arm, p: 0.9, "refuted"),
    ("momentum", lambda c, arm, p: 0.9 if arm == "recomputed" else 0.8, "holds"),
    (
        "momentum",
        lambda c, arm, p: 0.9 - 0.2 * (arm == "running" and p["norm.momentum"] > 0.9),
        "holds partly",
    ),
    ("momentum", lambda c, arm, p: 0.9, "refuted"),
    ("epsilon", lambda c, arm, p: 0.9 if p["norm.epsilon"] == 1e-3 else 0.8, "holds"),
    ("epsilon", lambda c, arm, p: 0.9 if p["norm.epsilon"] < 0.1 else 0.8, "holds partly"),
    ("epsilon", lambda c, arm, p: 0.9, "refuted"),
]


@pytest.mark.parametrize(("name", "accuracy", "verdict"), OF_SPLITS)
def test_verdicts_are_those_of_the_rule(name, accuracy, verdict):
    finding = importlib.import_module(f"{name}.measure").measure(rows_of(name, accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10
    assert set(finding.headline) <= set(finding.panels[0].lines)
    result = json.loads(json.dumps(results_of(name, finding, 1.0, {})))
    for panel in result["panels"]:
        for line in panel["lines"]:
            assert {len(line[key]) for key in ("x", "mean", "low", "high")} == {len(line["x"])}


def assert_equal_but_for_last_bits(found, wanted):
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list):
        for a, b in zip(found, wanted, strict=True):
            assert_equal_but_for_last_bits(a, b)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", CLAIMS)
def test_results_follow_from_the_values_beside_them_and_from_a_clean_commit(name):
    result = json.loads((EXPERIMENTS / name / "results.json").read_text())
    finding = judge(name, EXPERIMENTS / name / "values.csv")
    again = results_of(name, finding, result["seconds"], result["environment"])
    # SciPy's quantiles and NumPy's sums differ in the last bits from version to version.
    assert_equal_but_for_last_bits(json.loads(json.dumps(again)), result)
    assert "-" not in result["environment"]["git_commit"]
    configs = [load_config(path) for path in (EXPERIMENTS / name).glob("*.toml")]
    programs = [program for config in configs for program in plan(config)]
    if programs:
        rows = read_rows(EXPERIMENTS / name / "values.csv")
        assert len(rows) == sum(len(program.trials) for program in programs)


@pytest.mark.slow
def test_a_gain_of_one_is_the_engines_training(tmp_path, monkeypatch):
    """The same seed on the same split, of which no claim knows."""
    monkeypatch.setattr(initialization, "GAINS", np.array([0.1, 1.0]))
    monkeypatch.setattr(initialization, "RATES", np.array([0.1, 0.3]))
    for name, value in (("DEPTHS", (2,)), ("WIDTH", 8), ("OPTIMIZERS", ("sgd",))):
        monkeypatch.setattr(initialization, name, value)
    arm = initialization.ARMS["batch_norm_recomputed"]
    monkeypatch.setattr(initialization, "ARMS", {"batch_norm_recomputed": arm})
    rows, _ = initialization.rows([3, 4])
    assert len(rows) == 8
    for split in (3, 4):
        table = {
            "name": "x",
            "seed": split,
            "num_seeds": 1,
            "data": {"split_seed": split},
            "model": {"hidden_sizes": [8, 8]},
            "optimizer": {"kind": "sgd"},
            "norm": {"momentum_warmup": True},
            "train": {"recompute_stats": True},
            "sweep": {RATE: [0.1, 0.3]},
        }
        out = tmp_path / str(split)
        run(config_from_dict(table), out, device=jax.devices()[0])
        trials = read_trials(out)
        for name in ("val_accuracy", "test_accuracy", "diverged_step"):
            found = [
                float(row[name]) for row in rows if row["gain"] == "1" and row[SPLIT] == str(split)
            ]
            np.testing.assert_allclose(found, trials[name], rtol=1e-5)
    ones, tenths = ([row for row in rows if row["gain"] == gain] for gain in ("1", "0.1"))
    assert [row["val_accuracy"] for row in ones] != [row["val_accuracy"] for row in tenths]


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["--small", "epsilon"], [("epsilon", "small")]),
        (["--small"], [(name, "small") for name in CLAIMS]),
        (["--large"], [(name, "large") for name in ("accuracy", "architectures")]),
    ],
)
def test_the_named_claims_are_made_in_the_named_size(options, made, monkeypatch):
    found = []
    monkeypatch.setattr(claims, "make", lambda name, size: found.append((name, size)))
    monkeypatch.setattr(claims, "load", lambda config: None)
    monkeypatch.setattr(claims, "enable_compilation_cache", lambda: None)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(sys, "argv", ["claims.py", *options])
    claims.main()
    assert found == made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["epsylon"], "found epsylon, wanted some of convergence, "),
        (["--large", "epsilon"], "--large: found epsilon, wanted some of accuracy, "),
        (["epsilon"], "found changes, wanted a checkout without any"),
    ],
)
def test_what_cannot_be_measured_is_said(options, words, monkeypatch):
    monkeypatch.setattr(claims, "_here", lambda: {"git_commit": "0123456-dirty"})
    monkeypatch.setattr(claims, "enable_compilation_cache", lambda: None)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(sys, "argv", ["claims.py", *options])
    with pytest.raises(SystemExit, match=words):
        claims.main()


def test_every_claim_has_its_verdicts_tested():
    own = {
        path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("claims/test_*.py")
    }
    assert {case[0] for case in OF_SPLITS} | own == set(CLAIMS)


def test_a_results_file_keeps_all_of_a_finding():
    finding = Finding(["a"], [["1"]], "holds", "s", [], ("b", "c"), 3, 2, "splits")
    environment = environment_of("cost")
    found = results_of("cost", finding, 1.5, environment)
    assert {key: found[key] for key in finding._asdict()} == finding._asdict() | {"judged": []}
    assert found["environment"]["command"] == "python experiments/claims.py cost"
