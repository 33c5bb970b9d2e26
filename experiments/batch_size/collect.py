"""The two sweeps: of batches, and of single examples."""

from pathlib import Path

from grids import Grid, run_sweep

HERE = Path(__file__).parent


def collect(data: str | None = None) -> tuple[Grid, Grid]:
    """Runs them; on another data set, if one is named."""
    return run_sweep(HERE / "config.toml", data), run_sweep(HERE / "one.toml", data)
