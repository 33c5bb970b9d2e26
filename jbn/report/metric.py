"""The metric that the results of a run are judged by, and what metrics are called."""

from typing import Any, NamedTuple

import numpy as np

from jbn.report.text import shortened, text_of

_NAMES = {"rmse": "RMSE", "mae": "MAE", "r2": "R²"}
_SHARES = ("accuracy", "balanced_accuracy")


class Metric(NamedTuple):
    """A metric; more of it is better, or less."""

    name: str
    higher_is_better: bool

    @property
    def words(self) -> str:
        """What it is called, such as "validation RMSE"."""
        return f"validation {metric_words(self.name)}"

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1, and figures show it in percent."""
        return self.name in _SHARES

    def best(self, values: np.ndarray, axis: int | None = None) -> Any:
        """The places of the best values along the axis; what isn't finite is worse than all."""
        worth = values if self.higher_is_better else -values
        return np.where(np.isfinite(worth), worth, -np.inf).argmax(axis)

    def shown(self, value: float) -> str:
        """A value of it in few characters, such as "95%"."""
        return f"{value:.3g}" if not self.is_share else f"{100 * value:.3g}%"


ACCURACY = Metric("accuracy", higher_is_better=True)


def metric_words(name: str) -> str:
    """What a metric is called.

    >>> metric_words("balanced_accuracy"), metric_words("rmse")
    ('balanced accuracy', 'RMSE')
    """
    return _NAMES.get(name, shortened(name.replace("_", " "), 48))


def number_text(value: float | None, like: float | None = None) -> str:
    """A metric's value in a table, with as many decimals as the number `like` has; by default it.

    >>> number_text(0.98), number_text(54.12), number_text(1.2e-5), number_text(None)
    ('0.980', '54.12', '1.2e-5', 'diverged')
    >>> number_text(1.234, like=54.12)
    '1.23'
    """
    if value is None:
        return "diverged"
    size = abs(value if like is None else like)
    if not 0.001 <= size < 1e4 and value:
        return text_of(float(value), 2)
    return f"{value:.{3 if size < 10 else 2 if size < 100 else 1}f}"
