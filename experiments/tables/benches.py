"""Tables of the benchmarks, one for each results file, and of the campaign of broken inputs."""

import itertools
import json
from typing import Any

from tables.markdown import ROOT, markdown_table, measured_by, results, wrapped


def article() -> str:
    """The benchmark of the article's network against Keras."""
    result = results("bench/article")
    rows = []
    for name in ("jbn", "keras"):
        side = result[name]
        warm = _spread(side["seconds"], 1, factor=1e3)
        rows.append([name, f"{side['first_call_seconds']:.1f}", warm])
    headings = ["", "first call, s", "warm, ms: median (quartiles)"]
    ratio, environment = result["keras_over_jbn"], result["environment"]
    return f"{markdown_table(headings, rows)}\n\n" + wrapped(
        "jbn and Keras train in turn. Keras's time divided by jbn's is "
        f"{ratio['median']:.1f} (median of {result['num_pairs']} pairs of warm trainings; "
        f"quartiles {ratio['q1']:.1f} to {ratio['q3']:.1f}). "
        f"{measured_by(result['command'], environment, 'keras')}"
    )


def start() -> str:
    """What a small run takes from the process's start to its end, against Keras."""
    result = results("bench/start")
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
        [
            word,
            _spread(result["seconds"][name], 2),
            _spread(ratios[name], 2) if name in ratios else "",
        ]
        for name, word in words.items()
    ]
    rows.append(["the first line of `jbn run`", _spread(result["first_line_seconds"], 2), ""])
    return f"{markdown_table(['', 'seconds', 'times Keras'], rows)}\n\n" + wrapped(
        f"Whole processes in turn: medians of {result['num_rounds']} rounds, with quartiles in "
        "parentheses; a ratio is that of one round. "
        f"{measured_by(result['command'], result['environment'], 'keras')}"
    )


def sweep() -> str:
    """What a sweep costs, and a lane of it against a run alone."""
    result = results("bench/sweep")
    sweep, lanes = result["sweep"], result["lanes"]
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
            f"{_spread(lanes['lane_seconds'], 1, factor=1e3)} ms",
        ],
        ["one trial by itself", f"{_spread(lanes['alone_seconds'], 1, factor=1e3)} ms"],
    ]
    return f"{markdown_table(['', 'time'], rows)}\n\n" + wrapped(
        "The second command finds its programs compiled. The last two rows are medians over "
        "rounds, with quartiles in parentheses. A trial by itself takes "
        f"{ratio['median']:.2f} times as long as a trial among {lanes['num_lanes']} lanes (median "
        f"of {lanes['num_rounds']} rounds; quartiles {ratio['q1']:.2f} to {ratio['q3']:.2f}). "
        f"{measured_by(result['command'], result['environment'])}"
    )


def devices() -> str:
    """What it costs that devices share a batch, and that processes share out lanes."""
    result = results("bench/devices")
    columns = {
        "one": "one device",
        "two": "two devices",
        "apart": "two apart",
        "sums": "their sums alone",
    }
    rows = [
        [
            str(found["batch_size"]),
            *(_spread(found["microseconds_a_step"][name], 0) for name in columns),
            _spread(found["two_over_one"], 2),
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
        f"each, take {_spread(lanes['processes_over_devices'], 2)} times as long as on two devices "
        f"of one process; with a core for each process {_spread(lanes['bound_over_devices'], 2)} "
        f"times. {measured_by(result['command'], result['environment'])}"
    )


def stopped() -> str:
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


def soak() -> str:
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


def folding() -> str:
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


def accuracy(norm: str, quantity: str, dtypes: tuple[str, ...] = ("float32",)) -> str:
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


def campaign() -> str:
    """What broken inputs came to."""
    path = ROOT / "tests" / "campaign" / "results.json"
    counts = json.loads(path.read_text(encoding="utf-8"))
    kinds = ["tried", "accepted", "answered", "lost"]
    rows = [[subject, *(str(of[kind]) for kind in kinds)] for subject, of in counts.items()]
    return markdown_table(["input", *kinds], rows)


def _spread(of: dict[str, float], digits: int, *, factor: float = 1.0) -> str:
    """The median, and the quartiles in parentheses."""
    low, median, high = (f"{of[q] * factor:.{digits}f}" for q in ("q1", "median", "q3"))
    return f"{median} ({low} to {high})"
