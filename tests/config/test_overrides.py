"""Overrides: `--set=NAME=VALUE`."""

import fiddle as fdl
import pytest
from sample_recipe import WIDE_KEEP, resolved, schedule

from jaxdl.config import resolve
from jaxdl.config.recipes import load_recipe
from jaxdl.decoding.noise_schedules import RectifiedFlow
from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError


def test_derived_values_follow_a_recipe_argument():
    config = resolved("steps=40")
    assert (config.steps, schedule(config).warmup_steps, schedule(config).decay_steps) == (40, 4, 40)


@pytest.mark.parametrize(
    ("setting", "getter", "value"),
    [
        ("optimizers.train[1].learning_rate.peak_value=3e-4", lambda c: schedule(c).peak_value, 3e-4),
        ("optimizers.train[1].learning_rate=1", lambda c: c.optimizers["train"][1].learning_rate, 1.0),
        ("optimizers.train[1].nesterov=True", lambda c: c.optimizers["train"][1].nesterov, True),
        ("optimizers.train[1].momentum=None", lambda c: c.optimizers["train"][1].momentum, None),
        ("task.model.width=3", lambda c: c.task.model.width, 3),
        ("task.model.sizes=[3, 4]", lambda c: c.task.model.sizes, (3, 4)),
        ("task.model.sizes[1]=7", lambda c: c.task.model.sizes, (2, 7)),
        ("task.model.dtype=float32", lambda c: c.task.model.dtype, "float32"),
        ("task.model.rate=1", lambda c: c.task.model.rate, 1.0),
        ("task.model.norm.momentum=0.5", lambda c: c.task.model.norm.momentum, 0.5),
        ("task.model.block.features=5", lambda c: c.task.model.block.features, 5),
        ("data.augment[0].padding=3", lambda c: c.data.augment[0].padding, 3),
        ("data.augment.0.padding=3", lambda c: c.data.augment[0].padding, 3),
        ("data.augment[-2].padding=3", lambda c: c.data.augment[0].padding, 3),
        ("data.evals.validation.split=train[:10%]", lambda c: c.data.evals["validation"].split, "train[:10%]"),
        ("data.evals['en-de'].examples=4", lambda c: c.data.evals["en-de"].examples, 4),
        ("data.evals.validation.name=2012", lambda c: c.data.evals["validation"].name, "2012"),
        ("data.evals={}", lambda c: c.data.evals, {}),
        ("ema=0.5", lambda c: c.ema, 0.5),
        ("keep.latest=3", lambda c: c.keep.latest, 3),
        ("parallel.mesh.fsdp=2", lambda c: c.parallel.mesh, {"data": -1, "fsdp": 2, "tensor": 1}),
        ("parallel.mode=pmap", lambda c: c.parallel.mode, "pmap"),
        ("start.run=other", lambda c: c.start.run, "other"),
        ("peak=1", lambda c: schedule(c).peak_value, 1.0),
        ("split=test[:5]", lambda c: c.data.train.split, "test[:5]"),
        ("split='quoted=text'", lambda c: c.data.train.split, "quoted=text"),
    ],
)  # fmt: skip
def test_any_path_can_be_set(setting, getter, value):
    result = getter(resolved(setting))
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=abc", "steps takes an int, got 'abc'"),
        ("steps=1.5", "steps takes an int, got '1.5'"),
        ("steps=True", "steps takes an int, got 'True'"),
        ("steps=None", "steps takes an int, got 'None'"),
        ("seed=x", "seed takes an int, got 'x'"),
        ("ema=x", "ema takes a number or a function or None, got 'x'"),
        ("steps", "--set=steps has no value; write --set=NAME=VALUE"),
        ("=3", "has no value"),
        ("a..b=3", "is not a path"),
        ("widht=3", "did you mean 'width'"),
        ("sedd=3", "did you mean 'seed'"),
        (
            "momentum=0.5",
            "no 'momentum' in the experiment; did you mean task.model.norm.momentum or optimizers.train[1].momentum",
        ),
        ("data.train.momentum=0.5", "similar paths: optimizers.train[1].momentum or task.model.norm.momentum"),
        ("model.width=8", "among the recipe's arguments; names that exist: "),
        ("model.width=8", "similar paths: task.model.width"),
        ("model.widht=8", "similar paths: task.model.width"),
        (
            "optimizers.train[3].momentum=1",
            "names that exist: [0], [1]; similar paths: optimizers.train[1].momentum",
        ),
        ("task.modle.width=8", "no 'modle' in task (ImageClassification); did you mean 'model'"),
        ("task.model.widht=8", "no 'widht' in task.model (Net); did you mean 'width'? names that exist: "),
        ("optimizers.train[1].learning_rate.peek_value=1", "did you mean 'peak_value'"),
        ("optimizers.trian=1", "no 'trian' in optimizers; did you mean 'train'"),
        ("optimizers.train[7].max_norm=1", "no '[7]' in optimizers.train (chain)"),
        ("optimizers.train[0]=1", "set its arguments (optimizers.train[0].max_norm, ...)"),
        ("optimizers.train[1].learning_rate=abc", "takes a number or a function, got 'abc'; set its arguments"),
        ("optimizers.train[1].momentum=abc", "takes a number or None, got 'abc'"),
        ("data.augment[2].padding=1", "no '[2]' in data.augment (2 items); names that exist: 0, 1"),
        ("data.evals.tset.split=x", "no 'tset' in data.evals; names that exist: en-de, validation"),
        (
            "task.model=Net",
            "task.model takes an object that only a recipe can construct, got 'Net'; set its arguments",
        ),
        ("task.model.activation=gelu", "--set cannot pass a function; edit the recipe"),
        ("activation=gelu", "--set cannot pass a function; edit the recipe"),
        ("task.model.sizes=3", "task.model.sizes takes tuple[int, ...], got '3'"),
        ("task.model.sizes=[1, 'x']", "task.model.sizes takes tuple[int, ...]"),
        ("optimizers.train[1].nesterov=yes", "takes True or False, got 'yes'"),
        ("seed.x=3", "seed is 0, which has no 'x'; set seed itself"),
    ],
)
def test_invalid_override_raises_a_one_line_error(setting, message):
    with pytest.raises(UserError) as raised:
        resolved(setting)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_name_in_a_saved_configuration_does_not_offer_arguments_of_the_recipe():
    with pytest.raises(UserError, match=r"^no 'path' in the experiment; did you mean 'data'"):
        resolve(resolved(), ["path=flowers"])


