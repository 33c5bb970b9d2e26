"""What each momentum of the running statistics costs, in short and in long runs."""

from collections.abc import Sequence

from findings import Finding, Panel
from values import Row, accuracy, extent, values_of
from verdicts import HOLDS, REFUTED, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {
    "1": {"0": HOLDS, "0.5": REFUTED, "0.9": REFUTED, "0.99": HOLDS, "0.999": HOLDS},
    "10": {"0": HOLDS, "0.5": REFUTED, "0.9": REFUTED, "0.99": REFUTED, "0.999": HOLDS},
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that a momentum loses against recomputed statistics, which have none."""
    values = values_of(rows)
    comparisons, table, panels = [], [], []
    for epochs, predicted in PREDICTED.items():
        run = f"{epochs} epoch{'s' if epochs != '1' else ''}"
        of_run = values.at({"train.num_epochs": epochs})
        lines = {arm: accuracy(of_run.at({"arm": arm})) for arm in values.labels["arm"]}
        for n, (momentum, outcome) in enumerate(predicted.items()):
            name = f"momentum {momentum} after {run}"
            lost = lines["recomputed"][n] - lines["running"][n]
            comparisons.append(Comparison(name, lost, SMALLEST, outcome))
            table.append([name, *(in_words(mean_of(of[n])) for of in lines.values())])
        panels.append(
            Panel(
                title=run,
                x="momentum",
                y="test accuracy, %",
                lines={arm: (list(predicted), of) for arm, of in lines.items()},
            )
        )
    verdict, judged = judge(comparisons)
    return Finding(
        headings=["run", *(f"test accuracy, {arm} statistics, %" for arm in lines)],
        rows=table,
        verdict=verdict,
        summary="Whether running statistics lose a point or more of test accuracy: "
        f"{in_a_sentence(judged, 'points')}.",
        panels=panels,
        headline=("recomputed", "running"),
        judged=judged,
        **extent(rows, evaluated=("arm", "norm.momentum")),
    )
