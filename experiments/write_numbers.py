"""Writes measured numbers, from the results files, into the texts that quote them.

    python experiments/write_numbers.py

A text marks the place: what stands between `<!-- numbers: NAME -->` and `<!-- end -->` (in a TOML
file `# numbers: NAME` and `# end`) is this script's.
"""

import functools
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import device_tables
from claims import CLAIMS
from tables import ROOT, markdown_table, results, where, wrapped

from jbn.report import summary_table

TEXTS = (
    ROOT / "README.md",
    ROOT / "docs" / "accelerators.md",
    ROOT / "docs" / "numerics.md",
    ROOT / "docs" / "inputs.md",
    ROOT / "docs" / "folding.md",
    ROOT / "docs" / "sweeps.md",
    ROOT / "experiments" / "digits" / "README.md",
    ROOT / "experiments" / "mnist" / "README.md",
    ROOT / "experiments" / "bench" / "README.md",
    ROOT / "experiments" / "resnet18" / "README.md",
    ROOT / "experiments" / "RESULTS.md",
    *(ROOT / "experiments" / name / "README.md" for name in CLAIMS),
    *sorted((ROOT / "configs").rglob("*.toml")),
)
DTYPES = ("float32", "bfloat16", "float16")
_MARKDOWN = re.compile(r"(<!-- numbers: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOML = re.compile(r"(# numbers: (\S+)\n).*?(# end\n)", re.DOTALL)


def render(path: Path) -> str:
    """The text of a file with the numbers of today's results in it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return _TOML.sub(
            lambda m: m[1] + "".join(f"#   {line}\n" for line in expected(m[2])) + m[3], text
        )
    return _MARKDOWN.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]]()}\n\n{m[3]}", text)


def expected(name: str) -> list[str]:
    """What a config's run is expected to print, in lines for its header."""
    result = _run(name)
    headings, rows = summary_table(result["summary"])
    lines = []
    for arm, *cells in rows:
        names = [heading.replace("\n", " ") for heading in headings[1:]]
        said = [f"{name} {cell}" for name, cell in zip(names, cells, strict=True) if cell]
        lines += textwrap.wrap(f"{arm}: {', '.join(said)}", 94, subsequent_indent="  ")
    seeds = result["summary"]["num_seeds"]
    return [*lines, *textwrap.wrap(f"{seeds} seeds; {where(result['environment'])}", 94)]


def run_table(name: str) -> str:
    """The table that a config's run printed."""
    result = _run(name)
    environment = result["environment"]
    return f"{markdown_table(*summary_table(result['summary']))}\n\n" + wrapped(
        "Accuracy and loss: mean ± standard deviation over "
        f"{result['summary']['num_seeds']} seeds. Epochs: median number of epochs to 95%; in "
        "parentheses, how many seeds got there, if only some did. Times: all seeds of an arm "
        "together; jbn only loads an arm that it compiled before. "
        f"`{environment['command']}`, {where(environment)}."
    )


def sweep_table(name: str) -> str:
    """The table that a config's sweep printed."""
    result = _run(name)
    environment = result["environment"]
    return f"{markdown_table(*summary_table(result['summary']))}\n\n" + wrapped(
        "Each arm at the point with the highest validation accuracy, "
        f"{result['summary']['num_seeds']} seeds; the times are for all its runs together. "
        f"`{environment['command']}`, {where(environment)}."
    )


def sweep_bench() -> str:
    """What a sweep costs, and a lane of it against a run alone."""
    result = results("bench/sweep")
    sweep, lanes = result["sweep"], result["lanes"]

    def milliseconds(side: str) -> str:
        low, median, high = (lanes[side][q] * 1e3 for q in ("q1", "median", "q3"))
        return f"{median:.1f} ({low:.1f} to {high:.1f})"

    ratio = lanes["alone_over_lane"]
    rows = [
        [
            f"{sweep['num_runs']} runs, the whole command, first time",
            f"{sweep['first_seconds']:.1f} s",
        ],
        ["the same, programs compiled before", f"{sweep['compiled_before_seconds']:.1f} s"],
        ["of that, training and test", f"{sweep['training_seconds']:.1f} s"],
        [f"a run as one of {lanes['num_lanes']} lanes", f"{milliseconds('lane_seconds')} ms"],
        ["a run alone", f"{milliseconds('alone_seconds')} ms"],
    ]
    return f"{markdown_table(['', 'time'], rows)}\n\n" + wrapped(
        f"A run alone takes {ratio['median']:.2f} times a lane's time (quartiles "
        f"{ratio['q1']:.2f} to {ratio['q3']:.2f}, n = {lanes['num_rounds']} rounds). "
        f"`{result['command']}`, {where(result['environment'])}."
    )


def claim(name: str) -> str:
    """What was measured of a claim, and the verdict."""
    result = results(f"{name}/results")
    return f"{markdown_table(result['headings'], result['rows'])}\n\n" + wrapped(
        f"**It {result['verdict']}.** In brackets: 95% bootstrap intervals over "
        f"{result['num_seeds']} {result['repeats']}. {result['num_runs']} runs in "
        f"{result['seconds']:.0f} s. "
        f"`{result['environment']['command']}`, {where(result['environment'])}."
    )


def claims(folder: str) -> str:
    """Every claim in a row; `folder` is where the claims' folders are, seen from the text."""
    rows = []
    for name in CLAIMS:
        result = results(f"{name}/results")
        link = f"[{result['claim']}]({folder}{name}/README.md)"
        num_runs, n = str(result["num_runs"]), f"{result['num_seeds']} {result['repeats']}"
        rows.append([link, result["verdict"], result["summary"], num_runs, n])
    total = sum(results(f"{name}/results")["seconds"] for name in CLAIMS)
    environment = results("accuracy/results")["environment"]
    headings = ["the article's claim", "verdict", "measured [95% interval]", "runs", "n"]
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        f"`make experiments`: {total / 60:.0f} minutes, {where(environment)}."
    )


def article_bench() -> str:
    """The benchmark of the article's network against Keras."""
    result = results("bench/article")
    rows = []
    for name in ("jbn", "keras"):
        side, warm = result[name], result[name]["seconds"]
        spread = f"{warm['median'] * 1e3:.1f} ({warm['q1'] * 1e3:.1f} to {warm['q3'] * 1e3:.1f})"
        rows.append([name, f"{side['first_call_seconds']:.1f}", spread])
    headings = ["", "first call, s", "warm, ms: median (quartiles)"]
    ratio, environment = result["keras_over_jbn"], result["environment"]
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        f"Keras takes {ratio['median']:.1f} times as long, pair by pair (quartiles "
        f"{ratio['q1']:.1f} to {ratio['q3']:.1f}, n = {result['num_pairs']}). "
        f"`{result['command']}`, "
        f"{where(environment)}, keras {environment['keras']}."
    )


