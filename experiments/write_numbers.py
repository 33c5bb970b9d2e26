"""Writes measured numbers, from the results files, into the texts that quote them.

    python experiments/write_numbers.py

A text marks the place: what stands between `<!-- numbers: NAME -->` and `<!-- end -->` (in a TOML
file `# numbers: NAME` and `# end`) is this script's.
"""

import functools
import itertools
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import device_tables
import guides
from claims import CLAIMS
from evidence import evidence
from report import read_announced
from tables import ROOT, markdown_table, measured_by, results, where, wrapped
from values import read_rows
from verdicts import HOLDS, NOT_SHOWN, PARTLY, REFUTED, effect_in_words

from jbn.report import summary_table

TEXTS = (
    ROOT / "README.md",
    ROOT / "docs" / "start.md",
    ROOT / "docs" / "choosing.md",
    *sorted((ROOT / "docs" / "course").glob("*.md")),
    ROOT / "docs" / "background" / "accelerators.md",
    ROOT / "docs" / "background" / "inputs.md",
    ROOT / "docs" / "background" / "numerics.md",
    ROOT / "docs" / "background" / "performance.md",
    ROOT / "docs" / "background" / "robustness.md",
    ROOT / "docs" / "background" / "soak.md",
    ROOT / "docs" / "how_to" / "devices.md",
    ROOT / "docs" / "how_to" / "folding.md",
    ROOT / "docs" / "how_to" / "long_runs.md",
    ROOT / "docs" / "how_to" / "sweeps.md",
    ROOT / "experiments" / "digits" / "README.md",
    ROOT / "experiments" / "mnist" / "README.md",
    ROOT / "experiments" / "bench" / "README.md",
    ROOT / "experiments" / "resnet18" / "README.md",
    ROOT / "experiments" / "README.md",
    ROOT / "experiments" / "RESULTS.md",
    ROOT / "experiments" / "REVIEW.md",
    *(ROOT / "experiments" / name / "README.md" for name in CLAIMS),
    *sorted((ROOT / "configs").rglob("*.toml")),
)
FROM_COURSE = "../../experiments/"
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
            f"the whole command, {sweep['num_runs']} trials, the first time",
            f"{sweep['first_seconds']:.1f} s",
        ],
        ["the whole command, the second time", f"{sweep['compiled_before_seconds']:.1f} s"],
        ["training and testing, in the second command", f"{sweep['training_seconds']:.1f} s"],
        [
            f"{lanes['num_lanes']} trials together as lanes, time divided by {lanes['num_lanes']}",
            f"{milliseconds('lane_seconds')} ms",
        ],
        ["one trial by itself", f"{milliseconds('alone_seconds')} ms"],
    ]
    return f"{markdown_table(['', 'time'], rows)}\n\n" + wrapped(
        "The second command finds its programs compiled. The last two rows are medians over "
        "rounds, with quartiles in parentheses. A trial by itself takes "
        f"{ratio['median']:.2f} times as long as a trial among {lanes['num_lanes']} lanes (median "
        f"of {lanes['num_rounds']} rounds; quartiles {ratio['q1']:.2f} to {ratio['q3']:.2f}). "
        f"{measured_by(result['command'], result['environment'])}"
    )


def campaign() -> str:
    """What broken inputs came to."""
    path = ROOT / "tests" / "campaign" / "results.json"
    counts = json.loads(path.read_text(encoding="utf-8"))
    kinds = ["tried", "accepted", "answered", "lost"]
    rows = [[subject, *(str(of[kind]) for kind in kinds)] for subject, of in counts.items()]
    return markdown_table(["input", *kinds], rows)


