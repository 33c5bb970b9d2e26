"""What a config holds: sections, keys, defaults, and which values fit."""

from typing import Annotated, Any, Literal, Self

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
except ModuleNotFoundError as error:
    error.add_note("jbn's configs, training and load_run need it: pip install 'jbn[run]'")
    raise


class Section(BaseModel):
    """A table of a config: every key is known, every value checked, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_MOST = 2**31 - 1  # JAX's integers have 32 bits
_Count = Annotated[int, Field(ge=1, le=_MOST)]
# TOML has arrays, frozen models have tuples.
_Counts = Annotated[
    tuple[_Count, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}$"
FACTORY = r"^\w+(\.\w+)*:\w+$"
_Name = Annotated[str, Field(pattern=NAME)]
# TOML has no null: "none" is what an arm, or a sweep, sets such a key to.
_OrNone = BeforeValidator(lambda value: None if value == "none" else value)
_Text = Annotated[str | None, _OrNone]
_Factory = Annotated[Annotated[str, Field(pattern=FACTORY)] | None, _OrNone]
_ClipNorm = Annotated[Annotated[float, Field(gt=0)] | None, _OrNone]
_Decay = Annotated[Annotated[float, Field(ge=0, lt=1)] | None, _OrNone]
_Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
# fmt: off
DataName = Literal[
    "digits", "breast_cancer", "wine", "mixture", "mnist", "fashion_mnist", "cifar10", "npz", "csv"
]
KernelInit = Literal[
    "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"
]
NormKind = Literal["batch", "ghost", "renorm", "layer", "rms", "group", "instance", "none"]
BATCH_NORMS = ("batch", "ghost", "renorm")
# fmt: on


class MixtureConfig(Section):
    """Gaussian clusters, one for each class: the data set "mixture"."""

    seed: _Seed = 0
    num_examples: int = Field(default=2000, ge=10, le=10_000_000)
    num_features: int = Field(default=16, ge=1, le=100_000)
    num_classes: int = Field(default=4, ge=2, le=1000)
    separation: float = Field(default=3.0, ge=0, le=1e3)  # of a class, in standard deviations
    offset: float = Field(default=0.0, ge=-1e6, le=1e6)  # of all, in units of the scale
    scale: float = Field(default=1.0, gt=0, le=1e12)
    condition: float = Field(default=1.0, ge=1, le=1e12)  # of the covariance
    drift: float = Field(default=0.0, ge=0, le=1e6)  # from the first to the last example


class AugmentConfig(Section):
    """What happens to a training image, anew each time that it comes."""

    shift: int = Field(default=0, ge=0, le=64)  # pixels at most, up or down and left or right
    flip: bool = False  # left for right, with probability 1/2
    cutout: int = Field(default=0, ge=0, le=64)  # side of a square that becomes 0


class DataConfig(Section):
    """Which data, how split, and what is done to inputs and labels."""

    name: DataName = "digits"
    dir: _Text = None  # where the files of mnist, fashion_mnist and cifar10 are
    path: _Text = None  # the file of npz and csv
    split_seed: _Seed = 0
    # Multiplies inputs with normalize = "none"; what normalizes x makes the same of its multiples.
    input_scale: float = Field(default=1.0, gt=0, le=1e15)  # squared, within float32
    normalize: Literal["none", "standardize", "min_max"] = "standardize"
    normalize_per: Literal["feature", "channel"] = "feature"
    label_noise: float = Field(default=0.0, ge=0, le=1)  # share of training labels drawn anew
    mixture: MixtureConfig = MixtureConfig()
    augment: AugmentConfig = AugmentConfig()


class ModelConfig(Section):
    """The architecture; or what `factory` ("package.module:function") makes, in its place."""

    kind: Literal["mlp", "cnn", "resnet18", "resnet50"] = "mlp"
    hidden_sizes: _Counts = (128, 64)  # of mlp
    activation: Literal["relu", "tanh", "sigmoid", "none"] = "relu"  # of mlp
    norm_position: Literal["after_activation", "before_activation"] = "after_activation"  # of mlp
    channels: _Counts = (16, 32)  # of cnn: each stage's
    stem: Literal["cifar", "imagenet"] = "cifar"  # of the ResNets
    num_filters: _Count = 64  # of the ResNets' first stage
    zero_last_scale: bool = False  # of the ResNets' blocks
    kernel_init: KernelInit = "lecun_normal"  # of mlp and cnn
    init_gain: float = Field(default=1.0, ge=0, le=1e15)  # multiplies the initial kernels
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the computation, not of what is stored
    factory: _Factory = None


class NormConfig(Section):
    """The normalization in each hidden layer."""

    kind: NormKind = "batch"
    momentum: float = Field(default=0.99, ge=0, le=1)  # of batch, ghost and renorm
    momentum_warmup: bool = False  # of the same
    epsilon: float = Field(default=1e-3, ge=0, le=1e30)
    use_bias: bool = True  # rms has none
    use_scale: bool = True
    # Of ghost. In a group of one example a Dense layer has one value per channel.
    virtual_batch_size: int = Field(default=32, ge=2, le=_MOST)
    # Of renorm; its limits are there after 8 times as many.
    num_plain_steps: int = Field(default=5000, ge=0, le=_MOST // 8)
    num_groups: _Count = 8  # of group


class OptimizerConfig(Section):
    """The optimizer, and its learning rate over the steps."""

    kind: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of momentum
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)  # not of adam
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = Field(default=0, ge=0, le=_MOST)
    clip_norm: _ClipNorm = None  # of the whole gradient
    accumulate: _Count = 1  # batches whose mean gradient makes one step


class TrainConfig(Section):
    """How long, in which batches and order, and what is evaluated."""

    num_epochs: _Count = 10
    batch_size: _Count = 32
    order: Literal["shuffled", "fixed", "sorted", "class_blocked"] = "shuffled"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: _Decay = None  # of the weights that are evaluated
    recompute_stats: bool = False  # batch statistics for evaluation from all training examples


class SharedConfig(Section):
    """The sections, as all arms of a run share them."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    norm: NormConfig = NormConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()


