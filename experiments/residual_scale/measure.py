"""What residual networks gain by a gamma that is learned, and by one that begins at 0."""

from collections.abc import Sequence

from findings import Finding, Panel
from values import Row, accuracy, at_best, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
ARMS = ("batch_norm", "gamma_from_0", "neither", "no_norm", "no_norm, gamma_from_0")
LEARNED, FROM_0 = ("batch_norm", "neither"), ("gamma_from_0", "batch_norm")
PREDICTED = {
    ("20", LEARNED): REFUTED,
    ("20", FROM_0): HOLDS,
    ("50", LEARNED): NOT_SHOWN,
    ("50", FROM_0): HOLDS,
}
WORDS = {LEARNED: "gamma and beta over neither", FROM_0: "gamma from 0 over from 1"}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that a learned gamma gains, and one from 0, each arm at its best rate."""
    values = values_of(rows)
    depths, rates = values.labels["blocks"], values.labels["learning_rate"]
    of = {(n, arm): values.at({"blocks": n, "arm": arm}) for n in depths for arm in ARMS}
    best = {key: at_best(found) for key, found in of.items()}  # each (splits,)
    verdict, judged = judge(
        [
            Comparison(
                f"{n} blocks, {WORDS[arms]}",
                best[n, arms[0]] - best[n, arms[1]],
                SMALLEST,
                predicted,
            )
            for (n, arms), predicted in PREDICTED.items()
        ]
    )
    words = "; ".join(
        f"with {n} blocks {best[n, 'neither'].mean():.1f}% without gamma and beta, "
        f"{best[n, 'batch_norm'].mean():.1f}% where gamma begins at 1, and "
        f"{best[n, 'gamma_from_0'].mean():.1f}% where it begins at 0"
        for n in depths
    )
    without = " and ".join(f"{best[n, 'no_norm, gamma_from_0'].mean():.1f}%" for n in depths)
    x = [float(rate) for rate in rates]
    return Finding(
        headings=["network", "test accuracy, best rate, %", "mean over all rates, %"],
        rows=[
            [
                f"{n} blocks, {arm}",
                in_words(mean_of(best[n, arm])),
                in_words(mean_of(accuracy(found).mean(0))),
            ]
            for (n, arm), found in of.items()
        ],
        verdict=verdict,
        summary=f"How accurate a network of residual blocks is: {words}. Without batch norm, and "
        f"with a gamma that begins at 0, it comes to {without}.",
        panels=[
            Panel(
                title=f"{n} residual blocks",
                x="learning rate",
                y="test accuracy, %",
                lines={arm: (x, accuracy(of[n, arm])) for arm in ARMS},
                log_x=True,
            )
            for n in depths
        ],
        headline=FROM_0,
        judged=judged,
        **extent(rows),
    )
