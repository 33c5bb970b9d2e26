"""The sections of the accelerator bench: each yields its rows, the most telling first."""

from typing import Any, Literal

Row = dict[str, Any]
# tiny: the tests'; small: for a CPU; full: for an accelerator.
Size = Literal["tiny", "small", "full"]