class ArmConfig(SharedConfig):
    """One arm of a run: all that a trial needs but its seed; its sections fit together."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        # A key that what is chosen has no use for changes nothing, since arms share sections. What
        # is an error would be another run than was asked for.
        for mistake in (self._file(), self._dtype(), self._weight_decay(), self._norm()):
            if mistake is not None:
                raise ValueError(mistake)
        return self

    def _file(self) -> str | None:
        reads = self.data.name in ("npz", "csv")
        if reads and self.data.path is None:
            return f"data.path: missing, wanted the file to read as {self.data.name}"
        if not reads and self.data.path is not None:
            return (
                f"data.path: found {self.data.path!r}, which {self.data.name!r} doesn't read; "
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

    def _weight_decay(self) -> str | None:
        decay = self.optimizer.weight_decay
        if self.optimizer.kind == "adam" and decay > 0:
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
                f"model.{key}, {list(sizes)}"
            )
        return None


class SweepConfig(Section):
    """Values that keys take in turn, in every arm: all their combinations, or one by one."""

    mode: Literal["grid", "zip"] = "grid"
    max_lanes: _Count | None = None  # trials of a group; None is `MOST_LANES`
    axes: dict[str, list[Any]] = {}


class Config(Section):
    """A run: every seed of every arm, at every point of the sweep. `load_config` makes it."""

    name: _Name
    seed: int = Field(default=0, ge=0, le=2_000_000_000)
    num_seeds: int = Field(default=8, ge=1, le=4096)
    arms: dict[_Name, ArmConfig] = Field(min_length=1)
    sweep: SweepConfig = SweepConfig()
