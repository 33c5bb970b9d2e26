"""The sections and keys of a config, their defaults, and the values that fit."""

import operator
from typing import Annotated, Any, Literal, Self

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
except ModuleNotFoundError as error:
    error.add_note("jbn's configs, training and load_run need it: pip install 'jbn[run]'")
    raise

from jbn.config.errors import shown


class Section(BaseModel):
    """A table of a config. It has known keys only, checks every value, and can't be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_MOST = 2**31 - 1  # JAX's integers have 32 bits
_Count = Annotated[int, Field(ge=1, le=_MOST)]
# TOML has lists. A frozen model needs tuples, which can be hashed.
_Counts = Annotated[
    tuple[_Count, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}$"
FUNCTION = r"^\w+(\.\w+)*:\w+$"  # "package.module:function"
_Name = Annotated[str, Field(pattern=NAME)]
# TOML has no null. An arm or a sweep writes "none".
_OrNone = BeforeValidator(lambda value: None if value == "none" else value)
PATH = r"^[^\x00]+$"
_Path = Annotated[Annotated[str, Field(pattern=PATH)] | None, _OrNone]
_Function = Annotated[Annotated[str, Field(pattern=FUNCTION)] | None, _OrNone]


def _patterns(value: Any) -> Any:
    if value == "none":
        return ()
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list | tuple) or not all(
        isinstance(pattern, str) and pattern for pattern in patterns
    ):
        raise ValueError(
            f'found {shown(value)}, wanted a pattern such as "Dense_0*", or a list of them'
        )
    return tuple(patterns)


def _class_weights(value: Any) -> Any:
    if value in (None, "none"):
        return None
    if value == "balanced":
        return value
    if not isinstance(value, list | tuple) or not all(
        type(weight) in (int, float) and 0 <= weight <= 1e6 for weight in value
    ):
        raise ValueError(
            f'found {shown(value)}, wanted "balanced", or a number from 0 for each class'
        )
    return tuple(map(float, value))


def _devices(value: Any) -> Any:
    if value != "all" and not (type(value) is int and 1 <= value <= _MOST):
        raise ValueError(f'found {shown(value)}, wanted a number of devices from 1, or "all"')
    return value


_Devices = Annotated[int | Literal["all"], BeforeValidator(_devices)]
# Of paths such as "Dense_0/kernel", in which * is any text.
_Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
_ClassWeights = Annotated[
    Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_class_weights)
]
_ClipNorm = Annotated[Annotated[float, Field(gt=0)] | None, _OrNone]
_Decay = Annotated[Annotated[float, Field(ge=0, lt=1)] | None, _OrNone]
_Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
# fmt: off
PublishedName = Literal["mnist", "fashion_mnist", "cifar10"]  # `jbn download` fetches them
DataName = Literal[
    "digits", "breast_cancer", "wine", "diabetes", "mixture", PublishedName, "npz", "csv"
]
KernelInit = Literal[
    "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"
]
NormKind = Literal["batch", "ghost", "renorm", "layer", "rms", "group", "instance", "none"]
BATCH_NORMS = ("batch", "ghost", "renorm")
# The keys that name a function of the user's own, which jbn imports and calls.
OWN_FUNCTIONS = (
    "data.augment.function",
    "model.factory",
    "optimizer.factory",
    "optimizer.schedule_factory",
    "loss.factory",
)
# fmt: on


class MixtureConfig(Section):
    """The data set "mixture": Gaussian clusters, one for each class."""

    seed: _Seed = 0
    num_examples: int = Field(default=2000, ge=10, le=10_000_000)
    num_features: int = Field(default=16, ge=1, le=100_000)
    num_classes: int = Field(default=4, ge=2, le=1000)
    separation: float = Field(default=3.0, ge=0, le=1e3)  # in standard deviations
    offset: float = Field(default=0.0, ge=-1e6, le=1e6)  # in units of the scale
    scale: float = Field(default=1.0, gt=0, le=1e12)
    condition: float = Field(default=1.0, ge=1, le=1e12)  # of each covariance
    drift: float = Field(default=0.0, ge=0, le=1e6)  # in units of the scale, first to last example


class AugmentConfig(Section):
    """What happens to training images, drawn anew for each batch."""

    shift: int = Field(default=0, ge=0, le=64)  # the most pixels, up or down and left or right
    flip: bool = False  # left for right, with probability 1/2
    cutout: int = Field(default=0, ge=0, le=64)  # the side of a square that becomes 0
    function: _Function = None  # of the user's own: (key, batch) -> batch, after all others


class DataConfig(Section):
    """The data, their split, and what happens to inputs and labels."""

    name: DataName = "digits"
    dir: _Path = None  # where jbn looks first for mnist, fashion_mnist and cifar10
    path: _Path = None  # the file that npz or csv reads
    targets: Literal["labels", "numbers"] = "labels"  # of classes, or of a regression
    num_targets: int = Field(default=1, ge=1, le=10_000)  # csv only: the last so many columns
    split_seed: _Seed = 0
    # Multiplies inputs if `normalize` is "none". Otherwise normalization removes a scale.
    input_scale: float = Field(default=1.0, gt=0, le=1e15)  # its square is within float32
    normalize: Literal["none", "standardize", "min_max"] = "standardize"
    normalize_per: Literal["feature", "channel"] = "feature"
    label_noise: float = Field(default=0.0, ge=0, le=1)  # probability for training labels
    mixture: MixtureConfig = MixtureConfig()
    augment: AugmentConfig = AugmentConfig()


class ModelConfig(Section):
    """The architecture, or a `factory` of the user's own; and the weights to begin with."""

    kind: Literal["mlp", "cnn", "resnet18", "resnet50"] = "mlp"
    hidden_sizes: _Counts = (128, 64)  # mlp only
    activation: Literal["relu", "tanh", "sigmoid", "none"] = "relu"  # mlp only
    norm_position: Literal["after_activation", "before_activation"] = "after_activation"  # mlp
    channels: _Counts = (16, 32)  # cnn only: of each stage
    stem: Literal["cifar", "imagenet"] = "cifar"  # ResNets only
    num_filters: _Count = 64  # ResNets only: of the first stage
    zero_last_scale: bool = False  # ResNets only: in each block
    kernel_init: KernelInit = "lecun_normal"  # mlp and cnn only
    init_gain: float = Field(default=1.0, ge=0, le=1e15)  # multiplies initial kernels
    dtype: Literal["float32", "bfloat16"] = "float32"  # stored parameters stay float32
    factory: _Function = None
    init_from: _Path = None  # a run's folder, an npz file or an Orbax folder with variables
    init_fresh: _Patterns = ()  # what is drawn anew all the same


