"""Configs: what a file means, and what its mistakes are told as."""

from pathlib import Path

import pytest

from jbn.config import (
    ArmConfig,
    Config,
    UserError,
    config_from_dict,
    find_config,
    load_config,
)

pytestmark = pytest.mark.quick

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.toml"))
ARTICLE = next(path for path in CONFIGS if path.name == "article.toml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads(path):
    config = load_config(path)
    assert config.arms
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_article_is_as_written():
    arm = load_config(ARTICLE).arms["batch_norm"]
    assert arm.model.hidden_sizes == (128, 64)
    assert (arm.norm.momentum, arm.norm.epsilon) == (0.99, 1e-3)
    assert (arm.train.num_epochs, arm.train.batch_size) == (10, 32)
    assert arm.optimizer.learning_rate == 1e-3


def test_the_packaged_digits_are_the_article():
    packaged = find_config(Path("digits"))
    texts = [path.read_text() for path in (packaged, ARTICLE)]
    assert load_config(packaged) == load_config(ARTICLE)
    assert len({text[text.index("\nname = ") :] for text in texts}) == 1


def test_an_editor_may_sign_its_text_as_utf_8(tmp_path):
    (tmp_path / "signed.toml").write_text('name = "signed"\n', encoding="utf-8-sig")
    assert load_config(tmp_path / "signed.toml").name == "signed"


def test_a_file_goes_before_a_packaged_config_and_a_folder_after_it(tmp_path, monkeypatch):
    packaged = find_config(Path("digits"))
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert find_config(Path("digits")) == packaged
    Path("digits").rmdir()
    Path("digits").write_text('name = "mine"\n')
    assert load_config(find_config(Path("digits"))).name == "mine"


def test_the_customised_layer_differs_in_momentum_and_epsilon_alone():
    article = load_config(ARTICLE).model_dump()
    custom = load_config(ARTICLE.with_name("article_custom.toml")).model_dump()
    for arm in custom["arms"].values():
        assert (arm["norm"].pop("momentum"), arm["norm"].pop("epsilon")) == (0.9, 1e-5)
    for arm in article["arms"].values():
        del arm["norm"]["momentum"], arm["norm"]["epsilon"]
    assert article["arms"] == custom["arms"]


def test_an_arm_changes_what_it_names_and_no_more():
    config = config_from_dict(
        {
            "name": "x",
            "norm": {"momentum": 0.5},
            "arms": {"a": {}, "b": {"norm": {"epsilon": 0.5}, "train": {"num_epochs": 1}}},
        }
    )
    assert config.arms["a"].norm.momentum == config.arms["b"].norm.momentum == 0.5
    assert (config.arms["a"].norm.epsilon, config.arms["b"].norm.epsilon) == (1e-3, 0.5)
    assert (config.arms["a"].train.num_epochs, config.arms["b"].train.num_epochs) == (10, 1)


def test_without_arms_there_is_one_named_after_its_norm():
    config = config_from_dict({"name": "x", "norm": {"kind": "none"}})
    assert list(config.arms) == ["none"]


def test_overrides_are_toml_values_or_text():
    overrides = ["optimizer.learning_rate=0.5", "norm.kind=none", "model.hidden_sizes=[3]"]
    config = load_config(ARTICLE, overrides)
    arm = config.arms["batch_norm"]
    assert arm.optimizer.learning_rate == 0.5
    assert arm.norm.kind == "none"
    assert arm.model.hidden_sizes == (3,)


def test_none_unsets_a_key_that_has_no_value_by_default():
    shared = {
        "data": {"name": "csv", "path": "a.csv", "dir": "b"},
        "model": {"factory": "a.b:c"},
        "optimizer": {"clip_norm": 1.0},
        "train": {"ema_decay": 0.99},
    }
    unset = {
        "data": {"name": "digits", "path": "none", "dir": "none"},
        "model": {"factory": "none"},
        "optimizer": {"clip_norm": "none"},
        "train": {"ema_decay": "none"},
    }
    config = config_from_dict({"name": "x", **shared, "arms": {"a": {}, "b": unset}})
    assert config.arms["a"].model.factory == "a.b:c"
    assert config.arms["b"] == ArmConfig()
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_configs_are_hashable_and_frozen():
    arm = load_config(ARTICLE).arms["batch_norm"]
    assert hash(arm) == hash(arm.model_copy())
    with pytest.raises(ValueError, match="frozen"):
        arm.norm.momentum = 0.5


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("norm.epz=1", "norm.epz: unknown key, did you mean norm.epsilon?"),
        ("model.hiden_sizes=1", "model.hiden_sizes: unknown key, did you mean model.hidden_sizes?"),
        (
            "model.momentum=1",
            "model.momentum: unknown key, did you mean norm.momentum or optimizer.momentum?",
        ),
        ("learning_rate=1", "learning_rate: unknown key, did you mean optimizer.learning_rate?"),
        ("mode=zip", "mode: unknown key, did you mean sweep.mode?"),
        (
            "devices.batch=any",
            "devices.batch: found 'any', wanted a number of devices from 1, or \"all\"",
        ),
        (
            "checkpoint.minutes=1",
            "checkpoint.minutes: unknown key, did you mean checkpoint.every_minutes?",
        ),
        (
            "data.augment.shfit=1",
            "data.augment.shfit: unknown key, did you mean data.augment.shift?",
        ),
        (
            "data.mixture.drift=-1",
            "data.mixture.drift: found -1, wanted greater than or equal to 0",
        ),
        ("data.augment=3", "data.augment: found 3, wanted a section, [data.augment]"),
        ("zzz=1", "zzz: unknown key, known here: "),
        ("norm.momentum='a'", "norm.momentum: found 'a', wanted a valid number"),
        ("norm.momentum=1.5", "norm.momentum: found 1.5, wanted less than or equal to 1"),
        ("norm.epsilon=-1.0", "norm.epsilon: found -1.0, wanted greater than or equal to 0"),
        ("norm.epsilon=nan", "norm.epsilon: found nan, wanted a finite number"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate: found inf, wanted a finite"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate: found 0, wanted greater than 0"),
        ("norm.use_bias=1", "norm.use_bias: found 1, wanted a valid boolean"),
        ("norm.kind=batchh", "norm.kind: found 'batchh', wanted 'batch', 'ghost', 'renorm', 'lay"),
        (
            "norm.virtual_batch_size=1",
            "norm.virtual_batch_size: found 1, wanted greater than or eq",
        ),
        ("norm.num_plain_steps=-1", "norm.num_plain_steps: found -1, wanted greater than or equal"),
        ("train.batch_size=0", "train.batch_size: found 0, wanted greater than or equal to 1"),
        ("data.normalize=max", "data.normalize: found 'max', wanted 'none', 'standardize' or 'mi"),
        ("train.num_epochs=1.5", "train.num_epochs: found 1.5, wanted a valid integer"),
        ("train.batch_size=true", "train.batch_size: found True, wanted a valid integer"),
        ("model.hidden_sizes=[0]", "model.hidden_sizes.0: found 0, wanted greater than or equal"),
        ("data.name=imagenet", "data.name: found 'imagenet', wanted 'digits', 'breast_cancer', "),
        ("data.name=csv", "data.path: missing, wanted the file to read as csv"),
        ("data.path=a.csv", "data.path: found 'a.csv', which 'digits' doesn't read; wanted data."),
        ("optimizer.kind=rmsprop", "optimizer.kind: found 'rmsprop', wanted 'sgd', 'momentum', "),
        (
            "optimizer.weight_decay=0.1",
            "optimizer.weight_decay: found 0.1, which adam hasn't; wanted 0, or optimizer.kind",
        ),
        ("optimizer.clip_norm=0", "optimizer.clip_norm: found 0, wanted greater than 0"),
        ("train.ema_decay=1", "train.ema_decay: found 1, wanted less than 1"),
        (
            "model={factory='a:b', dtype='bfloat16'}",
            "model.dtype: found 'bfloat16', which a factory's model decides itself; wanted 'float",
        ),
        (
            f"model.hidden_sizes={'9' * 5000}",
            "model.hidden_sizes: found '99999999999999999999999999",
        ),
        (f"model.num_filters=0x{'9' * 5000}", "model.num_filters: found a number of thousands of"),
        (f"seed={'[' * 5000}", "seed: found '[[[[[[[[[[[[[[["),
        ("model.hidden_sizes=3", "model.hidden_sizes: found 3, wanted a list of integers, e.g. ["),
        ("norm=3", "norm: found 3, wanted a section, [norm]"),
        ("arms=3", "arms: found 3, wanted sections, [arms.<name>]"),
        ("arms.no_norm=3", "arms.no_norm: found 3, wanted a section, [arms.no_norm]"),
        (
            "arms.no_norm.norm.kid=3",
            "arms.no_norm.norm.kid: unknown key, did you mean norm.kind?",
        ),
        ("name=../x", "name: found '../x', wanted at most 100 letters"),
        ("seed=-1", "seed: found -1, wanted greater than or equal to 0"),
        ("model={factory='a'}", "model.factory: found 'a', wanted \"package.module:function\""),
        (
            "model={factory='..:b'}",
            "model.factory: found '..:b', wanted \"package.module:function\"",
        ),
        ("optimizer.learning_rate=1e39", "optimizer.learning_rate: found 1e+39, wanted less than"),
        (
            "arms.bach_norm.norm.epsilon=1",
            "--set arms.bach_norm.norm.epsilon=1: no such arm, did you",
        ),
        ("seed=1\nname='x'", "--set \"seed=1\\nname='x'\": wanted one key=value; give --set again"),
        ("norm", "--set norm: wanted key=value, e.g. optimizer.learning_rate=0.01"),
        ("name.x=3", "--set name.x=3: name is a value, not a section"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(override, line):
    with pytest.raises(UserError) as error:
        load_config(ARTICLE, [override])
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_all_mistakes_are_named_at_once():
    overrides = ["norm.epz=1", "norm.momentum=2.0", "seed=-1", "arms.no_norm.train.num_epochs=0"]
    with pytest.raises(UserError) as error:
        load_config(ARTICLE, overrides)
    lines = str(error.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        "arms.no_norm.train.num_epochs",
        "norm.epz",
        "norm.momentum",
        "seed",
    ]


def test_a_misfit_is_named_with_its_arm_where_another_arm_has_none():
    arms = {"a": {}, "b": {"optimizer": {"kind": "adamw"}}}
    shared = {"name": "x", "optimizer": {"weight_decay": 0.1}, "arms": arms}
    with pytest.raises(UserError, match=r"^arms\.a: optimizer\.weight_decay: found 0\.1, which"):
        config_from_dict(shared)


def test_a_norm_that_does_not_fit_the_model_is_named():
    groups = {"name": "x", "norm": {"kind": "group", "num_groups": 12}}
    wanted = r"found 12, wanted a divisor of each of model.hidden_sizes, \[128, 64\]"
    with pytest.raises(UserError, match="^norm.num_groups: " + wanted):
        config_from_dict(groups)
    arms = {"fits": {"model": {"hidden_sizes": [24]}}, "not": {}}
    with pytest.raises(UserError, match="^arms.not: norm.num_groups: " + wanted):
        config_from_dict({**groups, "arms": arms})
    with pytest.raises(UserError, match=r"norm\.kind: found 'instance', which makes 0"):
        config_from_dict({"name": "x", "norm": {"kind": "instance"}})
    ghost = {"name": "x", "norm": {"kind": "ghost"}, "train": {"batch_size": 48}}
    wanted = "found 32, wanted a divisor of train.batch_size, 48, or a larger number"
    with pytest.raises(UserError, match="^norm.virtual_batch_size: " + wanted):
        config_from_dict(ghost)
    for batch_size in (2, 31, 64):
        config_from_dict({**ghost, "train": {"batch_size": batch_size}})
    with pytest.raises(UserError, match=r"^train\.batch_size: found 1, in which each"):
        config_from_dict({**ghost, "train": {"batch_size": 1}})
    for other in ({"norm": {"kind": "layer"}}, {"model": {"kind": "cnn"}}):
        config_from_dict({**ghost, "train": {"batch_size": 1}, **other})
    own = {"norm": {"kind": "instance"}, "model": {"factory": "a:b"}}
    assert config_from_dict({"name": "x", **own}).arms["instance"].norm.kind == "instance"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"name = ", "not TOML: "),
        (
            b"[train]\n[model]\n[train]\n",
            "twice .*; put all keys of a section under its first line",
        ),
        (b"\xff\xfe\x00", "found bytes that are no UTF-8 text, wanted a TOML file"),
        (b"", "missing, wanted text"),
        (b"seed = " + b"9" * 5000, "not TOML: .* value has 5000 digits$"),
        (b"seed = " + b"[" * 5000, "not TOML: "),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, content, line):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=line):
        load_config(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "x.toml")
    with pytest.raises(UserError, match="found a folder"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [(".001", 0.001), ("1.", 1.0), ("-.5", -0.5), ("1.e-3", 0.001), (".5e2", 50.0), ("2", 2)],
)
def test_numbers_may_be_written_as_people_type_them(text, value):
    config = load_config(ARTICLE, [f"data.input_scale={text}"] if value > 0 else [])
    if value > 0:
        assert config.arms["batch_norm"].data.input_scale == value
    else:
        with pytest.raises(UserError, match=r"found -0\.5"):
            load_config(ARTICLE, [f"data.input_scale={text}"])


def test_booleans_and_lists_may_be_written_as_in_python():
    config = load_config(ARTICLE, ["norm.use_bias=False"], ["norm.momentum=[.5, 1.]"])
    assert config.arms["batch_norm"].norm.use_bias is False
    assert config.sweep.axes["norm.momentum"] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("train.epochs", "train.num_epochs"),
        ("bs", "train.batch_size"),
        ("bn", "norm"),
    ],
)
def test_names_that_others_use_are_understood(key, meant):
    with pytest.raises(UserError, match=rf"unknown key, did you mean {meant}\?"):
        load_config(ARTICLE, [f"{key}=1"])
