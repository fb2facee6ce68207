"""Ranges of arguments: every number of every recipe is accepted or refused in one line before anything runs."""

import math
from typing import Annotated

import fiddle as fdl
import flax.linen as nn
import jax.numpy as jnp
import optax
import pytest
from fiddle import daglish
from sample_recipe import built, resolved

from jaxdl.config import resolve
from jaxdl.config.experiment import build, validate
from jaxdl.config.ranges import Range, check
from jaxdl.config.recipes import recipes, repository_root
from jaxdl.config.settings import argument_names, as_config, default_of
from jaxdl.errors import UserError
from jaxdl.models.convnet import ConvNet
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.models.gan import DCGANGenerator
from jaxdl.models.resnet import ResNet
from jaxdl.models.speech import SpeechRecognizer
from jaxdl.models.unet import UNet
from jaxdl.training.optimizers import adamw

EXTREMES = (-1, 0, math.nan, math.inf, 10**12)
TRIED: set[tuple] = set()  # (function, argument): recipes share most of them, and each build takes time


def is_numeric(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_numeric, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def like(value, extreme):
    return type(value)(like(item, extreme) for item in value) if isinstance(value, (list, tuple)) else extreme


def numeric_arguments(config):
    """Every call with the names of its numeric arguments, defaults included."""
    for node, _ in daglish.iterate(config):
        if isinstance(node, fdl.Buildable):
            for name in argument_names(node):
                value = node.__arguments__.get(name, default_of(node, name))
                if is_numeric(value):
                    yield node, name, value


def outcome(function, config):
    """The message with which `function` refuses the configuration; "" if it accepts it."""
    try:
        function(config)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("recipe", [recipe.name for recipe in recipes(repository_root())])
def test_every_number_is_accepted_or_refused_in_one_line(recipe):
    config = resolve(recipe)
    assert outcome(build, config) == ""
    for node, name, value in list(numeric_arguments(config)):
        argument = (fdl.get_callable(node), name)
        if argument in TRIED:
            continue
        TRIED.add(argument)
        before = dict(node.__arguments__)
        for extreme in EXTREMES:
            setattr(node, name, like(value, extreme))
            message = outcome(check, node)
            if message:
                assert name in message
                assert str(extreme) in message
            else:
                assert math.isfinite(extreme), f"{argument}: {extreme} is accepted"
                message = outcome(build, config)
            assert "\n" not in message
        if name in before:
            setattr(node, name, before[name])
        else:
            delattr(node, name)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("steps", "abc", "steps is 'abc'; expected an int"),
        ("steps", 10.5, "steps is 10.5; expected an int"),
        ("steps", True, "steps is True; expected an int"),
        ("seed", 2**32, "seed is 4294967296; expected at least 0 and at most 4294967295"),
        ("seed", -1, "seed is -1; expected at least 0"),
        ("seed", None, "seed is None; expected an int"),
        ("steps", 2**31, "steps is 2147483648; expected at least 1 and at most 2147483647"),
        ("ema", 1.0, "ema is 1.0; expected above 0 and below 1"),
        ("log_every", 0, "log_every is 0; expected at least 1"),
        ("data.batch_size", 0, "data.batch_size is 0; expected at least 1"),
        ("data.eval_batch_size", -4, "data.eval_batch_size is -4; expected at least 1"),
        ("data.threads", -1, "data.threads is -1; expected at least 0"),
        ("data.augment[0].padding", -2, "data.augment[0].padding is -2; expected at least 0"),
        ("data.evals['en-de'].examples", 0, "data.evals['en-de'].examples is 0; expected at least 1"),
        ("task.label_smoothing", math.nan, "task.label_smoothing is nan; expected at least 0 and below 1"),
        ("keep.latest", 0, "keep.latest is 0; expected at least 1"),
        ("nonfinite", 3, "nonfinite is 3; expected a string"),
    ],
)
def test_the_message_has_the_path_the_value_and_the_range(path, value, message):
    config = resolved()
    *parents, name = daglish_path(path)
    node = config
    for parent in parents:
        node = getattr(node, parent) if isinstance(parent, str) and hasattr(node, parent) else node[parent]
    setattr(node, name, value)
    with pytest.raises(UserError) as raised:
        build(config)
    assert str(raised.value) == message


def daglish_path(path):
    """Splits `a.b[0]['c'].d` into names, positions and keys."""
    parts = path.replace("[", ".[").split(".")
    return [eval(part[1:-1]) if part.startswith("[") else part for part in parts]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected at least 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf; expected at least 0"),
        ({"b2": 1.0}, "b2 is 1.0; expected at least 0 and below 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected at least 0"),
        ({"clip_norm": math.nan}, "clip_norm is nan; expected at least 0"),
        ({"scales": {"head": -0.5}}, "scales.head is -0.5; expected at least 0"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
    ],
)
def test_arguments_of_optimizers_are_checked(changes, message):
    config = fdl.Config(adamw, **{"learning_rate": 1e-3, "steps": 10, **changes})
    with pytest.raises(UserError) as raised:
        check({"train": config})
    assert str(raised.value).startswith(f"train.{message}")


class Mine(nn.Module):
    channels: int  # a table column in this module: any number
    width: Annotated[int, Range(1, 64)] = 8
    rate: Annotated[float | None, Range(0, 1)] = None

    @nn.compact
    def __call__(self, image, *, train):
        return jnp.zeros(())


def test_other_modules_state_their_ranges_in_annotations():
    check(fdl.Config(Mine, channels=-1, rate=0.5))
    with pytest.raises(UserError, match=r"^width is 65; expected at least 1 and at most 64"):
        check(fdl.Config(Mine, channels=3, width=65))
    with pytest.raises(UserError, match=r"^rate is nan; expected at least 0 and at most 1"):
        check(fdl.Config(Mine, channels=3, rate=math.nan))


def test_models_without_a_stage_are_refused():
    for model in (ConvNet, UNet, DCGANGenerator, DiffusionUNet):
        with pytest.raises(UserError, match=r"^model\.channels is \(\); expected at least one value"):
            check({"model": fdl.Config(model, channels=())})
    with pytest.raises(UserError, match=r"^stage_sizes is \[\]; expected at least one value"):
        check(fdl.Config(ResNet, stage_sizes=[]))
    check(fdl.Config(SpeechRecognizer, channels=()))


def test_experiment_objects_are_checked_like_configurations():
    experiment = built()
    validate(experiment)
    object.__setattr__(experiment, "seed", -1)
    with pytest.raises(UserError, match=r"^seed is -1; expected at least 0"):
        validate(experiment)


def test_optax_and_values_outside_jaxdl_are_left_alone():
    config = fdl.Config(optax.adam, learning_rate=-1.0, b1=math.nan)
    check(as_config(config))
