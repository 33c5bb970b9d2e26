"""What jbn does on this device, in a few minutes: is it right, and how fast.

    python experiments/bench/accelerator.py
    python experiments/bench/accelerator.py --only layer,resnet --seconds 400

It needs jax, flax, optax, jaxtyping, pydantic and this checkout; no network, and no data: it makes
its own. PyTorch is compared where it is installed. Each section has two minutes, compilation
included, or its share of `--seconds`: no row begins after that. Rows are written as they come, to
`results/<device>/<section>.json` beside this file. It ends with code 1 where a check of the section
`correctness` fails, or a section breaks off; the others run all the same.
"""

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import get_args

# Leaves room for PyTorch on the same device.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.6")
sys.path.insert(0, str(Path(__file__).parents[2]))  # this checkout's jbn, installed or not

import jax
from in_turn import environment
from sections import Size, correctness, engine, layer, resnet
from sections.pytorch import torch_version

from jbn.environment import use_all_cores

SECTIONS = {
    "correctness": correctness.rows,
    "layer": layer.rows,
    "resnet": resnet.rows,
    "engine": engine.rows,
}
SECTION_SECONDS = 120
RESULTS = Path(__file__).parent / "results"


def run(names: list[str], size: Size, seconds: float, out: Path) -> bool:
    """Runs the sections, writes their rows below `out`; False where a check or a section failed."""
    right = True
    for name in names:
        result = {
            "command": "python experiments/bench/accelerator.py",
            "environment": environment(**torch_version()),
            "size": size,
            "complete": False,
            "rows": [],
        }
        path = out / f"{name}.json"
        clock = time.perf_counter()
        try:
            for row in SECTIONS[name](size):
                row["seconds"] = round(time.perf_counter() - clock, 1)  # since the section began
                print(name, json.dumps(row), flush=True)
                result["rows"].append(row)
                right = right and row.get("right", True)
                _write(path, result)
                if row["seconds"] > min(SECTION_SECONDS, seconds / len(names)):
                    break
            else:
                result["complete"] = True
        except Exception as error:  # the other sections shall have their time
            traceback.print_exc()
            result["error"] = f"{type(error).__name__}: {error}"
            right = False
        _write(path, result)
    return right


def _write(path: Path, result: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def device_folder() -> str:
    """The device's name as a folder's, e.g. "cpu" or "nvidia-h100-80gb-hbm3"."""
    return jax.devices()[0].device_kind.lower().replace(" ", "-")


def main() -> None:
    """Reads the arguments, and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--seconds", type=float, default=SECTION_SECONDS * len(SECTIONS))
    parser.add_argument("--size", choices=get_args(Size), help="of the work; as the device is")
    parser.add_argument("--out", type=Path, default=None, help="the folder; results/<device>")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"--only: found {', '.join(sorted(unknown))}, wanted {', '.join(SECTIONS)}")
    use_all_cores()
    size = arguments.size or ("small" if jax.default_backend() == "cpu" else "full")
    right = run(names, size, arguments.seconds, arguments.out or RESULTS / device_folder())
    if not right:
        sys.exit('Failed: see "right": false in correctness.json, "error" in the other files.')


if __name__ == "__main__":
    main()
