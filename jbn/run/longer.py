"""A run whose trainings become longer: whether they may, and which begin again."""

from collections.abc import Collection, Sequence
from pathlib import Path

from jbn.config import Config, Group, Program, UserError
from jbn.run.compiler import Compiler
from jbn.store import Checkpoints, Folder, longer_arms
from jbn.train import depends_on_length


def check_longer(
    programs: Sequence[Program], compiler: Compiler, out: Path, config: Config
) -> None:
    """Raises UserError where a training that goes on from its end isn't the longer one."""
    longer: Collection[str] = longer_arms(out, config)
    for program in programs:
        key = depends_on_length(program.config, compiler.task_of(program).parts)
        if program.arm in longer and key is not None:
            raise UserError(
                f"{out}: can't be extended to more epochs: {key} of arm {program.arm!r} "
                "depends on their number from the first step on; choose another folder with --out"
            )


def begin_anew(groups: Sequence[Group], folder: Folder, checkpoints: Checkpoints) -> str | None:
    """What to say where trainings were shorter, and kept no state to go on from."""
    labels = [
        group.program.label
        for group in groups
        if any(trial.number in folder.outgrown for trial in group.trials)
        and not any(checkpoints.has(trial.number) for trial in group.trials)
    ]
    if not labels:
        return None
    return (
        f"{', '.join(dict.fromkeys(labels))}: no state was kept at the end, as it is where nothing "
        "was saved before; the trainings begin again, and come to the same numbers"
    )
