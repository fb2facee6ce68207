"""Experiments and configurations: validation, serialization, text, differences."""

import dataclasses
import json
import re

import flax.linen as nn
import jax.numpy as jnp
import optax
import pytest
from sample_recipe import NORM, WIDE_KEEP, Block, built, resolved

from jaxdl.config import describe, resolve
from jaxdl.config.experiment import build, validate
from jaxdl.config.serialize import accept, from_json, to_json
from jaxdl.config.settings import diff, fingerprint, settings
from jaxdl.config.text import ABSENT, changes, from_text, observes
from jaxdl.data.dataset import Dataset
from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError
from jaxdl.training.checkpoint import CheckpointPolicy

# Building and validation


def test_build_returns_the_experiment():
    experiment = built("steps=20", "parallel.mesh.fsdp=2")
    assert experiment.steps == 20
    assert experiment.keep == WIDE_KEEP
    assert experiment.parallel == Parallel(mesh={"data": -1, "fsdp": 2, "tensor": 1})
    assert experiment.data.augment == (RandomCrop(2), RandomFlip())
    assert [phase.name for phase in experiment.task.phases] == ["train"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=0", "steps is 0; expected at least 1"),
        ("accumulate=0", "accumulate is 0"),
        ("log_every=0", "log_every is 0"),
        ("seed=-1", "seed is -1"),
        ("accumulate=3", "data.batch_size=16 is not divisible by accumulate=3"),
        ("nonfinite=sikp", "nonfinite is 'sikp'; did you mean 'skip'"),
        ("ema=1", "ema is 1.0; expected above 0 and below 1"),
        ("keep.latest=0", "keep.latest is 0"),
        ("keep.mode=maximum", "keep.mode is 'maximum'"),
        ("select=bset", "select is 'bset'; did you mean 'best'"),
        ("select=best", "select='best' needs keep.metric and keep.best >= 1, but they are None and 1"),
        ("keep.metric=accuracy", "keep.metric is 'accuracy'; expected EVAL/NAME"),
        ("keep.metric=valid/accuracy", "does not match an eval of data.evals; did you mean 'validation'"),
        ("start.run=other", "start: "),
        ("task.label_smoothing=2", "task.label_smoothing is 2.0; expected at least 0 and below 1"),
        ("data.batch_size=-1", "data.batch_size"),
    ],
)
def test_invalid_experiment_raises_a_one_line_error(setting, message):
    config = resolved(setting)
    with pytest.raises(UserError) as raised:
        build(config)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_phases_and_optimizers_must_match_and_evals_have_their_own_names():
    good = built()
    sgd = optax.sgd(0.1)
    with pytest.raises(UserError, match="optimizers lacks the phase 'train' of the task; it has: generator"):
        validate(dataclasses.replace(good, optimizers={"generator": sgd}))
    with pytest.raises(
        UserError, match=r"optimizers.critic does not match a phase of the task; names that exist: train"
    ):
        validate(dataclasses.replace(good, optimizers={"train": sgd, "critic": sgd}))
    data = dataclasses.replace(good.data, evals={"train": Dataset("digits", "test")})
    with pytest.raises(UserError, match="has an eval 'train'"):
        validate(dataclasses.replace(good, data=data))
    for test in (Dataset("digits", "test"), None):
        data = dataclasses.replace(good.data, evals={"test": Dataset("digits", "test")}, test=test)
        with pytest.raises(UserError, match=r"has an eval 'test'; pass the test split as data\.test"):
            validate(dataclasses.replace(good, data=data))


def test_error_of_a_missing_argument_contains_its_path():
    config = resolved()
    del config.optimizers["train"][1].learning_rate
    with pytest.raises(UserError, match=r"^optimizers\.train\[1\]: sgd\(\) missing .*learning_rate"):
        build(config)


# Saving, fingerprints


def test_a_saved_configuration_loads_back_equal_and_builds_the_same():
    settings = ["steps=30", "task.model.width=3", "parallel.mesh.fsdp=2"]
    config = resolved(*settings)
    config.task.model.activation = nn.silu
    text = to_json(config, "", settings)
    accept(text)
    saved = from_json(text)
    assert saved.config == config
    assert saved.config.task.model.activation is nn.silu
    assert saved.overrides == tuple(settings)
    assert saved.fingerprint == fingerprint(config) == fingerprint(saved.config)
    assert describe(saved.config) == describe(config)
    assert build(saved.config).data == build(config).data
    assert "._src" not in text


