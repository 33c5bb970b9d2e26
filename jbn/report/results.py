"""A finished run's numbers, from its folder to arrays with an axis for all that varies."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbn.checkpoint import read_config
from jbn.config import Config, UserError
from jbn.config.sweep import sweep_points
from jbn.report.style import mean_and_std

CURVES = ("train_loss", "val_accuracy", "gradient_norm")

# Of an arm by its name, and of these by theirs: arrays of the shape (seeds, epochs).
Curves = Mapping[str, Mapping[str, np.ndarray]]


class Results(NamedTuple):
    """What the trials of a run came to."""

    config: Config
    summary: Mapping[str, Any]
    points: Sequence[Mapping[str, Any]]  # of the sweep; one without values where nothing is swept
    curves: Mapping[str, np.ndarray]  # (arms, points, seeds, epochs); NaN after a trial's end
    has_diverged: np.ndarray  # (arms, points, seeds)


class Cells(NamedTuple):
    """Validation accuracy at the end, over the seeds; each array of the shape (arms, ...)."""

    mean: np.ndarray
    std: np.ndarray  # NaN for a single seed
    num_diverged: np.ndarray


def load_results(run_dir: Path) -> Results:
    """The numbers in a finished run's folder.

    Raises:
        UserError: the folder holds no finished run.
    """
    summary = read_json(run_dir / "summary.json")
    config = read_config(run_dir)
    points = sweep_points(config.sweep)
    path = run_dir / "trials.npz"
    # Trials are numbered arm by arm, point by point, seed by seed.
    shape = (len(config.arms), len(points), config.num_seeds)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            curves = {name: file[name].reshape(*shape, -1) for name in CURVES}
            has_diverged = file["diverged_step"].reshape(shape) >= 0
    except OSError as error:
        raise _cant_be_read(path, error.strerror) from None
    except (*(EOFError, KeyError, TypeError, ValueError), zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged: {error}; run it again") from None
    return Results(config, summary, points, curves, has_diverged)


def load_curves(run_dir: Path) -> Curves:
    """Training loss, validation accuracy and gradient norm of each arm, at its best point.

    Raises:
        UserError: the folder holds no finished run.
    """
    return best_curves(load_results(run_dir))


def best_curves(results: Results) -> Curves:
    """Each arm's curves at the point that the summary names as its best, up to its last epoch."""
    best = {}
    for number, arm in enumerate(results.config.arms):
        point = results.points.index(results.summary["arms"][arm]["point"])
        num_epochs = _num_epochs(results)[number, point, 0]
        best[arm] = {name: c[number, point, :, :num_epochs] for name, c in results.curves.items()}
    return best


def accuracies(results: Results) -> Cells:
    """Validation accuracy at the end of the trials, of the shape (arms, points)."""
    last = _num_epochs(results)[..., None] - 1
    at_end = np.take_along_axis(results.curves["val_accuracy"], last, -1)[..., 0]
    mean, std = mean_and_std(np.moveaxis(at_end, -1, 0))
    return Cells(mean, std, results.has_diverged.sum(-1))


def read_json(path: Path) -> Any:
    """The content of one of the files of a run.

    Raises:
        UserError: it can't be read, or isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _cant_be_read(path, error.strerror) from None
    except UnicodeDecodeError:
        raise _cant_be_read(path, "no text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged: {error}; run it again") from None


def _num_epochs(results: Results) -> np.ndarray:
    """Of each trial; the accuracy of an epoch is a number even where the loss isn't one."""
    return np.isfinite(results.curves["val_accuracy"]).sum(-1)


def _cant_be_read(path: Path, reason: str | None) -> UserError:
    return UserError(f"{path}: can't be read ({reason}); wanted a finished run")
