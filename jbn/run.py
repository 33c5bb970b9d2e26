"""A run: every seed of every arm, trained, and everything about it on disk."""

import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from jbn.checkpoint import read_config, save_arrays, variables_path
from jbn.config import ArmConfig, Config, UserError
from jbn.data import Dataset, load
from jbn.diagnose import norm_metrics, norm_report, norm_table, norm_warnings
from jbn.environment import describe_environment
from jbn.models import build_model
from jbn.progress import Progress
from jbn.train import EpochMetrics, compile_sweep, count_parameters

LOCK = "running"  # a file in the run's folder, as long as the run goes on
_LOCKED = (
    "{out}: a run is going on there; wait for it, or choose another folder with --out (if it was "
    "killed, remove {out}/{lock})"
)
TARGET_ACCURACY = 0.95  # of the validation split; the summary says in which epoch it was reached


def run(config: Config, out: Path, device: jax.Device, progress: Progress) -> dict[str, Any]:
    """Trains every arm, leaves the run in the folder `out`, and returns its summary.

    Raises:
        UserError: `out` holds something else than an earlier run of the same config, or can't be
            written to.
    """
    loaded = {data: load(data) for data in {arm.data for arm in config.arms.values()}}
    datasets = {name: loaded[arm.data] for name, arm in config.arms.items()}
    # What doesn't fit together fails here, before anything is written.
    num_parameters = {
        name: count_parameters(arm, datasets[name]) for name, arm in config.arms.items()
    }
    environment = describe_environment(device) | {"command": " ".join(["jbn", *sys.argv[1:]])}
    environment["data_sha256"] = {
        arm.data.name: datasets[k].sha256 for k, arm in config.arms.items()
    }
    moved = prepare_folder(out, config)
    if moved is not None:
        progress.say(f"{out} held an earlier run of this config; it is {moved} now")
    try:
        _write_json(out / "config.json", config.model_dump(mode="json"))
        _write_json(out / "environment.json", environment)
        trained = _train_arms(config, datasets, out, progress)
        summary = {
            "name": config.name,
            "num_seeds": config.num_seeds,
            "arms": {k: {"num_parameters": num_parameters[k], **v} for k, v in trained.items()},
        }
        _write_json(out / "summary.json", summary)
    finally:
        (out / LOCK).unlink()
    return summary


