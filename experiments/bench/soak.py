"""What a run holds on to as it goes on: 100,000 steps, and 1,000 groups of a sweep.

    python experiments/bench/soak.py && python experiments/write_numbers.py

A small network on the digits trains as `jbn run` trains it, each case in a process of its own. A
sink measures at the end of each epoch or group. What a run keeps of each of them shows as growth
from the middle third to the last. Writes `soak.json` beside this file; `tests/test_soak.py` runs
the same cases.
"""

import contextlib
import gc
import importlib.metadata
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore
from rich.console import Console

from jbn.config import Config, config_from_dict
from jbn.environment import describe_environment
from jbn.report.page import write_report
from jbn.run import EpochEnded, Event, Sink, TrialsEnded, listening, progress_sink, run_whole

HERE = Path(__file__).parent
COMMAND = "python experiments/bench/soak.py"
STEPS_PER_EPOCH = 45  # of the digits, in batches of 32
EPOCHS_PER_CHECKPOINT = 10
FIELDS = (
    *("seconds", "resident_kib", "device_kib", "live_arrays", "live_kib"),
    *("open_files", "threads", "compilations"),
)
_NUM_KEPT = 60  # samples, in the results file


class Case(NamedTuple):
    """A run, when it is measured, and how far it may grow."""

    config: Config
    event: type  # after which is measured
    num_events: int
    unit: str
    units_per_event: int
    most: Mapping[str, float]  # growth in 1,000 units, by field; the others have none


def training(num_steps: int = 100_000) -> Case:
    """One training, which saves nothing."""
    return _training(num_steps, {"every_minutes": None}, {"resident_kib": 10.0})


def saved_training(num_steps: int = 100_000) -> Case:
    """One training, which saves often and keeps its best epoch.

    TensorStore keeps some of each array that Orbax saves: `kib_of_a_spec`. The threads and files of
    its pools come and go.
    """
    checkpoint = {"every_epochs": EPOCHS_PER_CHECKPOINT, "keep_best": True}
    return _training(
        num_steps, checkpoint, {"resident_kib": 250.0, "open_files": 0.3, "threads": 0.3}
    )


def sweep(num_groups: int = 1_000) -> Case:
    """As many points as groups, all of one program."""
    rates = [1e-3 * (1 + point / num_groups) for point in range(num_groups)]
    table = {
        "train": {"num_epochs": 2},
        "sweep": {"max_lanes": 1, "optimizer.learning_rate": rates},
    }
    return Case(_config(table), TrialsEnded, num_groups, "groups", 1, {"resident_kib": 2000.0})


CASES: dict[str, Callable[[], Case]] = {
    "one training": training,
    "one training, with checkpoints": saved_training,
    "a sweep": sweep,
}


def soak(case: Case, out: Path, sinks: Sequence[Sink] = ()) -> np.ndarray:
    """A row of `FIELDS` for each of the case's events."""
    gc.set_threshold(50_000, 20, 100)  # as `jbn run` does
    device = jax.devices()[0]
    samples = np.full((case.num_events, len(FIELDS)), np.nan)  # all of its memory, from the start
    rows = iter(samples)
    with _compilations() as compiled, listening() as stop:

        def measure(event: Event) -> None:
            if isinstance(event, case.event):
                next(rows)[:] = [time.perf_counter(), *_resources(device), len(compiled)]

        with progress_sink(Console(quiet=True)) as progress:
            sinks = [progress, *sinks, measure]
            run_whole(case.config, out, device=device, sinks=sinks, stop=stop)
    samples[:, 0] -= samples[0, 0]
    return samples


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns, called in a process of its own: memory is that of one run."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *args).result()


def growth(case: Case, samples: np.ndarray) -> dict[str, float]:
    """By field: how much more there is in the last third than in the middle one, in 1,000 units.

    The least of each third counts: what is there for a moment isn't held on to.
    """
    _, middle, last = np.array_split(samples, 3)
    units = len(middle) * case.units_per_event
    grown = 1000 * (last.min(axis=0) - middle.min(axis=0)) / units
    return dict(zip(FIELDS[1:], grown[1:].tolist(), strict=True))


