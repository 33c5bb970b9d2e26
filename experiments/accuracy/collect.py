"""The three sweeps."""

from pathlib import Path

from grids import Grid, run_sweep

HERE = Path(__file__).parent


def collect(data: str | None = None) -> dict[str, Grid]:
    """Runs them, by what is trained on what; on another data set, if one is named."""
    tables = run_sweep(HERE / "config.toml", data)
    names = tables.axes["data.name"]
    found = {f"MLP, {name}": _at(tables, place) for place, name in enumerate(names)}
    found[f"CNN, {data or 'digits'}"] = run_sweep(HERE / "cnn.toml", data)
    return found if data else found | {"MLP, mnist": run_sweep(HERE / "mnist.toml")}


def _at(grid: Grid, place: int) -> Grid:
    """One value of the first axis."""
    axes = dict(list(grid.axes.items())[1:])
    return Grid(grid.arms, axes, *(values[:, place] for values in grid[2:]))
