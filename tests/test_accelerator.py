"""The accelerator bench, in tiny shapes: what it checks holds, and what it times is the layer."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

BENCH = Path(__file__).parents[1] / "experiments" / "bench"


@pytest.fixture
def bench(monkeypatch):
    """The module `accelerator`, from the folder that it runs in."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("accelerator")


@pytest.mark.slow
def test_every_section_writes_its_rows_and_jbn_is_right(bench, tmp_path):
    assert bench.run(list(bench.SECTIONS), "tiny", seconds=480, out=tmp_path)
    rows = {}
    for name in bench.SECTIONS:
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert result["complete"]
        assert result["size"] == "tiny"
        rows[name] = result["rows"]
    checks = [row for row in rows["correctness"] if "errors" in row]
    assert all(row["right"] and row["errors"]["jbn"] <= row["bound"] for row in checks)
    # The checks can fail: far from zero Flax's fast formula is beyond the bound.
    in_float32 = [row for row in checks if row["dtype"] == "float32"]
    far = [row for row in in_float32 if row["mean_over_std"] > 0 and "Flax, fast" in row["errors"]]
    assert far
    assert all(row["errors"]["Flax, fast"] > row["bound"] for row in far)
    assert {row["what"] for row in rows["layer"]} == {"forward", "forward + backward + ReLU"}
    assert rows["resnet"][0]["costs"]["jbn"]["temp_bytes"] > 0
    assert rows["engine"][0]["runs_per_second"]["median"] > 0


def test_a_section_ends_with_its_time_and_keeps_what_it_has(bench, monkeypatch, tmp_path):
    monkeypatch.setitem(bench.SECTIONS, "layer", lambda size: ({"n": n} for n in range(3)))
    assert bench.run(["layer"], "tiny", seconds=-1, out=tmp_path)
    result = json.loads((tmp_path / "layer.json").read_text())
    assert [row["n"] for row in result["rows"]] == [0]
    assert not result["complete"]


def test_a_section_that_breaks_off_leaves_the_others_their_turn(bench, monkeypatch, tmp_path):
    def breaks(size):
        yield {"n": 0}
        raise MemoryError("no room")

    monkeypatch.setitem(bench.SECTIONS, "layer", breaks)
    monkeypatch.setitem(bench.SECTIONS, "resnet", lambda size: iter([{"n": 1}]))
    assert not bench.run(["layer", "resnet"], "tiny", seconds=480, out=tmp_path)
    broken, other = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("layer", "resnet"))
    assert (broken["rows"][0]["n"], broken["error"]) == (0, "MemoryError: no room")
    assert other["complete"]


def test_a_failed_check_is_told_by_the_exit_code(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(bench.SECTIONS, "correctness", lambda size: iter([{"right": False}]))
    monkeypatch.setattr("sys.argv", ["x", "--only", "correctness", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="Failed: see"):
        bench.main()
    monkeypatch.setattr("sys.argv", ["x", "--only", "speed"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--only: found speed, wanted correctness" in capsys.readouterr().err


def test_a_step_of_the_timed_layer_is_the_layers_and_keeps_what_differentiation_keeps(bench):
    layer = bench.layer
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.normal(size=(64, 8)), jnp.float32) for _ in range(2))
    module = layer.MAKERS["batch_norm"]["jbn"](dtype="float32")
    variables = module.init(jax.random.key(0), x)
    y, (dparams, dx), updates = layer._step(module, layer.TRAIN_RELU, x, dy, variables)
    wanted = reference.batch_norm(x)
    masked = np.where(wanted.y > 0, dy, 0)
    wanted_dx, dscale, dbias = reference.batch_norm_vjp(x, masked)
    found = (y, dx, dparams["scale"], dparams["bias"], updates["batch_stats"]["var"])
    running = 0.99 + 0.01 * wanted.var[0]
    exact = (np.maximum(wanted.y, 0), wanted_dx, dscale, dbias, running)
    for ours, right in zip(found, exact, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-5)
    # x, and a few values per channel.
    kept = layer._kept(module, layer.TRAIN, variables, x)
    assert x.nbytes <= kept < x.nbytes + 20 * 8 * 4


def test_it_needs_few_packages():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in ('sklearn', 'scipy', 'typer', 'matplotlib', 'jinja2', 'keras', 'pooch'):\n"
        "    sys.modules[name] = None\n"
        "import accelerator\n"
        "from jbn.config import DataConfig\n"
        "from jbn.data import load\n"
        "load(DataConfig(name='mixture'))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(BENCH)], check=True, timeout=60)
