"""A run with functions and data of a user's own: from file to result, and back from its folder."""

import importlib.machinery
import shutil
import sys

import jax
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

import jbn
from jbn import store
from jbn.config import UserError, config_from_dict
from jbn.data import DataSpec, load
from jbn.report.page import write_report
from jbn.run import run
from jbn.train import make_cross_entropy, make_task

SOURCE = """
import math
import optax
from flax import nnx
from jbn.train import make_squared_error

class Net(nnx.Module):
    def __init__(self, num_inputs, num_outputs, rngs):
        self.hidden = nnx.Linear(num_inputs, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(16, num_outputs, rngs=rngs)

    def __call__(self, x):
        return self.head(self.dropout(nnx.relu(self.norm(self.hidden(x)))))

def make_net(features, num_outputs, rngs):
    return Net(math.prod(features), num_outputs, rngs)

def make_optimizer(learning_rate):
    return optax.lamb(learning_rate)
"""
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
# Far from zero, and of other units.
Y = np.stack([1e6 + 3 * X[:, 0], 0.01 * X[:, 1]], 1) + RNG.normal(size=(300, 2)) * [0.3, 1e-3]


def config_of(folder, **more):
    return config_from_dict(
        {
            "name": "houses",
            "num_seeds": 2,
            "data": {"name": "npz", "path": str(folder / "houses.npz"), "targets": "numbers"},
            "model": {"factory": "own_houses:make_net"},
            "optimizer": {"factory": "own_houses:make_optimizer", "learning_rate": 0.03},
            "train": {"num_epochs": 8, "batch_size": 32},
            **more,
        }
    )


