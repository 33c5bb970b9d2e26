"""What the files of a run's folder are called, here alone: see docs/reference/runs.md."""

from pathlib import Path

from jbn.config import Share

FORMAT = 1  # of the layout; another layout gets another number

RUN = "run.json"  # the format, each part's environment, and how the run was extended
CONFIG = "config.json"  # as the run began
GROUPS = "groups.csv"
METRICS = "metrics.csv"
TRIALS = "trials.csv"
NORMS = "norms.json"
SUMMARY = "summary.json"  # the last that is written: with it the run is finished
REPORT = "report.html"
VARIABLES = "variables"
CHECKPOINTS = "checkpoints"  # to go on from; gone when the trials are done
SOURCE = "source"  # of the user's own functions, to be read
EARLIER = "earlier"  # what the run was before each of its extensions
PARTS = "parts"  # the folders of `jbn run --part`, each a run's
LOCK = "running"  # as long as a process trains for the run


def share_path(run_dir: Path, share: Share) -> Path:
    """Where a share of the run is trained: a run's folder, too."""
    return run_dir / PARTS / f"{share.number}-of-{share.among}"


def source_path(run_dir: Path, module: str) -> Path:
    """Where the source of a module with a function of the user's own is."""
    return run_dir / SOURCE / f"{module}.py"


def checkpoints_path(run_dir: Path, first_trial: int) -> Path:
    """Where the checkpoints of a turn are, named by its first trial."""
    return run_dir / CHECKPOINTS / str(first_trial)


def earlier_path(run_dir: Path, extension: int) -> Path:
    """Where the run is kept as it was before an extension, from 1: a run's folder, too."""
    return run_dir / EARLIER / str(extension)


def variables_path(run_dir: Path, arm: str, seed: int, *, best: bool = False) -> Path:
    """Where the variables of a trial are, after its last epoch or its best."""
    return run_dir / VARIABLES / arm / f"{seed}{'-best' if best else ''}.npz"
