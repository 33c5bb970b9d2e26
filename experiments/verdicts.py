"""What the comparisons of a claim come to: intervals, and one of four verdicts.

A claim says that something is larger with batch normalization. Each comparison measures by how
much, in pairs: the same split of the data and the same seeds, with and without. Its *smallest
effect* is the least that would count as the claim's being right. One rule for all claims:

- Where the interval of the mean effect lies above the smallest effect, the comparison *holds*.
- Where it lies below, it is *refuted*: whatever effect there is, it is smaller than what counts.
- Where the interval contains both, it is *not shown*.

A claim of several comparisons has intervals that are right together, at 95% (Bonferroni). It holds
if all of them do, holds partly if some do, is refuted if all are, and is not shown otherwise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

HOLDS, PARTLY, NOT_SHOWN, REFUTED = "holds", "holds partly", "not shown", "refuted"
LEVEL = 0.95  # that all intervals of a claim are right


class Estimate(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """An effect that a claim says is there."""

    name: str
    effects: np.ndarray  # one for each split: above 0 where the claim is right
    smallest: float  # effect that counts
    predicted: str  # what was expected to come of it: HOLDS, NOT_SHOWN or REFUTED


class Judged(NamedTuple):
    """What came of a comparison."""

    name: str
    effect: Estimate
    smallest: float
    outcome: str
    predicted: str


def judge(comparisons: Sequence[Comparison]) -> tuple[str, list[Judged]]:
    """The verdict on a claim, and what came of each of its comparisons."""
    level = 1 - (1 - LEVEL) / len(comparisons)
    judged = []
    for name, effects, smallest, predicted in comparisons:
        effect = mean_of(effects, level)
        judged.append(Judged(name, effect, smallest, outcome_of(effect, smallest), predicted))
    return verdict_of([of.outcome for of in judged]), judged


def mean_of(values: np.ndarray, level: float = LEVEL) -> Estimate:
    """The mean of independent values, and Student's interval of it.

    >>> in_words(mean_of(np.array([1.0, 2.0, 3.0])))
    '2.0 [-0.5, 4.5]'
    """
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def in_words(found: Estimate, spec: str = ".1f") -> str:
    """A number, and its interval in brackets; what rounds to 0 has no sign.

    >>> in_words(Estimate(0.04, -0.04, 1.26))
    '0.0 [0.0, 1.3]'
    """
    value, low, high = (f"{number:z{spec}}" for number in found)
    return f"{value} [{low}, {high}]"


def outcome_of(effect: Estimate, smallest: float) -> str:
    """What comes of one comparison."""
    return HOLDS if effect.low > smallest else REFUTED if effect.high < smallest else NOT_SHOWN


def verdict_of(outcomes: Sequence[str]) -> str:
    """What the comparisons' outcomes come to."""
    found = set(outcomes)
    if len(found) == 1:
        return found.pop()
    return PARTLY if HOLDS in found else NOT_SHOWN


def in_a_sentence(judged: Sequence[Judged], unit: str) -> str:
    """Which comparisons hold, by how much, of which it isn't shown, and how many are refuted.

    >>> effects = {"a": (HOLDS, 2.0), "b": (NOT_SHOWN, 1.0), "c": (REFUTED, 0.0)}
    >>> judged = [Judged(n, Estimate(v, v, v), 1, o, o) for n, (o, v) in effects.items()]
    >>> in_a_sentence(judged, "points")
    'yes with a (2.0 points). Not shown with b. Refuted with the other one'
    """
    held = [f"{of.name} ({of.effect.value:.1f} {unit})" for of in judged if of.outcome == HOLDS]
    open_ones = [of.name for of in judged if of.outcome == NOT_SHOWN]
    num_refuted = len(judged) - len(held) - len(open_ones)
    sentences = [f"yes with {', '.join(held)}" if held else "in no comparison"]
    if open_ones:
        sentences.append(f"Not shown with {', '.join(open_ones)}")
    if num_refuted:
        others = "one" if num_refuted == 1 else num_refuted
        sentences.append(f"Refuted with the other {others}")
    return ". ".join(sentences)


def effect_in_words(effect: Sequence[float], smallest: float) -> str:
    """An effect with its interval, with digits enough to tell which side of the smallest it is on.

    >>> effect_in_words((2.63, 1.05, 4.2), 1.0), effect_in_words((50.42, 47.9, 52.9), 5.0)
    ('2.63 [1.05, 4.20]', '50.4 [47.9, 52.9]')
    """
    return in_words(Estimate(*effect), ".2f" if abs(smallest) < 5 else ".1f")