class NormConfig(Section):
    """The norm in each hidden layer."""

    kind: NormKind = "batch"
    momentum: float = Field(default=0.99, ge=0, le=1)  # batch, ghost and renorm only
    momentum_warmup: bool = False  # batch, ghost and renorm only
    epsilon: float = Field(default=1e-3, ge=0, le=1e30)
    use_bias: bool = True  # without effect on rms
    use_scale: bool = True
    # Ghost only. With one example, a channel of a Dense layer would have a single value.
    virtual_batch_size: int = Field(default=32, ge=2, le=_MOST)
    # Renorm only. Its limits stop growing at 8 times this number, which must be an int32.
    num_plain_steps: int = Field(default=5000, ge=0, le=_MOST // 8)
    num_groups: _Count = 8  # group only


class OptimizerConfig(Section):
    """The optimizer and the schedule of its learning rate."""

    kind: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # momentum only
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)  # must be 0 for adam
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = Field(default=0, ge=0, le=_MOST)
    clip_norm: _ClipNorm = None  # the largest norm of the whole gradient
    accumulate: _Count = 1  # the batches whose mean gradient makes one step
    factory: _Function = None  # makes another optimizer
    schedule_factory: _Function = None  # makes another schedule


class LossConfig(Section):
    """What training makes small: by `data.targets`, the cross-entropy or the squared error."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: _ClassWeights = None
    factory: _Function = None  # makes another loss, with its metrics


class TrainConfig(Section):
    """The length of a training, its batches, their order, and what jbn evaluates."""

    num_epochs: _Count = 10
    batch_size: _Count = 32
    order: Literal["shuffled", "fixed", "sorted", "class_blocked"] = "shuffled"
    freeze: _Patterns = ()  # the parameters, and their batch statistics, that stay
    ema_decay: _Decay = None  # of an average of the parameters, which jbn evaluates
    recompute_stats: bool = False  # evaluate with the statistics of all training examples


class SharedConfig(Section):
    """The sections that all arms of a run share."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    norm: NormConfig = NormConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()