def devices_bench() -> str:
    """What it costs that devices share a batch, and that processes share out lanes."""
    result = results("bench/devices")

    def cell(of: dict[str, float], digits: int) -> str:
        low, median, high = (format(of[q], f".{digits}f") for q in ("q1", "median", "q3"))
        return f"{median} ({low} to {high})"

    columns = {
        "one": "one device",
        "two": "two devices",
        "apart": "two apart",
        "sums": "their sums alone",
    }
    rows = [
        [
            str(found["batch_size"]),
            *(cell(found["microseconds_a_step"][name], 0) for name in columns),
            cell(found["two_over_one"], 2),
        ]
        for found in result["batches"]
    ]
    headings = ["batch", *(f"{words}, µs" for words in columns.values()), "two / one"]
    lanes = result["processes"]
    ((num_sums, num_arrays),) = {(of["num_sums"], of["num_arrays"]) for of in result["batches"]}
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        "A step of the article's network. Apart: each device takes half of the batch for a "
        "training of its own, and none waits for the other. Then the sums between two devices "
        f"that a step has, by themselves: {num_sums} sums of {num_arrays} arrays. "
        f"Medians of {result['num_rounds']} rounds in turn, with "
        f"quartiles in parentheses. {lanes['num_lanes']} lanes on two processes, of one device "
        f"each, take {cell(lanes['processes_over_devices'], 2)} times as long as on two devices of "
        f"one process; with a core for each process {cell(lanes['bound_over_devices'], 2)} times. "
        f"{measured_by(result['command'], result['environment'])}"
    )


def claim(name: str) -> str:
    """What was measured of a claim, and the verdict."""
    result = results(f"{name}/results")
    table = markdown_table(result["headings"], result["rows"])
    said = f"**Verdict: {result['verdict']}.** {result['summary']}"
    if not result["judged"]:
        return f"{table}\n\n" + wrapped(f"{said} {_measured(result)}")
    right = sum(of["outcome"] == of["predicted"] for of in result["judged"])
    said = wrapped(
        f"{said} In brackets: Student's 95% intervals over {result['num_repeats']} "
        f"{result['repeats']}; those of the comparisons are right together. Of "
        f"{len(result['judged'])} predictions {right} came true. {_measured(result)}"
    )
    return f"{_judged(result)}\n\n{said}\n\n{table}"


def sentence(name: str, folder: str = "") -> str:
    """A claim, its verdict and its sentence, for a text that finds the claims in `folder`."""
    result = results(f"{name}/results")
    link = f"[{result['claim']}]({folder}{name}/README.md)"
    return wrapped(f"{link}: **{result['verdict']}**. {result['summary']}")


def _judged(result: dict[str, Any]) -> str:
    """The comparisons that a claim's verdict rests on, and what came of each."""
    effect = f"effect, {result['unit']}"
    headings = ["comparison", "outcome", "predicted", effect, "smallest that counts"]
    rows = [
        [
            *(of["name"], of["outcome"], of["predicted"]),
            *(effect_in_words(of["effect"], of["smallest"]), f"{of['smallest']:g}"),
        ]
        for of in result["judged"]
    ]
    return markdown_table(headings, rows, num_words=3)


def _measured(result: dict[str, Any]) -> str:
    environment, count = result["environment"], result["num_trainings"]
    return (
        f"{f'The {count} trainings' if count else 'It'} took {result['seconds']:.0f} s. "
        f"{measured_by(environment['command'], environment)}"
    )


def claims() -> str:
    """Every claim in a row, with its verdict and its main numbers."""
    headings = ["claim", "verdict", "found", "trainings", "repeats"]
    rows = []
    for name in CLAIMS:
        result = results(f"{name}/results")
        link = f"[{result['claim']}]({name}/README.md)"
        rows.append([link, result["verdict"], result["summary"], *_extent(result)])
    return f"{markdown_table(headings, rows, num_words=3)}\n\n{_claims_made_by()}"


def tally() -> str:
    """How many claims and comparisons came to what, and how many were predicted."""
    found = [results(f"{name}/results") for name in CLAIMS]
    judged = [of for result in found for of in result["judged"]]
    right = sum(of["outcome"] == of["predicted"] for of in judged)
    return wrapped(
        f"Of {len(found)} claims {_counted([of['verdict'] for of in found])}. Of their "
        f"{len(judged)} comparisons {_counted([of['outcome'] for of in judged])}. {right} of these "
        "came out as predicted."
    )


def kept() -> str:
    """How many rows and trainings there are of all claims."""
    rows = [len(read_rows(ROOT / "experiments" / name / "values.csv")) for name in CLAIMS]
    trainings = sum(results(f"{name}/results")["num_trainings"] for name in CLAIMS)
    return wrapped(
        f"{len(rows)} claims have {sum(rows):,} rows in their values.csv. They are of "
        f"{trainings:,} trainings."
    )


