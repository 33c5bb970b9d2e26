"""A data set in memory, split into training, validation and test examples."""

import functools
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from jbn.config import AugmentConfig, DataConfig, UserError
from jbn.data.batches import DataSpec
from jbn.data.preprocess import fit_inputs
from jbn.data.sources import LOADERS
from jbn.functional._input_stats import InputStats


class Examples(NamedTuple):
    """Inputs and their targets, such as integer labels: a batch, or a whole split."""

    x: Shaped[Any, "examples *features"]
    y: Shaped[Any, "examples *targets"]


class TargetStats(NamedTuple):
    """What brings standardized targets back: `y * std + mean`; each float64, () or (targets,)."""

    mean: np.ndarray
    std: np.ndarray


class Dataset(NamedTuple):
    """Three splits of raw inputs, uint8 or float32, and the statistics that normalize them."""

    train: Examples
    val: Examples
    test: Examples
    input_stats: InputStats  # of the training split
    num_classes: int | None  # None: the targets are numbers
    sha256: str  # of all inputs and targets, before they are split
    where: str  # the data come from, for people to read
    input_offset: np.ndarray | None = None  # already subtracted from the raw inputs; None: nothing
    target_stats: TargetStats | None = None  # of the training split, if the targets are numbers

    @property
    def spec(self) -> DataSpec:
        """What a training knows of the data before it sees an example."""
        x, y = self.train
        spec = DataSpec(len(y), x.shape[1:], self.num_classes, self.input_stats)
        if self.target_stats is not None:
            std = tuple(np.atleast_1d(self.target_stats.std).tolist())
            return spec._replace(target=jax.ShapeDtypeStruct(y.shape[1:], y.dtype), target_std=std)
        counts = np.bincount(y, minlength=self.num_classes or 0)
        return spec._replace(class_counts=tuple(counts.tolist()))


def load(config: DataConfig) -> Dataset:
    """The data set that the config names, split with the config's seed.

    Inputs stay raw: nothing here normalizes, scales or augments them. Labels stay as they are, too.
    Targets that are numbers are standardized, each with mean and standard deviation of the training
    split, in float64; then they are float32.

    Some sets have a test split of their own. Then that is the test split, and a tenth of the other
    examples is for validation. In other sets a tenth is for validation and a tenth for the test,
    unless the source says how many examples are for training. Each split keeps the order of the
    set.

    Raises:
        UserError: the data are missing or damaged, or there are too few examples or classes.
    """
    return _load(config, functools.partial(fit_inputs, config))


def load_spec(config: DataConfig) -> DataSpec:
    """What a training knows of the data, but for the statistics, which take the time.

    Raises:
        UserError: as `load` does.
    """
    return _load(config, lambda x: None).spec


def _load(config: DataConfig, fit: Callable[[np.ndarray], Any]) -> Dataset:
    try:
        source = LOADERS[config.name](config)
    except MemoryError:
        raise UserError(
            f"data: {config.path or config.name} doesn't fit into this machine's memory; wanted "
            "fewer examples or features"
        ) from None
    x, y, where, offset = source.x, source.y, source.where, source.offset
    if offset is not None and config.normalize == "none":
        x, where = _with_offset(x, offset, where)
        offset = None
    num_classes = int(y.max(initial=0)) + 1 if config.targets == "labels" else None
    num_to_split = len(y) - source.num_test
    if num_to_split < 10 or num_classes == 1:
        classes = "" if num_classes is None else f", and {num_classes} classes"
        raise UserError(
            f"{where}: found {num_to_split} examples to split{classes}, wanted at least 10"
            + (" and 2" if classes else "")
        )
    digest = hashlib.sha256(x.tobytes())
    digest.update(y.tobytes())
    rows = split_rows(len(y), source.num_test, config.split_seed, num_train=source.num_train)
    targets = None
    if num_classes is None:
        targets = _target_stats(y[rows[0]], where)
        y = ((y - targets.mean) / targets.std).astype(np.float32)
    train, val, test = (Examples(x[r], y[r]) for r in rows)
    sha256 = digest.hexdigest()
    return Dataset(train, val, test, fit(train.x), num_classes, sha256, where, offset, targets)


def _target_stats(y: np.ndarray, where: str) -> TargetStats:
    """Mean and standard deviation of each target. Raises UserError if one never varies."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, std = y.mean(0), y.std(0)
    if not (np.ptp(y, axis=0) > 0).all():
        which = np.atleast_1d(mean)[np.atleast_1d(np.ptp(y, axis=0) == 0)][0]
        raise UserError(
            f"{where}: found a target that is {which:g} in all training examples, wanted one that "
            "varies"
        )
    if not (np.isfinite(std) & (std > 0)).all():
        raise UserError(
            f"{where}: found targets from {y.min():g} to {y.max():g}, whose standard deviation is "
            "no float64; wanted smaller or larger units"
        )
    return TargetStats(np.asarray(mean), np.asarray(std))


def _with_offset(x: np.ndarray, offset: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """The numbers of the file in float32, and `where` with a warning about lost digits."""
    far = ", ".join(str(column) for column in np.flatnonzero(offset))
    warning = (
        f"{where}; column {far} is so far from zero that float32 loses digits, and "
        'data.normalize = "none" keeps it there'
    )
    return (x + offset).astype(np.float32), warning


def load_all(configs: Iterable[DataConfig]) -> dict[DataConfig, Dataset]:
    """The data set of each config. Configs share one if only what is done to batches differs."""
    datasets: dict[DataConfig, Dataset] = {}
    loaded: dict[DataConfig, Dataset] = {}
    for config in configs:
        to_batches = {"augment": AugmentConfig(), "normalize": "standardize", "label_noise": 0.0}
        source = config.model_copy(update={**to_batches, "input_scale": 1.0})
        if source not in loaded:
            loaded[source] = load(source)
        # Only inputs that aren't normalized keep what was subtracted.
        if config.normalize == "none" and loaded[source].input_offset is not None:
            source = source.model_copy(update={"normalize": "none"})
            if source not in loaded:
                loaded[source] = load(source)
        datasets[config] = loaded[source]
    return datasets


def split_rows(
    num_examples: int, num_test: int, seed: int, *, num_train: int | None = None
) -> tuple[np.ndarray, ...]:
    """The rows of the training, validation and test split, each in the set's order.

    The last `num_test` rows are the test split, if there are any. Of the other rows a tenth is for
    validation. If `num_test` is 0, another tenth is for the test.

    With `num_train`, so many rows are for training. The rest is for validation or, if `num_test` is
    0, half for validation and half for the test.
    """
    num_others = num_examples - num_test
    order = np.random.default_rng(seed).permutation(num_others)
    if num_train is None:
        num_train = num_others - num_others // 10 * (1 if num_test else 2)
    num_val = num_others - num_train if num_test else (num_others - num_train) // 2
    train, val, test = np.split(order, [num_train, num_train + num_val])
    test = np.concatenate([test, np.arange(num_others, num_examples)])
    return tuple(np.sort(split) for split in (train, val, test))
