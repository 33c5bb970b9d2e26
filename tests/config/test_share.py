"""The shares of a run's groups: each group is in one of them, and none has much more work."""

import itertools

import pytest

from jbn.config import (
    Share,
    UserError,
    config_from_dict,
    parse_share,
    plan,
    plan_groups,
    share_groups,
)


@pytest.fixture
def groups():
    """Programs of 7 trials, of 2 epochs and of 1, in groups of 3, 3 and 1."""
    config = config_from_dict(
        {
            "name": "x",
            "num_seeds": 7,
            "sweep": {"max_lanes": 3, "train": {"num_epochs": [2, 1]}},
            "arms": {"a": {}, "b": {"norm": {"kind": "none"}}},
        }
    )
    return plan_groups(plan(config), 3)


@pytest.mark.parametrize("among", range(1, 13))
def test_each_group_is_in_one_share(groups, among):
    shares = [share_groups(groups, Share(number + 1, among)) for number in range(among)]
    numbers = [[group.number for group in share] for share in shares]
    assert all(of == sorted(of) and of for of in numbers)
    assert sorted(itertools.chain(*numbers)) == list(range(12))


def test_shares_have_about_the_same_work(groups):
    """42 epochs of trials: 6, 6, 2, 3, 3 and 1 of each arm. Dealt in turn, they differ by more."""
    works = [
        sum(
            len(group.trials) * group.program.config.train.num_epochs
            for group in share_groups(groups, Share(number, 3))
        )
        for number in (1, 2, 3)
    ]
    assert works == [14, 14, 14]


def test_more_shares_than_groups_is_an_error_that_says_what_makes_more(groups):
    with pytest.raises(UserError, match=r"--part 2/13: this config has 12 groups of lanes, wanted"):
        share_groups(groups, Share(2, 13))
    with pytest.raises(UserError, match=r"has 1 group of lanes, .* a smaller sweep.max_lanes"):
        share_groups(groups[:1], Share(1, 2))


def test_a_share_is_written_with_a_slash():
    assert parse_share("2/8") == Share(2, 8)
    assert str(Share(2, 8)) == "2/8"
    for wrong in ("0/8", "9/8", "2", "2/", "a/b", "2/8/3", "-1/8", "2 / 8"):
        with pytest.raises(UserError, match="--part: found "):
            parse_share(wrong)