def grown(case: Case, samples: np.ndarray) -> list[str]:
    """The fields that grow more than they may."""
    return [name for name, much in growth(case, samples).items() if much > case.most.get(name, 0)]


def measured(name: str) -> dict[str, Any]:
    """The case's row for the results file."""
    case = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        samples = soak(case, out)
        clock = time.perf_counter()
        report = write_report(out)
        seconds = time.perf_counter() - clock
        report_bytes = report.stat().st_size
        folder_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    tenth = len(samples) // 10
    durations = np.diff(samples[:, 0])
    kept = np.linspace(0, len(samples) - 1, _NUM_KEPT).astype(int)
    return {
        "units": case.num_events * case.units_per_event,
        "unit": case.unit,
        "growth_per_thousand": growth(case, samples),
        "most_growth_per_thousand": dict(case.most),
        "least_of_thirds": {
            field: [third[:, place].min() for third in np.array_split(samples, 3)]
            for place, field in enumerate(FIELDS)
        },
        "seconds": samples[-1, 0],
        "late_over_early": np.median(durations[-tenth:]) / np.median(durations[tenth : 2 * tenth]),
        "report_seconds": seconds,
        "report_bytes": report_bytes,
        "folder_bytes": folder_bytes,
        "samples": {
            "event": (kept + 1).tolist(),
            **{field: samples[kept, place].round(2).tolist() for place, field in enumerate(FIELDS)},
        },
    }


def kib_of_a_spec(number: int = 20_000) -> float:
    """What TensorStore keeps of each `KvStore.Spec.to_json`, which Orbax calls for each array."""
    base = {"driver": "file", "path": "/nowhere/"}
    spec = tensorstore.KvStore.Spec({"driver": "ocdbt", "base": base})
    spec.to_json()
    before = _resident_kib()
    for _ in range(number):
        spec.to_json()
    return (_resident_kib() - before) / number


def main() -> None:
    """Trains, and writes the JSON."""
    kib = alone(kib_of_a_spec)
    found = {}
    for name in CASES:
        found[name] = alone(measured, name)
        print(name, json.dumps(found[name]["growth_per_thousand"]), flush=True)
    environment = describe_environment(jax.devices()[0])
    versions = {"tensorstore": importlib.metadata.version("tensorstore")}
    result = {
        "command": COMMAND,
        "environment": environment | versions,
        "kib_of_a_spec": kib,
        "cases": found,
    }
    (HERE / "soak.json").write_text(json.dumps(result, indent=2) + "\n")


def _training(num_steps: int, checkpoint: dict[str, Any], most: Mapping[str, float]) -> Case:
    num_epochs = -(-num_steps // STEPS_PER_EPOCH)
    config = _config({"train": {"num_epochs": num_epochs}, "checkpoint": checkpoint})
    return Case(config, EpochEnded, num_epochs, "steps", STEPS_PER_EPOCH, most)


def _config(table: dict[str, Any]) -> Config:
    shared = {"num_seeds": 1, "model": {"hidden_sizes": [8]}, "arms": {"batch_norm": {}}}
    return config_from_dict({"name": "soak", **shared, **table})


def _resources(device: jax.Device) -> list[float]:
    """`FIELDS` but for the first and the last one; those of this process as Linux has them."""
    arrays = jax.live_arrays()
    return [
        _resident_kib(),
        (device.memory_stats() or {}).get("bytes_in_use", 0) / 1024,
        len(arrays),
        sum(array.nbytes for array in arrays) / 1024,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
    ]


def _resident_kib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


@contextlib.contextmanager
def _compilations() -> Iterator[list[float]]:
    """The seconds of each program that XLA compiles."""
    compiled: list[float] = []

    def listen(name: str, seconds: float, **_: Any) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


if __name__ == "__main__":
    main()
