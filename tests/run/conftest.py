"""Programs that runs share, since to compile them is most of what a test of runs costs."""

import pytest

from jbn import train
from jbn.run import compiler as compiling
from jbn.run.compiler import Compiler
from jbn.train import axes_of_lanes


@pytest.fixture(scope="module")
def programs_compiled_once():
    """A run finds the programs that another of the module compiled, as within one run."""
    built, in_parts = {}, {}
    build, compile_in_parts = Compiler._build, train.compile_in_parts

    def build_once(self, key, parts):
        place = self._devices, key, *parts
        if repr(place) not in built:
            built[repr(place)] = build(self, key, parts)
        return built[repr(place)]

    def in_parts_once(task, program, dataset, num_lanes, devices, **options):
        differs = task.config, axes_of_lanes(program), dataset.sha256, num_lanes, devices, options
        place = repr(differs)
        if place not in in_parts:
            in_parts[place] = compile_in_parts(
                task, program, dataset, num_lanes, devices, **options
            )
        return in_parts[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compiler, "_build", build_once)
        patch.setattr(compiling, "compile_in_parts", in_parts_once)
        yield