@pytest.mark.parametrize(
    "value",
    [
        nn.relu,
        nn.gelu,
        jnp.tanh,
        jnp.bfloat16,
        jnp.dtype("bfloat16"),
        nn.initializers.zeros,
        NORM,
        Block(features=3),
        (CheckpointPolicy(latest=1), [CheckpointPolicy(metric="a/b")]),
        {"a": RandomCrop(2), "b": (1, None, True, 0.1, "x")},
        frozenset({1, 2}),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", repr(value)),
)
def test_values_of_recipes_are_saved(value):
    config = resolved()
    config.task.model.block = value
    config = resolve(config, [])
    text = to_json(config, "")
    accept(text)
    loaded = from_json(text).config
    assert loaded == config
    assert fingerprint(loaded) == fingerprint(config) != fingerprint(resolved())


def test_objects_created_outside_the_recipe_give_equal_configurations():
    inside, outside = resolved(), resolved()
    outside.data.train = Dataset("digits", split="train")
    assert resolve(outside, []) == inside
    assert fingerprint(outside) == fingerprint(inside)


@pytest.mark.parametrize("value", [lambda x: x, optax.constant_schedule(0.1), object(), jnp.ones(2)])
def test_values_without_a_public_name_cannot_be_saved(value):
    config = resolved()
    config.task.model.activation = value
    with pytest.raises(UserError, match=r"^task\.model\.activation is .*, which cannot be saved; ") as raised:
        to_json(config, "here")
    assert "\n" not in str(raised.value)


def test_fingerprint_ignores_reporting_settings_and_explicit_defaults():
    unchanged = fingerprint(resolved())
    for setting in (
        "log_every=7",
        "keep.latest=1",
        "parallel.mesh.fsdp=2",
        "data.threads=3",
        "data.workers=1",
        "data.eval_batch_size=4",
        "accumulate=1",
        "optimizers.train[1].nesterov=False",
        "task.model.rate=0",
    ):
        assert fingerprint(resolved(setting)) == unchanged, setting
    others = [
        fingerprint(resolved(setting))
        for setting in ("seed=1", "steps=101", "data.batch_size=8", "task.model.width=9", "data.evals={}")
    ]
    assert len({unchanged, *others}) == 6
    assert observes("keep.metric")
    assert observes("parallel")
    assert not observes("data.train")
    assert not observes("keeper")


def test_settings_that_choose_the_best_checkpoint_affect_results_if_it_is_selected():
    chosen = ["keep.metric=validation/loss", "select=best"]
    others = [[], ["keep.mode=min"], ["eval_every=7"], ["save_every=7"]]
    assert len({fingerprint(resolved(*chosen, *setting)) for setting in others}) == len(others)
    assert fingerprint(resolved(*chosen, "keep.latest=7", "log_every=7")) == fingerprint(resolved(*chosen))
    settings = [from_text(describe(resolved(*chosen, *setting))) for setting in (["keep.latest=3"], ["keep.mode=min"])]
    assert [row[0] for row in changes(*settings)] == ["keep.mode"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"recipe": "x"}'])
def test_damaged_config_json_raises(text):
    with pytest.raises(UserError, match=r"config\.json is not the config\.json of a run"):
        from_json(text)


def test_run_folders_of_another_version_are_refused_by_name():
    saved = json.loads(to_json(resolved(), "here"))
    without = {key: saved[key] for key in saved if key != "version"}
    for version, content in (("0.1", without), ("9.0", {**saved, "version": "9.0"})):
        with pytest.raises(UserError, match=f"written by jaxdl {version}, and this is jaxdl 0.2; use jaxdl {version}"):
            from_json(json.dumps(content))


def test_config_json_with_missing_code_raises():
    text = to_json(resolved(), "").replace('"ImageClassification"', '"GoneClassification"')
    accept(text)
    with pytest.raises(UserError, match=r"does not match the installed code: .*GoneClassification") as raised:
        from_json(text)
    assert "\n" not in str(raised.value)


# Text and differences


def test_the_text_shows_every_argument_and_marks_defaults():
    lines = describe(resolved()).splitlines()
    for line in (
        "experiment = jaxdl.config.experiment.Experiment(...)",
        "task.model.width = 8",
        "task.model.activation = jax.nn.relu",
        "task.model.rate = 0.0  # default",
        "optimizers.train[1].learning_rate.peak_value = 0.4",
        "optimizers.train[1].nesterov = False  # default",
        "data.augment[1] = jaxdl.data.image.transforms.RandomFlip(...)",
        "data.evals['en-de'].examples = 8",
        "parallel.mesh = {'data': -1, 'fsdp': 1, 'tensor': 1}  # default",
        "seed = 0  # default",
    ):
        assert line in lines
    assert not any(" at 0x" in line or ".parent" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_the_text_parses_to_the_settings():
    config = resolved("split='a = b'")
    assert from_text(describe(config)) == settings(config)
    with pytest.raises(ValueError, match="'steps: 3' is not a setting"):
        from_text("steps: 3")


def test_plain_values_in_the_text_can_be_set_by_their_path():
    config = resolved()
    plain = [setting for setting in settings(config) if setting.value[0] in "0123456789'[({"]
    assert len(plain) > 20
    for setting in plain:
        restored = resolve(resolved(), [f"{setting.path}={setting.value}"])
        assert diff(config, restored) == [], setting
        assert fingerprint(config) == fingerprint(restored), setting


def test_diff_lists_only_differences():
    assert diff(resolved(), resolved("seed=0")) == []
    assert diff(resolved(), resolved("seed=3", "task.model.dtype=float32")) == [
        ("task.model.dtype", "jax.numpy.bfloat16", "'float32'"),
        ("seed", "0", "3"),
    ]
    altered = resolved("optimizers.train[1].learning_rate=0.1")
    rows = {path: (a, b) for path, a, b in diff(resolved(), altered)}
    path = "optimizers.train[1].learning_rate"
    assert rows[path][1] == "0.1"
    assert rows[f"{path}.peak_value"] == ("0.4", ABSENT)
    assert f"{path}.end_value" not in rows


def test_saved_json_is_plain():
    tree = json.loads(to_json(resolved(), "here", ["seed=0"]))
    assert sorted(tree) == ["config", "fingerprint", "overrides", "recipe", "version"]