def resnet18(dtype: str) -> str:
    """How far loss curves of a dtype are from Flax's."""
    result = results("resnet18/results")
    runs = [run for run in result["runs"] if run["dtype"] == dtype]
    arms = list(runs[0]["from_flax"])
    rows = [
        [
            f"{run['api']}, from {run['last_scale']}, seed {run['seed']}",
            f"{run['losses']['jbn'][0]:.2f} to {run['losses']['jbn'][-1]:.2f}",
            *(f"{run['from_flax'][arm]:.0e}" for arm in arms),
        ]
        for run in runs
    ]
    return f"{markdown_table(['last scales', 'loss', *arms], rows)}\n\n" + wrapped(
        f"{dtype}: the largest difference from Flax's curve in {result['num_steps']} steps, "
        f"relative to the loss; SGD with rate {result['learning_rate']:g} and momentum "
        f"{result['momentum']:g}, batches of {result['batch_size']}. `{result['command']}`, "
        f"{where(result['environment'])}."
    )


def resnet18_signs() -> str:
    """When a ReLU's inputs first differ in sign between two float64 curves, and when those part."""
    result = results("resnet18/results")
    curves = {
        run["seed"]: run["losses"]
        for run in result["runs"]
        if (run["api"], run["dtype"]) == ("Linen", "float64")
    }
    rows = []
    for found in result["sign_changes"]:
        losses = curves[found["seed"]]
        pairs = zip(losses["Flax, float32's last bit"], losses["Flax"], strict=True)
        parted = next(step for step, (a, b) in enumerate(pairs) if abs(a - b) > 1e-6 * b)
        first = next(step for step, changes in enumerate(found["changes"]) if changes)
        counts = [found["changes"][step] for step in (first, parted, -1)]
        rows.append([str(n) for n in (found["seed"], first + 1, parted + 1, *counts)])
    headings = [
        *("seed", "first change of a sign: step", "loss off by 1e-6: step"),
        *("changes at the former", "at the latter", "at the end"),
    ]
    note = f"Of {found['num_inputs']} inputs of a ReLU in each step; Linen, as above."
    return f"{markdown_table(headings, rows)}\n\n{wrapped(note)}"