class ArmConfig(SharedConfig):
    """One arm of a run: all that a trial needs except its seed. The sections fit together."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        # A key that the chosen model or norm doesn't use is no error, because arms share sections.
        # It is an error if the run would differ from what the user asked for.
        for mistake in (
            *(self._file(), self._targets(), self._dtype(), self._own_loss()),
            self._own_optimizer(),
            *(self._weight_decay(), self._init(), self._norm()),
        ):
            if mistake is not None:
                raise ValueError(mistake)
        return self

    @property
    def own_functions(self) -> dict[str, str]:
        """The functions of the user's own, by their keys."""
        found = {key: operator.attrgetter(key)(self) for key in OWN_FUNCTIONS}
        return {key: path for key, path in found.items() if path is not None}

    def _file(self) -> str | None:
        reads = self.data.name in ("npz", "csv")
        if reads and self.data.path is None:
            return f"data.path: missing, wanted the file to read as {self.data.name}"
        if not reads and self.data.path is not None:
            return (
                f"data.path: found {shown(self.data.path)}, which {self.data.name!r} doesn't read; "
                "wanted data.name 'npz' or 'csv', or path 'none'"
            )
        return None

    def _dtype(self) -> str | None:
        if self.model.factory is not None and self.model.dtype != "float32":
            return (
                f"model.dtype: found {self.model.dtype!r}, which a factory's model decides itself; "
                "wanted 'float32'"
            )
        return None

    def _targets(self) -> str | None:
        data, loss = self.data, self.loss
        of_numbers = data.name == "diabetes"
        if of_numbers and data.targets == "labels":
            return "data.targets: found 'labels', but diabetes has numbers; wanted 'numbers'"
        if not of_numbers and data.targets == "numbers" and data.name not in ("npz", "csv"):
            return (
                f"data.targets: found 'numbers', but {data.name} has labels; wanted 'labels', or "
                "data.name 'npz', 'csv' or 'diabetes'"
            )
        if data.targets == "labels":
            if data.num_targets > 1:
                return (
                    f"data.num_targets: found {data.num_targets}, wanted 1 for labels, or "
                    "data.targets 'numbers'"
                )
            return None
        of_labels = {
            "data.label_noise": data.label_noise > 0,
            "loss.label_smoothing": loss.label_smoothing > 0,
            "loss.class_weights": loss.class_weights is not None,
            "train.order": self.train.order == "class_blocked",
        }
        for key, is_set in of_labels.items():
            if is_set:
                return f"{key}: wanted its default, for data.targets 'numbers' are no labels"
        return None

    def _own_loss(self) -> str | None:
        for key in ("label_smoothing", "class_weights"):
            found = getattr(self.loss, key)
            if self.loss.factory is not None and found != getattr(LossConfig(), key):
                return (
                    f"loss.{key}: found {shown(found)}, which a loss.factory decides itself; "
                    "wanted the default"
                )
        return None

    def _own_optimizer(self) -> str | None:
        optimizer = self.optimizer
        if optimizer.schedule_factory is not None and optimizer.schedule != "constant":
            return (
                f"optimizer.schedule: found {optimizer.schedule!r} and a schedule_factory; wanted "
                "one of them"
            )
        return None

    def _init(self) -> str | None:
        if self.model.init_from is None and self.model.init_fresh:
            return "model.init_fresh: found patterns, wanted none without model.init_from"
        return None

    def _weight_decay(self) -> str | None:
        decay = self.optimizer.weight_decay
        if self.optimizer.factory is None and self.optimizer.kind == "adam" and decay > 0:
            return (
                f"optimizer.weight_decay: found {decay}, which adam hasn't; wanted 0, or "
                "optimizer.kind 'adamw'"
            )
        return None

    def _norm(self) -> str | None:
        model, kind, num_groups = self.model, self.norm.kind, self.norm.num_groups
        batch_size, virtual = self.train.batch_size, self.norm.virtual_batch_size
        if kind == "ghost" and batch_size > virtual and batch_size % virtual:
            return (
                f"norm.virtual_batch_size: found {virtual}, wanted a divisor of train.batch_size, "
                f"{batch_size}, or a larger number: all of the batch is one group then"
            )
        if model.factory is not None:
            return None
        is_dense = model.kind == "mlp" and bool(model.hidden_sizes)
        if kind in BATCH_NORMS and batch_size == 1 and is_dense:
            return (
                "train.batch_size: found 1, in which each value of a Dense layer is its own mean "
                f"and norm.kind {kind!r} makes its bias of all; wanted at least 2, or another norm"
            )
        if kind == "instance" and is_dense:
            return (
                "norm.kind: found 'instance', which makes 0 of the one value per channel that a "
                "Dense layer has; wanted 'layer', or a model with images inside"
            )
        key, sizes = {
            "mlp": ("hidden_sizes", model.hidden_sizes),
            "cnn": ("channels", model.channels),
        }.get(model.kind, ("num_filters", (model.num_filters,)))
        if kind == "group" and any(size % num_groups for size in sizes):
            return (
                f"norm.num_groups: found {num_groups}, wanted a divisor of each of "
                f"model.{key}, {shown(list(sizes))}"
            )
        return None


