"""Tables of the configs that were run: what their runs printed, and what is expected of them."""

import textwrap
from typing import Any

from jbn.report import summary_table
from tables.markdown import markdown_table, measured_by, results, where, wrapped


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
        "Accuracy and loss are the mean ± the standard deviation over "
        f"{result['summary']['num_seeds']} seeds. Epochs to 95% is the first epoch after which the "
        "validation accuracy is at least 95% (median over the seeds). If some seeds never got "
        "there, the cell says how many did. The times are those of a first run, for all seeds of "
        "an arm together. Later runs load the compiled programs. "
        f"{measured_by(environment['command'], environment)}"
    )


def sweep_table(name: str) -> str:
    """The table that a config's sweep printed."""
    result = _run(name)
    environment = result["environment"]
    return f"{markdown_table(*summary_table(result['summary']))}\n\n" + wrapped(
        "Each row shows an arm at the point with its highest validation accuracy, over "
        f"{result['summary']['num_seeds']} seeds. The times are those of all its trials together. "
        f"{measured_by(environment['command'], environment)}"
    )


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
        f"The numbers are the largest differences from Flax's loss in {result['num_steps']} steps "
        f"in {dtype}, divided by the loss. SGD has rate {result['learning_rate']:g} and momentum "
        f"{result['momentum']:g}, and batches of {result['batch_size']}. "
        f"{measured_by(result['command'], result['environment'])}"
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
    note = (
        f"A ReLU has {found['num_inputs']} inputs in each step. The models are Linen's, as above."
    )
    return f"{markdown_table(headings, rows)}\n\n{wrapped(note)}"


def _run(name: str) -> dict[str, Any]:
    """What a config ("digits/article") came to."""
    dataset, _, stem = name.partition("/")
    found: dict[str, Any] = results(f"{dataset}/results")[stem]
    return found