def _counted(outcomes: list[str]) -> str:
    """How many came to what, in words."""
    words = {
        HOLDS: "hold",
        PARTLY: "hold partly",
        REFUTED: "are refuted",
        NOT_SHOWN: "are not shown",
    }
    counts = Counter(outcomes)
    return ", ".join(f"{counts[of]} {words[of]}" for of in words if counts[of])


def verdicts() -> str:
    """Every claim in a row, with its verdict, what to do, and a link to its numbers."""
    rows = []
    for name in CLAIMS:
        result = results(f"{name}/results")
        readme = (ROOT / "experiments" / name / "README.md").read_text(encoding="utf-8")
        practice, *_ = read_announced(readme, name)["practice"].split(". ")
        link = f"[{result['claim']}]({name}/README.md)"
        rows.append([link, result["verdict"], f"{practice.rstrip('.')}."])
    table = markdown_table(["claim", "verdict", "in practice"], rows, num_words=3)
    return f"{table}\n\n{_claims_made_by()}"


def _extent(result: dict[str, Any]) -> list[str]:
    return [str(result["num_trainings"]), f"{result['num_repeats']} {result['repeats']}"]


def _claims_made_by() -> str:
    found = [results(f"{name}/results") for name in CLAIMS]
    minutes = sum(result["seconds"] for result in found) / 60
    (machine,) = {where(result["environment"]).partition(", jbn at")[0] for result in found}
    return wrapped(
        f"Measured on {machine}; all claims together took {minutes:.0f} minutes. Each claim's page "
        "has its command and its commit."
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
        "jbn and Keras train in turn. Keras's time divided by jbn's is "
        f"{ratio['median']:.1f} (median of {result['num_pairs']} pairs of warm trainings; "
        f"quartiles {ratio['q1']:.1f} to {ratio['q3']:.1f}). "
        f"{measured_by(result['command'], environment, 'keras')}"
    )


def start_bench() -> str:
    """What a small run takes from the process's start to its end, against Keras."""
    result = results("bench/start")

    def spread(of: dict[str, float]) -> str:
        return f"{of['median']:.2f} ({of['q1']:.2f} to {of['q3']:.2f})"

    words = {
        "first": "`jbn run`, the first time",
        "kept": "`jbn run`, where its programs are kept",
        "keras": "the script of Keras",
        "show": "`jbn show`, of four arms",
        "help": "`jbn --help`",
        "import jax": '`python -c "import jax"`',
    }
    ratios = result["over_keras"]
    rows = [
        [word, spread(result["seconds"][name]), spread(ratios[name]) if name in ratios else ""]
        for name, word in words.items()
    ]
    rows.append(["the first line of `jbn run`", spread(result["first_line_seconds"]), ""])
    return f"{markdown_table(['', 'seconds', 'times Keras'], rows)}\n\n" + wrapped(
        f"Whole processes in turn: medians of {result['num_rounds']} rounds, with quartiles in "
        "parentheses; a ratio is that of one round. "
        f"{measured_by(result['command'], result['environment'], 'keras')}"
    )


def stopped_bench() -> str:
    """What became of runs that got a signal."""
    result = results("bench/stopped")
    rows = []
    kinds = [("SIGKILL", False), ("SIGKILL", True), ("SIGTERM", False)]
    for (name, run), (signal, while_saving) in itertools.product(result["runs"].items(), kinds):
        kills = [
            kill
            for kill in run["kills"]
            if (kill["signal"], kill["while_saving"]) == (signal, while_saving)
        ]
        rows.append(
            [
                f"{name}, {run['num_epochs']} in {run['seconds']:.0f} s",
                f"{signal}{' while it saved' if while_saving else ''}",
                str(len(kills)),
                str(sum(kill["is_same"] for kill in kills)),
                str(max(kill["epochs_again"] for kill in kills)),
            ]
        )
    headings = ["the run", "the signal", "times", "the same bits", "epochs again, at most"]
    terms = [
        kill["seconds_to_end"]
        for run in result["runs"].values()
        for kill in run["kills"]
        if kill["signal"] == "SIGTERM"
    ]
    measured = " ".join(
        f"{name.capitalize()}: {measured_by(result['command'], run['environment'])}"
        for name, run in result["runs"].items()
    )
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        "The moments are drawn uniformly from the time of the whole run. A checkpoint is due after "
        "20 epochs, or 20 batches where epochs are in parts; an epoch has 45 batches. After "
        f"SIGTERM the process ended within {max(terms):.1f} s. {measured}"
    )


