"""The README's table: what was measured of jbn, beside its peers, each row with its page."""

from tables.devices import ACCELERATOR, TRAIN, folders, over_jbn, rows_of, training_rows
from tables.markdown import markdown_table, results

OFFSET = 10_000  # standard deviations from zero
NUMERICS = "[numerics](docs/background/numerics.md)"
PERFORMANCE = "[performance](docs/background/performance.md)"
ACCELERATORS = "[accelerators](docs/background/accelerators.md)"


def evidence() -> str:
    """A row for each measurement: what, jbn, its peers, the page that has all of it."""
    rows = [_accuracy(), _bytes(), *_layers(), *_resnet(), _training(), _run()]
    return markdown_table(["measured", "jbn", "its peers", "more in"], rows, num_words=4)


def _accuracy() -> list[str]:
    """The largest error of batch norm's y, far from zero."""
    (row,) = [
        row
        for row in results("bench/accuracy")["rows"]
        if (row["norm"], row["dtype"], row["mean_over_std"]) == ("batch_norm", "float32", OFFSET)
    ]
    ours, fast, accurate, keras = (
        f"{row['y'][of]:.1e}" for of in ("jbn", "Flax, fast", "Flax, accurate", "Keras")
    )
    return [
        f"largest error of y, float32, {OFFSET:,} standard deviations from zero",
        ours,
        f"Flax {fast}, or {accurate} without its fast variance; Keras {keras}",
        NUMERICS,
    ]


def _bytes() -> list[str]:
    """What batch norm keeps from the forward for the backward pass, over the bytes of x."""
    rows = {
        row["dtype"]: row["kept_over_x"]
        for row in rows_of("cpu", "layer")
        if (row["norm"], row["what"]) == ("batch_norm", TRAIN)
    }
    ours, flax = (
        ", ".join(f"{of[name]:.1f}" for of in rows.values()) for name in ("jbn", "Flax, fast")
    )
    what = f"bytes kept for the backward pass, by those of x: {', '.join(rows)}"
    return [what, ours, f"Flax {flax}", PERFORMANCE]


def _layers() -> list[list[str]]:
    """The peers' times over jbn's on the accelerator, where there is one."""
    return [
        [
            f"batch norm, forward and backward on an {ACCELERATOR}: a peer's time over jbn's",
            "1",
            f"Flax {_range(large + others, 'Flax, fast')}, of which bfloat16 from 200 MB on "
            f"{_range(large, 'Flax, fast')}; PyTorch (cuDNN) {_range(large + others, 'PyTorch')}",
            ACCELERATORS,
        ]
        for folder in folders(ACCELERATOR)
        if (large := training_rows(rows_of(folder, "layer"), large=True))
        and (others := training_rows(rows_of(folder, "layer"), large=False))
    ]


def _range(rows: list[dict], peer: str) -> str:
    ratios = over_jbn(rows, peer)
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _resnet() -> list[list[str]]:
    return [
        [
            f"a training step of ResNet-50, bfloat16, on an {ACCELERATOR}",
            f"{row['microseconds']['jbn'] / 1e3:.1f} ms",
            f"with Flax's norms {row['microseconds']['Flax, fast'] / 1e3:.1f} ms",
            ACCELERATORS,
        ]
        for folder in folders(ACCELERATOR)
        for row in rows_of(folder, "resnet")
        if "Flax, fast" in row.get("microseconds", {})
    ]


def _training() -> list[str]:
    result = results("bench/article")
    ours, keras = (f"{result[of]['seconds']['median'] * 1e3:.0f} ms" for of in ("jbn", "keras"))
    what = "the whole training of the article's network, compiled before, on 2 CPU cores"
    return [what, ours, f"Keras on JAX {keras}", PERFORMANCE]


def _run() -> list[str]:
    seconds = results("bench/start")["seconds"]
    kept, first, keras = (f"{seconds[of]['median']:.1f} s" for of in ("kept", "first", "keras"))
    return [
        "a small run as a whole process, on 2 CPU cores",
        f"{kept} where its programs are kept, {first} the first time",
        f"Keras on JAX {keras}",
        "[bench](experiments/bench/README.md)",
    ]