def folding_bench() -> str:
    """What folding gains: times and bytes with the norms, over those without."""
    result = results("bench/folding")
    rows = []
    for case in result["cases"]:
        low, median, high = case["over_jbn"]["with its norms"]
        folded, whole = (case["bytes_accessed"][side] for side in ("jbn", "with its norms"))
        rows.append(
            [
                f"{case['network']}, {' × '.join(map(str, case['shape']))}",
                f"{case['microseconds']['jbn'] / 1e3:.1f}",
                f"{median:.2f} ({low:.2f} to {high:.2f})",
                f"{folded / 1e6:.1f}",
                f"{whole / folded:.2f}",
                f"{case['relative_difference']:.0e}",
            ]
        )
    headings = [
        *("network, batch", "folded, ms", "with its norms: times that"),
        *("folded, MB accessed", "with its norms: times that", "largest difference of the logits"),
    ]
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        f"Times: medians and quartiles of n = {result['num_rounds']} rounds; the difference is "
        f"relative to the largest logit. `{result['command']}`, {where(result['environment'])}."
    )


def accuracy_table(norm: str, quantity: str, dtypes: tuple[str, ...] = ("float32",)) -> str:
    """Errors of a norm's y or dx against float64, for the named dtypes."""
    result = results("bench/accuracy")
    rows = [r for r in result["rows"] if r["norm"] == norm and r["dtype"] in dtypes]
    peers = list(rows[0][quantity])
    table = [
        [row["dtype"], f"{row['mean_over_std']:g}", *(f"{row[quantity][p]:.1e}" for p in peers)]
        for row in rows
    ]
    shape = " × ".join(map(str, rows[0]["shape"]))
    note = f"{shape} normal numbers. {_accuracy_source(result)}"
    return f"{markdown_table(['x', 'mean / std', *peers], table)}\n\n{wrapped(note)}"


def accuracy_of_inputs() -> str:
    """Errors of standardized inputs against float64."""
    result = results("bench/accuracy")
    peers = list(result["inputs"][0]["y"])
    rows = [
        [f"{row['mean_over_std']:g}", *(f"{row['y'][p]:.1e}" for p in peers)]
        for row in result["inputs"]
    ]
    note = f"float32 4096 × 8 normal numbers in 16 batches. {_accuracy_source(result)}"
    return f"{markdown_table(['mean / std', *peers], rows)}\n\n{wrapped(note)}"


def _accuracy_source(result: dict[str, Any]) -> str:
    environment = result["environment"]
    return f"`{result['command']}`, {where(environment)}, keras {environment['keras']}."


def dead_units_table() -> str:
    """What the running variances do to single test images, with the customised layer."""
    rows = [
        [
            str(found["seed"]),
            f"{found['value']:.3g}",
            f"{found['running_variance']:.1e}",
            f"{found['loss_share_of_two_images']:.0%}",
        ]
        for found in _run("digits/article_custom")["largest_normalized_values"]
    ]
    headings = [
        *("seed", "largest normalized value", "running variance there"),
        "share of the test loss of two images",
    ]
    return markdown_table(headings, rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "digits/article": lambda: run_table("digits/article"),
    "digits/article_custom": lambda: run_table("digits/article_custom"),
    "digits/norms": lambda: run_table("digits/norms"),
    "digits/learning_rates": lambda: sweep_table("digits/learning_rates"),
    "mnist/article": lambda: run_table("mnist/article"),
    "mnist/cnn": lambda: run_table("mnist/cnn"),
    "bench-sweep": sweep_bench,
    "digits-dead-units": dead_units_table,
    "accuracy-float32": lambda: accuracy_table("batch_norm", "y"),
    "accuracy-y": lambda: accuracy_table("batch_norm", "y", DTYPES),
    "accuracy-dx": lambda: accuracy_table("batch_norm", "dx", DTYPES),
    "accuracy-layer": lambda: accuracy_table("layer_norm", "y"),
    "accuracy-layer-dx": lambda: accuracy_table("layer_norm", "dx"),
    "accuracy-group": lambda: accuracy_table("group_norm", "y"),
    "accuracy-inputs": accuracy_of_inputs,
    "claims": lambda: claims(""),
    "claims-in-readme": lambda: claims("experiments/"),
    **{f"claim-{name}": functools.partial(claim, name) for name in CLAIMS},
    "bench-article": article_bench,
    "bench-layer": lambda: device_tables.layers("cpu", "batch_norm", device_tables.TRAIN),
    "bench-layers": lambda: device_tables.layers("cpu"),
    "device-targets": device_tables.targets,
    "device-correctness": device_tables.correctness,
    "device-layers": device_tables.layers_on_accelerators,
    "device-resnet": device_tables.resnet,
    "device-engine": device_tables.engine,
    "bench-folding": folding_bench,
    "resnet18-float32": lambda: resnet18("float32"),
    "resnet18-float64": lambda: resnet18("float64"),
    "resnet18-signs": resnet18_signs,
}


def _run(name: str) -> dict[str, Any]:
    """What a config ("digits/article") came to."""
    dataset, _, stem = name.partition("/")
    found: dict[str, Any] = results(f"{dataset}/results")[stem]
    return found


if __name__ == "__main__":
    for path in TEXTS:
        path.write_text(render(path), encoding="utf-8")