class SweepConfig(Section):
    """The values of the swept keys, which every arm takes in all combinations or one by one."""

    mode: Literal["grid", "zip"] = "grid"
    max_lanes: _Count | None = None  # the most trials in a group, and trained at once
    axes: dict[str, list[Any]] = {}


class ReportConfig(Section):
    """How the results of a run are judged."""

    metric: Annotated[Annotated[str, Field(pattern=r"^\w+$")] | None, _OrNone] = None
    target: Annotated[float | None, _OrNone] = None  # of the metric, on the validation split


class CheckpointConfig(Section):
    """When a run saves its state, to go on from there. One that isn't None is enough."""

    every_minutes: Annotated[Annotated[float, Field(gt=0, le=1e6)] | None, _OrNone] = 5.0
    every_epochs: Annotated[_Count | None, _OrNone] = None
    every_steps: Annotated[_Count | None, _OrNone] = None  # an epoch of more is cut there
    keep: _Count = 2  # the last so many checkpoints
    keep_best: bool = False  # the variables of each trial's best epoch, beside its last


class DevicesConfig(Section):
    """How a run's devices are shared out: some for each batch, and these rows for the lanes."""

    batch: _Devices = 1  # the devices that share a batch


class Config(Section):
    """A run: every arm at every point of the sweep from every seed. `load_config` makes it."""

    name: _Name
    seed: int = Field(default=0, ge=0, le=2_000_000_000)
    num_seeds: int = Field(default=8, ge=1, le=4096)
    on_divergence: Literal["continue", "stop"] = "continue"  # when a number isn't finite
    arms: dict[_Name, ArmConfig] = Field(min_length=1)
    sweep: SweepConfig = SweepConfig()
    report: ReportConfig = ReportConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    devices: DevicesConfig = DevicesConfig()

    @property
    def own_functions(self) -> set[str]:
        """The functions of the user's own, of all arms at all points of the sweep."""
        swept = {path for key in OWN_FUNCTIONS for path in self.sweep.axes.get(key, ())}
        of_arms = {path for arm in self.arms.values() for path in arm.own_functions.values()}
        return (of_arms | swept) - {None, "none"}