@pytest.fixture(autouse=True)
def forget():
    """Python imports the module anew."""
    sys.modules.pop("own_houses", None)


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """The folder of such a run, and of its source and data; the source can't be imported now."""
    folder = tmp_path_factory.mktemp("houses")
    (folder / "own_houses.py").write_text(SOURCE)
    np.savez(folder / "houses.npz", x=X, y=Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        summary = run(config_of(folder), folder / "run", device=jax.devices()[0])
    return folder, summary


def test_the_errors_are_those_of_the_predictions_in_the_files_units(houses):
    folder, summary = houses
    dataset = load(config_of(folder).arms["batch"].data)
    test = dataset.test
    rows, of_training = (
        [int(np.argmin(np.abs(X - x).sum(1))) for x in split.x] for split in (test, dataset.train)
    )
    (arm,) = summary["arms"].values()
    for lane, seed in enumerate((0, 1)):
        loaded = jbn.load_run(folder / "run", seed=seed, trust_source=True)
        predicted = loaded.predict(test.x)
        assert (predicted.dtype, predicted.shape) == (np.float64, (30, 2))
        for name, metric in {
            "rmse": root_mean_squared_error,
            "mae": mean_absolute_error,
            "r2": r2_score,
        }.items():
            wanted = metric(Y[rows], predicted)
            np.testing.assert_allclose(arm[f"test_{name}"]["per_seed"][lane], wanted, rtol=1e-3)
    assert arm["test_r2"]["mean"] > 0.5
    mean = np.tile(Y[of_training].mean(0), (30, 1))
    baseline = summary["baseline"]
    assert baseline["name"] == "mean of the targets"
    wanted = root_mean_squared_error(Y[rows], mean)
    np.testing.assert_allclose(baseline["test_rmse"], wanted, rtol=1e-4)


def test_the_report_names_the_metrics_that_the_run_has(houses):
    folder, summary = houses
    assert (summary["shown"], summary["target"]) == (["rmse", "mae", "r2"], None)
    html = write_report(folder / "run").read_text()
    for words in ("test RMSE", "test MAE", "test R²", "mean of the targets", "validation RMSE"):
        assert words in html
    for words in ("accuracy", "Epochs:", "nats"):
        assert words not in html.partition("<h2>Environment")[0]
    assert "Batch statistics" in html


def test_the_source_is_kept_and_never_executed_unasked(houses, monkeypatch):
    folder, _ = houses
    out = folder / "run"
    assert (out / "source" / "own_houses.py").read_text() == SOURCE
    with pytest.raises(
        UserError, match=r"as factory=\.\.\., or trust_source=True to execute .*run/"
    ):
        jbn.load_run(out)
    predicted = jbn.load_run(out, trust_source=True).predict(X)
    monkeypatch.syspath_prepend(folder)
    np.testing.assert_array_equal(jbn.load_run(out).predict(X), predicted)
    import own_houses

    given = jbn.load_run(out, factory=own_houses.make_net)
    np.testing.assert_array_equal(given.predict(X), predicted)
    model = given.model.with_variables(given.variables)
    model.eval()
    x = jbn.data.normalize_inputs(given.config.data, given.input_stats, X)
    again = np.asarray(model(x)) * given.target_stats.std + given.target_stats.mean
    np.testing.assert_allclose((again - predicted) / given.target_stats.std, 0, atol=1e-5)
    (folder / "changed").mkdir()
    (folder / "changed" / "own_houses.py").write_text(SOURCE + "# changed\n")
    del sys.modules["own_houses"]
    monkeypatch.syspath_prepend(folder / "changed")
    with pytest.warns(UserWarning, match="own_houses isn't as it was in the run"):
        jbn.load_run(out)


def test_a_stopped_run_does_not_go_on_with_another_source(houses, tmp_path, monkeypatch):
    folder, _ = houses
    out = shutil.copytree(folder / "run", tmp_path / "run")
    (out / "summary.json").unlink()
    (tmp_path / "own_houses.py").write_text(SOURCE + "# changed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"run with another version of own_houses\.py, which is"):
        run(config_of(folder), out, device=jax.devices()[0])


def test_a_run_begins_with_the_weights_of_another(houses, tmp_path, monkeypatch):
    """With all but the head frozen, they are what the first run had; only the head has moved.

    The inputs are others, and normalized as those were which the weights were trained with.
    """
    folder, _ = houses
    monkeypatch.syspath_prepend(folder)
    model = {
        "factory": "own_houses:make_net",
        "init_from": str(folder / "run"),
        "init_fresh": "head*",
    }
    train = {"num_epochs": 1, "freeze": ["hidden*", "norm*"]}
    np.savez(tmp_path / "others.npz", x=3 * X + 1, y=Y)
    data = {"name": "npz", "path": str(tmp_path / "others.npz"), "targets": "numbers"}
    config = config_of(folder, model=model, train=train, data=data, seed=7, num_seeds=1)
    run(config, tmp_path / "tuned", device=jax.devices()[0])
    first = store.read_variables(folder / "run", "batch", 0)
    tuned = store.read_variables(tmp_path / "tuned", "batch", 7)
    for name in ("hidden", "norm"):
        for leaf, value in tuned["params"][name].items():
            np.testing.assert_array_equal(value, first["params"][name][leaf])
    np.testing.assert_array_equal(
        tuned["batch_stats"]["norm"]["mean"], first["batch_stats"]["norm"]["mean"]
    )
    for name, value in first["inputs"].items():
        if name in ("mean", "std", "count"):
            np.testing.assert_array_equal(tuned["inputs"][name], value)
    assert not np.allclose(tuned["params"]["head"]["kernel"], first["params"]["head"]["kernel"])


def test_nothing_is_imported_from_the_folder_itself(houses, tmp_path, monkeypatch):
    """Not even where Python would find it there, as a package without a file."""
    folder, _ = houses
    out = shutil.copytree(folder / "run", tmp_path / "evil")
    (out / "source" / "payload.py").write_text("raise SystemExit('executed')")
    path = out / "config.json"
    text = path.read_text().replace("own_houses:make_net", "evil.source.payload:make")
    path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"would be imported from .*evil itself, which trust_sou"):
        jbn.load_run(out)


@pytest.mark.parametrize("suffix", importlib.machinery.all_suffixes())
def test_no_kind_of_module_is_imported_from_the_folder(houses, tmp_path, monkeypatch, suffix):
    """Bytecode and libraries need no source beside them."""
    folder, _ = houses
    out = shutil.copytree(folder / "run", tmp_path / "evil")
    path = out / "config.json"
    path.write_text(path.read_text().replace("own_houses:make_net", "payload:make"))
    (out / f"payload{suffix}").write_bytes(b"")
    monkeypatch.syspath_prepend(out)
    with pytest.raises(UserError, match=r"payload would be imported from .*evil itself"):
        jbn.load_run(out)


def test_builtins_are_no_factories():
    config = config_from_dict({"name": "x", "model": {"factory": "os:abort"}})
    with pytest.raises(UserError, match="found 'os:abort', wanted a function written in Python"):
        make_task(config.arms["batch"], DataSpec(100, (4,), 3))


def test_with_every_norm_frozen_a_run_comes_to_its_end(tmp_path):
    """With an average, too, whose statistics would be recomputed."""
    train = {"num_epochs": 1, "batch_size": 480, "freeze": "BatchNorm*", "ema_decay": 0.9}
    table = {"name": "x", "num_seeds": 1, "model": {"hidden_sizes": [4]}, "train": train}
    summary = run(config_from_dict(table), tmp_path / "x", device=jax.devices()[0])
    assert summary["arms"]["batch"]["num_diverged"] == 0
    assert store.read_norms(tmp_path / "x") == {}


def test_a_stopped_run_does_not_go_on_from_other_weights(tmp_path):
    weights = tmp_path / "weights.npz"
    table = {"name": "x", "num_seeds": 1, "model": {"hidden_sizes": [4]}}
    table["train"] = {"num_epochs": 1, "batch_size": 480}
    run(config_from_dict(table), tmp_path / "first", device=jax.devices()[0])
    shutil.copy(tmp_path / "first" / "variables" / "batch" / "0.npz", weights)
    table["model"]["init_from"] = str(weights)
    out = tmp_path / "tuned"
    run(config_from_dict(table), out, device=jax.devices()[0])
    (out / "summary.json").unlink()
    with np.load(weights) as arrays:
        others = {name: 2 * arrays[name] for name in arrays.files}
    np.savez(weights, **others)
    with pytest.raises(UserError, match="holds a part of a run with other data"):
        run(config_from_dict(table), out, device=jax.devices()[0])


def test_a_metric_that_no_loss_reports_is_named_before_a_file_is_written(tmp_path):
    config = config_from_dict({"name": "x", "report": {"metric": "rmse"}})
    line = "report.metric: found 'rmse', which arm 'batch' doesn't report; wanted one of accuracy, "
    with pytest.raises(UserError, match=line):
        run(config, tmp_path / "x", device=jax.devices()[0])
    assert not (tmp_path / "x").exists()


def shows_too_much(spec):
    return make_cross_entropy(spec.num_classes)._replace(shown=("loss", "f1"))


def test_a_loss_that_shows_what_its_metrics_lack_is_an_error(tmp_path):
    loss = {"factory": "run.test_own_runs:shows_too_much"}
    line = "loss.factory: shows 'f1', which its metrics lack; wanted some of accuracy, "
    with pytest.raises(UserError, match=line):
        run(config_from_dict({"name": "x", "loss": loss}), tmp_path / "x", device=jax.devices()[0])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"optimizer": {"momentum": 0.5}}, "optimizer.momentum: found 0.5, which make_optimizer"),
        (
            {"sweep": {"optimizer": {"weight_decay": [0.0, 0.1]}}},
            "optimizer.weight_decay: found 0.1, which make_optimizer doesn't take",
        ),
        ({"norm": {"momentum": 0.9}}, "norm: found values other than the defaults, which make_net"),
    ],
)
def test_what_ones_own_function_does_not_take_is_an_error(
    houses, tmp_path, monkeypatch, table, line
):
    folder, _ = houses
    monkeypatch.syspath_prepend(folder)
    optimizer = {"factory": "own_houses:make_optimizer"} | table.get("optimizer", {})
    config = config_of(folder, **{**table, "optimizer": optimizer})
    with pytest.raises(UserError, match=line):
        run(config, tmp_path / "x", device=jax.devices()[0])
    assert not (tmp_path / "x").exists()
