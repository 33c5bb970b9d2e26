"""A run as it was before it was extended: its files once more, in a run's folder of their own."""

import os
import shutil
from pathlib import Path

from jbn.store.files import sync
from jbn.store.layout import (
    CONFIG,
    GROUPS,
    METRICS,
    NORMS,
    REPORT,
    RUN,
    SOURCE,
    SUMMARY,
    TRIALS,
    VARIABLES,
    earlier_path,
)

_KEPT = (CONFIG, GROUPS, METRICS, NORMS, REPORT, RUN, SOURCE, SUMMARY, TRIALS, VARIABLES)


def keep_earlier(out: Path, extension: int) -> None:
    """Keeps the run as it is before an extension, from 1; then takes away what says its end.

    One that is there already stays, where the process was killed between the two.
    """
    kept = earlier_path(out, extension)
    if (out / SUMMARY).exists() or not kept.exists():
        shutil.rmtree(kept, ignore_errors=True)
        unfinished = kept.with_name(f"{kept.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name in _KEPT:
            if (out / name).is_dir():
                shutil.copytree(out / name, unfinished / name, copy_function=_link)
            elif (out / name).exists():
                _copy(out / name, unfinished / name)
        unfinished.replace(kept)
    for name in (SUMMARY, NORMS, REPORT):
        (out / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Of a table: it is written on."""
    shutil.copyfile(source, target)
    sync(target)


def _link(source: str, target: str) -> None:
    """Of variables: another file takes their place. A disk without links has them twice."""
    try:
        os.link(source, target)
    except OSError:
        _copy(Path(source), Path(target))
