"""The groups of a run shared out among machines that don't talk to each other."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jbn.config.errors import UserError
from jbn.config.plan import Group


class Share(NamedTuple):
    """One of the shares that a run is divided into: "2/8" in words."""

    number: int  # from 1
    among: int

    def __str__(self) -> str:
        return f"{self.number}/{self.among}"


def parse_share(text: str) -> Share:
    """The share that is meant by "2/8".

    Raises:
        UserError: the text means none.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--part: found {text!r}, wanted one such as 2/8, from 1/8 to 8/8")
    return Share(int(found[1]), int(found[2]))


def share_groups(groups: Sequence[Group], share: Share) -> list[Group]:
    """The groups of the share, in order. Each group is in one share, wherever this is asked.

    The groups with the most work, trials times epochs, are dealt out first, each to the share that
    has the least so far.

    Raises:
        UserError: there are fewer groups than shares.
    """
    if share.among > len(groups):
        raise UserError(
            f"--part {share}: this config has {len(groups)} group"
            f"{'s' if len(groups) > 1 else ''} of lanes, wanted at least {share.among}; a smaller "
            "sweep.max_lanes makes more"
        )
    shares: list[list[Group]] = [[] for _ in range(share.among)]
    loads = [0] * share.among
    for group in sorted(groups, key=_work, reverse=True):
        least = loads.index(min(loads))
        shares[least].append(group)
        loads[least] += _work(group)
    return sorted(shares[share.number - 1], key=lambda group: group.number)


def _work(group: Group) -> int:
    return len(group.trials) * group.program.config.train.num_epochs