def soak_bench() -> str:
    """What long runs hold on to: memory in each third, and how it grows."""
    result = results("bench/soak")
    rows, notes = [], []
    for name, case in result["cases"].items():
        least = case["least_of_thirds"]
        grown, most = (
            case[of]["resident_kib"] for of in ("growth_per_thousand", "most_growth_per_thousand")
        )
        rows.append(
            [
                name,
                f"{case['units']:,} {case['unit']}",
                *(f"{kib / 1024:.1f}" for kib in least["resident_kib"]),
                f"{grown:.1f} ({most:g})",
                *(
                    " / ".join(f"{number:g}" for number in least[field])
                    for field in ("live_arrays", "open_files", "threads")
                ),
            ]
        )
        notes.append(f"{name}, {case['late_over_early']:.2f}")
    headings = [
        *("the run", "length", "MiB, first third", "middle", "last"),
        *("KiB more per 1,000 (at most)", "arrays on the device", "open files", "threads"),
    ]
    wide = result["cases"]["a sweep"]
    return f"{markdown_table(headings, rows, 2)}\n\n" + wrapped(
        "Each number is the least of its third of the run. The growth is from the middle third to "
        "the last, in 1,000 steps or groups, with its bound in parentheses. An epoch or group late "
        "in the run (the last tenth) takes this many times one early in it (the second tenth): "
        f"{'; '.join(notes)}. The sweep's folder has {wide['folder_bytes'] / 1000:.0f} kB, and its "
        f"report of 1,000 points takes {wide['report_seconds']:.1f} s. TensorStore alone keeps "
        f"{result['kib_of_a_spec']:.1f} KiB of each `KvStore.Spec.to_json`. "
        f"{measured_by(result['command'], result['environment'], 'tensorstore')}"
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
        f"Times and ratios are medians of {result['num_rounds']} rounds, with quartiles in "
        "parentheses. The largest difference of the logits is divided by the largest logit. "
        f"{measured_by(result['command'], result['environment'])}"
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
    note = f"x has {shape} normal numbers. {_accuracy_source(result)}"
    return f"{markdown_table(['x', 'mean / std', *peers], table)}\n\n{wrapped(note)}"


def accuracy_of_inputs() -> str:
    """Errors of standardized inputs against float64."""
    result = results("bench/accuracy")
    peers = list(result["inputs"][0]["y"])
    rows = [
        [f"{row['mean_over_std']:g}", *(f"{row['y'][p]:.1e}" for p in peers)]
        for row in result["inputs"]
    ]
    note = "The inputs are 4096 × 8 normal numbers in float32, in 16 batches."
    note = f"{note} {_accuracy_source(result)}"
    return f"{markdown_table(['mean / std', *peers], rows)}\n\n{wrapped(note)}"


def _accuracy_source(result: dict[str, Any]) -> str:
    return measured_by(result["command"], result["environment"], "keras")


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
    "campaign": campaign,
    "bench-devices": devices_bench,
    "digits-dead-units": dead_units_table,
    "accuracy-float32": lambda: accuracy_table("batch_norm", "y"),
    "accuracy-y": lambda: accuracy_table("batch_norm", "y", DTYPES),
    "accuracy-dx": lambda: accuracy_table("batch_norm", "dx", DTYPES),
    "accuracy-layer": lambda: accuracy_table("layer_norm", "y"),
    "accuracy-layer-dx": lambda: accuracy_table("layer_norm", "dx"),
    "accuracy-group": lambda: accuracy_table("group_norm", "y"),
    "accuracy-inputs": accuracy_of_inputs,
    "evidence": evidence,
    "claims": claims,
    "verdicts": verdicts,
    "tally": tally,
    "kept": kept,
    **{f"claim-{name}": functools.partial(claim, name) for name in CLAIMS},
    **{f"found-{name}": functools.partial(sentence, name) for name in CLAIMS},
    **{f"evidence-{name}": functools.partial(sentence, name, FROM_COURSE) for name in CLAIMS},
    **{f"theme-{name}": functools.partial(guides.theme, name) for name in guides.THEMES},
    "choosing": guides.choosing,
    "bench-article": article_bench,
    "bench-start": start_bench,
    "bench-stopped": stopped_bench,
    "soak": soak_bench,
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