def test_override_does_not_mutate_a_shared_dictionary():
    mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config = resolved()
    config.parallel = fdl.Config(Parallel, mesh=mesh)
    assert resolve(config, ["parallel.mesh.fsdp=4"]).parallel.mesh["fsdp"] == 4
    assert mesh["fsdp"] == 1


def test_last_override_counts_and_resolve_is_stateless():
    config = resolved("seed=1", "steps=30", "seed=2", "keep.latest=1", "parallel.mesh.fsdp=4")
    assert (config.seed, config.keep.latest) == (2, 1)
    assert resolved().keep.latest == WIDE_KEEP.latest == 5
    assert Parallel().mesh["fsdp"] == 1
    assert resolved() == resolved()


def test_overrides_of_a_configuration_leave_it_as_it_was():
    config = resolved()
    assert resolve(config, {"task.model.width": 3, "data.augment[0].padding": 1}).task.model.width == 3
    assert config == resolved()


EDM = "experiments/diffusion/fashion_edm.py"


def test_a_class_without_arguments_is_set_by_its_name():
    config = resolve(load_recipe(EDM), ["task.sampling=RectifiedFlow", "task.sampling.shift=2"])
    assert fdl.build(config.task.sampling) == RectifiedFlow(shift=2.0)
    assert resolve(load_recipe(EDM), ["task.sampling=None"]).task.sampling is None


@pytest.mark.parametrize("name", ["Karas", "Schedule", "LogNormal"])
def test_only_classes_of_the_annotation_are_set_by_their_name(name):
    with pytest.raises(UserError, match=r"task\.sampling takes Cosine or Karras or Linear or RectifiedFlow or None"):
        resolve(load_recipe(EDM), [f"task.sampling={name}"])
