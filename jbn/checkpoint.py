"""What a run leaves on disk of a trained model, and the way back."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float
from pydantic import ValidationError

from jbn.config import ArmConfig, Config, UserError
from jbn.data import normalize_inputs
from jbn.data.sources.user_arrays import finite_rows
from jbn.functional._input_stats import InputStats, Remainders
from jbn.models import build_model


def save_arrays(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes a tree of arrays as `.npz`, each leaf named by its path ("params/Dense_0/bias").

    NumPy has no bfloat16: such arrays are written as float32, which holds their values exactly.
    """
    flat = flatten_dict(jax.device_get(tree), sep="/")
    is_bfloat16 = {name: leaf.dtype == jnp.bfloat16 for name, leaf in flat.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v.astype(np.float32) if is_bfloat16[k] else v for k, v in flat.items()})


def load_arrays(path: Path) -> dict[str, Any]:
    """The tree that `save_arrays` wrote."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        tree: dict[str, Any] = unflatten_dict({name: file[name] for name in file.files}, sep="/")
    return tree


class LoadedRun(NamedTuple):
    """A trained model: `model.apply(variables, x, train=False)` makes logits of normalized x."""

    model: nn.Module
    variables: dict[str, Any]
    config: ArmConfig
    input_stats: InputStats
    input_offset: np.ndarray | None = None

    def predict(self, x: Float[Array, "examples *features"]) -> Float[Array, "examples classes"]:
        """The probability of each class, for raw inputs, as the data source gives them.

        They are scaled and normalized as the run's inputs were, which `model.apply` leaves to you:
        `jbn.data.normalize_inputs(config.data, input_stats, x)`. If the run has an `input_offset`,
        it is subtracted first, in float64 if x is a NumPy array.

        Raises:
            ValueError: x hasn't the features that the model was trained with, or a number in it is
                NaN or infinite.
        """
        features = self.input_stats.mean.shape
        if jnp.ndim(x) < 1 or jnp.shape(x)[1:] != features:
            wanted = ", ".join(map(str, ("examples", *features)))
            raise ValueError(f"x: found shape {jnp.shape(x)}, wanted ({wanted})")
        if not len(x):
            return self.predict(jnp.zeros((1, *features)))[:0]  # of no rows models know no sizes
        _check_finite(x)
        if self.input_offset is not None:
            x = x - self.input_offset
        x = normalize_inputs(self.config.data, self.input_stats, x)
        logits: Any = self.model.apply(self.variables, x, train=False)
        return jax.nn.softmax(logits)


def _check_finite(x: Array) -> None:
    """Raises an error if a number isn't finite; traced ones may be any."""
    if isinstance(x, jax.core.Tracer):
        return
    finite = finite_rows(np.asarray(x))
    if not finite.all():
        raise ValueError(
            f"x: found NaN or infinity in {(~finite).sum()} of {len(x)} rows, first in row "
            f"{np.argmin(finite)}; wanted finite numbers: fill them in, or leave the rows out"
        )


def load_run(run_dir: str | Path, *, arm: str | None = None, seed: int | None = None) -> LoadedRun:
    """The model, variables and config that `jbn run` left in `run_dir`, to predict with.

    Args:
        run_dir: the run's folder, e.g. "runs/digits-article".
        arm: one of the run's arms; None is the first.
        seed: one of its seeds; None is the first.

    Returns:
        A `LoadedRun`.

    Raises:
        UserError: the folder holds no finished run, or none of that arm or seed.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir)
    arm = next(iter(config.arms)) if arm is None else arm
    seeds = range(config.seed, config.seed + config.num_seeds)
    seed = config.seed if seed is None else seed
    if arm not in config.arms:
        raise UserError(f"arm: found {arm!r}, wanted one of {', '.join(config.arms)}")
    if config.sweep.axes:
        raise UserError(
            f"{run_dir}: a sweep keeps numbers, no variables; run its best point by itself, with "
            "--set sweep={} and --set for each of its values"
        )
    if seed not in seeds:
        raise UserError(f"seed: found {seed}, wanted one from {seeds[0]} to {seeds[-1]}")
    try:
        arrays = load_arrays(variables_path(run_dir, arm, seed))
        inputs = arrays.pop("inputs")
        num_classes = int(inputs.pop("num_classes"))
        input_offset = inputs.pop("offset", None)
        input_stats = InputStats(**inputs | {"remainders": Remainders(**inputs["remainders"])})
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{run_dir}: no finished run: {error}") from None
    variables = jax.tree.map(jnp.asarray, arrays)
    arm_config = config.arms[arm]
    model = build_model(arm_config.model, arm_config.norm, num_classes)
    return LoadedRun(model, variables, arm_config, input_stats, input_offset)


def variables_path(run_dir: Path, arm: str, seed: int) -> Path:
    """Where the final parameters and batch statistics of a trial are."""
    return run_dir / "variables" / arm / f"{seed}.npz"


def read_config(run_dir: Path) -> Config:
    """The resolved config of a run.

    Raises:
        UserError: the folder isn't a run's.
    """
    path = run_dir / "config.json"
    try:
        return Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {run_dir} is no run") from None
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: not the config of a run: {reason}") from None