def _train_arms(
    config: Config, datasets: dict[str, Dataset], out: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Trains every arm, writes metrics and variables; returns each arm's part of the summary."""
    seeds = np.arange(config.seed, config.seed + config.num_seeds)
    arms = {}
    with (out / "metrics.jsonl").open("x", encoding="utf-8") as metrics_file:
        for name, arm in config.arms.items():
            arms[name] = _run_arm(name, arm, datasets[name], seeds, out, metrics_file, progress)
    _write_json(out / "norms.json", {name: norms for name, (_, norms) in arms.items() if norms})
    return {name: summary for name, (summary, _) in arms.items()}


def _describe_norms(
    config: ArmConfig, dataset: Dataset, variables: dict[str, Any]
) -> dict[str, Any]:
    """What the batch statistics of a trained model say; empty without any."""
    if not variables["batch_stats"]:
        return {}
    model = build_model(config.model, config.norm, dataset.num_classes)

    def apply(variables: Any, x: Any, train: bool) -> Any:
        return model.apply(variables, x, train=train, mutable=["batch_stats"])

    describe = functools.partial(norm_report, apply, batch_size=config.train.batch_size)
    report = jax.device_get(jax.jit(describe)(variables, dataset.train.x))
    headings, rows = norm_table(report)
    return {
        "warnings": norm_warnings(report),
        "table": {"headings": headings, "rows": rows},
        "metrics": {name: _finite(value) for name, value in norm_metrics(report).items()},
        "layers": {
            path: {
                "mean_gap": [_finite(value) for value in np.ravel(layer.mean_gap)],
                "std_ratio": [_finite(value) for value in np.ravel(layer.std_ratio)],
            }
            for path, layer in report.layers.items()
        },
    }


def prepare_folder(out: Path, config: Config) -> Path | None:
    """Makes `out` a folder with a lock in it; an earlier run of the same config is moved beside it.

    Returns:
        Where the earlier run is now; None if there was none.

    Raises:
        UserError: `out` is a file, another config's run, a run that is going on, or a folder with
            other things in it.
    """
    if out.name in ("", ".."):
        raise UserError(f"--out {out}: wanted a folder with a name of its own, e.g. runs/a")
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            out.mkdir(parents=True, exist_ok=True)
            _lock(out)
            return None
        if not (out / "config.json").is_file():
            what = "a folder with other files" if out.is_dir() else "a file"
            raise UserError(f"{out}: found {what}, wanted a new folder; choose another with --out")
        if read_config(out) != config:
            raise UserError(
                f"{out}: holds a run of another config; choose another folder with --out, or "
                "another name in the config"
            )
        if (out / LOCK).exists():
            raise UserError(_LOCKED.format(out=out, lock=LOCK))
        number = 1
        while (moved := out.with_name(f"{out.name}.{number}")).exists():
            number += 1
        out.rename(moved)
        out.mkdir()
        _lock(out)
    except OSError as error:
        raise UserError(f"{out}: can't be written to: {error.strerror}") from None
    return moved


def _lock(out: Path) -> None:
    """Marks the folder as that of a run which is going on."""
    try:
        (out / LOCK).touch(exist_ok=False)
    except FileExistsError:
        raise UserError(_LOCKED.format(out=out, lock=LOCK)) from None


def _run_arm(
    name: str,
    config: ArmConfig,
    dataset: Dataset,
    seeds: np.ndarray,
    out: Path,
    metrics_file: TextIO,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains every seed of one arm; returns its part of the summary, and its norms' first seed."""
    progress.begin(name, config.train.num_epochs)
    clock = time.perf_counter()
    sweep = compile_sweep(config, dataset, jnp.asarray(seeds))
    compile_seconds = time.perf_counter() - clock
    progress.compiled(name, compile_seconds)

    clock = time.perf_counter()
    state = sweep.init()
    val_accuracy = []
    for epoch in range(1, config.train.num_epochs + 1):
        state, metrics = sweep.train_chunk(state)
        rows = _epoch_rows(name, epoch, seeds, jax.device_get(metrics))
        metrics_file.writelines(json.dumps(row) + "\n" for row in rows)
        metrics_file.flush()
        val_accuracy.append([row["val_accuracy"] for row in rows])
        progress.epoch(name, epoch, config.train.num_epochs, rows)
    train_seconds = time.perf_counter() - clock

    test = jax.device_get(sweep.test(state))
    inputs = {
        **dataset.input_stats._asdict(),
        "remainders": dataset.input_stats.remainders._asdict(),
        "num_classes": np.asarray(dataset.num_classes),
    }
    arrays = {**state.variables, "inputs": inputs}
    save_arrays(variables_path(out, name), arrays)
    norms = _describe_norms(config, dataset, jax.tree.map(lambda v: v[0], state.variables))
    reached = [_first_epoch(curve) for curve in zip(*val_accuracy, strict=True)]
    summary = {
        "test_accuracy": _spread(test.accuracy),
        "test_loss": _spread(test.loss),
        "target_accuracy": TARGET_ACCURACY,
        "epochs_to_target": {
            "median": _finite(np.median([math.inf if e is None else e for e in reached])),
            "num_reached": sum(epoch is not None for epoch in reached),
            "per_seed": reached,
        },
        "compile_seconds": compile_seconds,
        "train_seconds": train_seconds,
    }
    return summary, norms


def _epoch_rows(
    arm: str, epoch: int, seeds: np.ndarray, metrics: EpochMetrics
) -> list[dict[str, Any]]:
    """One row per seed, as in `metrics.jsonl`; a number that isn't finite is None."""
    columns = {
        "train_loss": metrics.train.loss,
        "train_accuracy": metrics.train.accuracy,
        "val_loss": metrics.val.loss,
        "val_accuracy": metrics.val.accuracy,
        "gradient_norm": metrics.gradient_norm,
    }
    return [
        {"arm": arm, "seed": int(seed), "epoch": epoch}
        | {name: _finite(values[lane]) for name, values in columns.items()}
        for lane, seed in enumerate(seeds)
    ]


def _first_epoch(val_accuracy: tuple[float | None, ...]) -> int | None:
    """The first epoch at the target accuracy; None if there was none."""
    for epoch, accuracy in enumerate(val_accuracy, start=1):
        if accuracy is not None and accuracy >= TARGET_ACCURACY:
            return epoch
    return None


def _spread(per_seed: np.ndarray) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single seed) and all values."""
    return {
        "mean": _finite(np.mean(per_seed)),
        "std": _finite(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        "per_seed": [_finite(value) for value in per_seed],
    }


def _finite(value: Any) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
