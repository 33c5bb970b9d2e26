"""What each epsilon costs, in short and in long runs."""

from collections.abc import Sequence

from findings import Finding, Panel
from values import Row, accuracy, extent, values_of
from verdicts import HOLDS, REFUTED, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
DEFAULT = "0.001"
PREDICTED = {
    "1": {"1e-07": REFUTED, "1e-05": REFUTED, "0.1": REFUTED, "1": HOLDS},
    "10": {"1e-07": REFUTED, "1e-05": REFUTED, "0.1": REFUTED, "1": REFUTED},
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that an epsilon loses against the default."""
    values = values_of(rows)
    epsilons = values.labels["norm.epsilon"]
    comparisons, table, panels = [], [], []
    for epochs, predicted in PREDICTED.items():
        run = f"{epochs} epoch{'s' if epochs != '1' else ''}"
        of_run = values.at({"train.num_epochs": epochs})
        lines = {arm: accuracy(of_run.at({"arm": arm})) for arm in values.labels["arm"]}
        judged_arm = lines["batch_norm"]
        for n, epsilon in enumerate(epsilons):
            name = f"epsilon {epsilon} after {run}"
            table.append([name, *(in_words(mean_of(of[n])) for of in lines.values())])
            if epsilon != DEFAULT:
                lost = judged_arm[epsilons.index(DEFAULT)] - judged_arm[n]
                comparisons.append(Comparison(name, lost, SMALLEST, predicted[epsilon]))
        x = [float(epsilon) for epsilon in epsilons]
        panels.append(
            Panel(
                title=run,
                x="epsilon",
                y="test accuracy, %",
                lines={arm: (x, of) for arm, of in lines.items()},
                log_x=True,
            )
        )
    verdict, judged = judge(comparisons)
    return Finding(
        headings=["run", *(f"test accuracy, {arm}, %" for arm in lines)],
        rows=table,
        verdict=verdict,
        summary="Whether a point or more of test accuracy is lost against the default of "
        f"{DEFAULT}: {in_a_sentence(judged, 'points')}.",
        panels=panels,
        headline=("batch_norm", "batch_norm_plain"),
        judged=judged,
        **extent(rows),
    )
