"""A run that several processes share, each with a folder of its own; and one run made of these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jbn import store
from jbn.config import Config, Group, Share, UserError, plan, plan_groups, share_groups
from jbn.config.functions import lies_in
from jbn.run.events import Sink, say
from jbn.run.run import run

_MOST_SHOWN = 10  # groups


def run_share(
    config: Config, out: str | Path, share: Share, *, sinks: Sequence[Sink], **options: Any
) -> dict[str, Any]:
    """Trains a share of the run in its folder, then shares there whose processes are gone.

    The process that ends the last share makes one run of all, in `out`.

    Args:
        config: of the whole run.
        out: the folder of the whole run.
        share: of its groups. The others may be trained at the same time.
        sinks: as those of `run`.
        options: as those of `run`.

    Returns:
        The summary of the whole run; an empty one where it isn't finished yet.

    Raises:
        UserError: as `run`; or `out` has shares of another number, or results without shares.
    """
    out, groups = Path(out), _groups(config)
    share_groups(groups, share)  # raises where there are too few
    if store.is_finished(out):
        store.check_config(out, config)
        say(sinks, f"{out} is finished: nothing is left for part {share}")
        return store.read_summary(out)
    for path in store.read_shares(out).values():
        store.check_config(path, config)
    if others := [other for other in store.read_shares(out) if other.among != share.among]:
        raise UserError(
            f"--part {share}: {out} has parts of {others[0].among}; wanted one of these, or "
            "another folder with --out"
        )
    shares = [Share(number + 1, share.among) for number in range(share.among)]
    are_all_done = all(_is_done(out, one, groups) for one in shares)
    is_one_run = store.read_trials(out) or store.in_use(store.share_path(out, share).parent)
    if is_one_run and not are_all_done:
        raise UserError(f"{out}: goes on as one run; give the command without --part")

    for one in shares[share.number - 1 :] + shares[: share.number - 1]:
        path = store.share_path(out, one)
        is_left = one in store.read_shares(out) and not store.in_use(path)
        if (one == share or is_left) and not _is_done(out, one, groups):
            say(sinks, f"part {one}: results go to {path}")
            try:
                run(config, path, sinks=sinks, share=one, **options)
            except store.FolderInUse as error:
                say(sinks, str(error))

    num_done = sum(_is_done(out, one, groups) for one in shares)
    if num_done == share.among:
        try:
            with store.lock_of_parts(out):
                if store.is_finished(out):
                    return store.read_summary(out)
                say(sinks, f"{out}: all parts are done; one run is made of them")
                if not store.read_trials(out):  # else it was made, and its process was stopped
                    store.merge(out, [out])
                return run(config, out, sinks=sinks, **options)
        except store.FolderInUse:  # by another process that makes one run of the parts
            return {}
    say(
        sinks,
        f"{out}: {num_done} of {share.among} parts are done here; the last to end makes one run of "
        f"them; where they have no disk in common, jbn merge {out} FOLDER... does",
    )
    return {}


def run_whole(
    config: Config, out: str | Path, *, sinks: Sequence[Sink], **options: Any
) -> dict[str, Any]:
    """As `run`; it goes on with what shares of the run have come to in the folder.

    Raises:
        UserError: as `run`; or a share is trained at this moment.
    """
    out = Path(out)
    shares = store.read_shares(out)
    for share, path in shares.items():
        if store.in_use(path):
            raise UserError(f"{out}: its part {share} is going on; wait for it")
    if not shares or store.read_trials(out):
        return run(config, out, sinks=sinks, **options)
    groups = _groups(config)
    with store.lock_of_parts(out):
        for path in shares.values():
            store.check_config(path, config)
        for share, path in shares.items():
            if not _is_done(out, share, groups):
                say(sinks, f"part {share}: results go to {path}")
                run(config, path, sinks=sinks, share=share, **options)
        store.merge(out, [out])
        return run(config, out, sinks=sinks, **options)


def run_merged(
    out: str | Path, folders: Sequence[str | Path], *, sinks: Sequence[Sink], **options: Any
) -> dict[str, Any]:
    """Makes one run of folders that shares of it were trained in.

    Args:
        out: the run's folder.
        folders: of shares, or with shares in them.
        sinks: as those of `run`.
        options: as those of `run`.

    Returns:
        The summary of the run; an empty one where trials are missing, which is said.

    Raises:
        UserError: as `jbn.store.merge`.
    """
    out, of_shares = Path(out), [Path(folder) for folder in folders]
    config = store.merge(out, of_shares)
    for path in config.own_functions:
        if any(lies_in(folder, path) for folder in (out, *of_shares)):
            raise UserError(
                f"{out}: {path} would be imported from a run's folder, where nothing is executed; "
                "give jbn run the config, beside a module of yours"
            )
    done, groups = store.done_trials(out), _groups(config)
    missing = [group.number for group in groups if not _numbers([group]) <= done]
    if not missing:
        return run(config, out, sinks=sinks, **options)
    shown = ", ".join(map(str, missing[:_MOST_SHOWN]))
    more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
    say(
        sinks,
        f"{out}: {len(done)} of {len(_numbers(groups))} trials are here; of group {shown}{more} "
        f"some are missing: jbn run CONFIG --out {out} trains them",
    )
    return {}


def _is_done(out: Path, share: Share, groups: Sequence[Group]) -> bool:
    """Whether all of the share is trained, of these groups."""
    done = store.done_trials(store.share_path(out, share))
    return _numbers(share_groups(groups, share)) <= done


def _groups(config: Config) -> list[Group]:
    return plan_groups(plan(config), config.sweep.max_lanes)


def _numbers(groups: Sequence[Group]) -> set[int]:
    """Those of the groups' trials."""
    return {trial.number for group in groups for trial in group.trials}
