"""The config that `jbn init` writes: it loads as it is, and so does every line that it offers."""

import re
import tomllib

import pytest

from jbn.config import ArmConfig, Config, UserError, config_from_dict, load_config, write_template
from jbn.config.explain import paths

pytestmark = pytest.mark.quick

OFFERED = re.compile(r"^# ([a-z_.]+ = )", re.MULTILINE)


def flat(table, prefix=""):
    """From dotted keys to values."""
    found = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


@pytest.fixture
def text(tmp_path):
    write_template(tmp_path / "first.toml")
    return (tmp_path / "first.toml").read_text()


def test_it_compares_batch_norm_with_none_at_the_defaults(tmp_path):
    write_template(tmp_path / "first.toml")
    config = load_config(tmp_path / "first.toml")
    without = ArmConfig.model_validate({"norm": {"kind": "none"}})
    assert config.arms == {"batch_norm": ArmConfig(), "no_norm": without}
    changed = {"name": "first", "num_seeds": 4, "arms": config.arms}
    assert config == Config.model_validate(changed)


def test_the_lines_that_it_offers_have_the_defaults(text):
    """All of them, uncommented, are the same config but for the sweep."""
    offered = OFFERED.sub(r"\1", text)
    assert len(OFFERED.findall(text)) > 25
    table = tomllib.loads(offered)
    assert table.pop("sweep")
    everything, as_it_is = config_from_dict(table), config_from_dict(tomllib.loads(text))
    assert everything == as_it_is
    assert config_from_dict(tomllib.loads(offered)).sweep.axes
    keys = flat(table)
    known = {*paths(ArmConfig), *paths(Config), "arms.no_norm.norm.kind"}
    assert set(keys) <= known


def test_every_key_has_a_comment_and_every_line_is_short(text):
    for line in text.splitlines():
        assert len(line) <= 100
        if re.match(r"(# )?[a-z_.]+ = ", line) and not line.startswith("norm.kind"):
            assert re.search(r' # [\w"]', line), line


def test_it_overwrites_nothing_and_says_what_is_wrong(tmp_path):
    path = tmp_path / "first.toml"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"first.toml: found a file or folder of this name; wanted"):
        write_template(path)
    assert path.read_text() == "mine"
    with pytest.raises(UserError, match=r"a.toml: can't be written: No such file or directory"):
        write_template(tmp_path / "nowhere" / "a.toml")
