"""Hugging Face folders of ResNets and runs initialized from them, without transformers."""

import dataclasses
import functools
import json
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxdl.commands import export, train
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import read_model, write_model
from jaxdl.interop.huggingface.companions import PREPROCESSOR
from jaxdl.interop.huggingface.files import CONFIG, INDEX, WEIGHTS
from jaxdl.interop.huggingface.layout import Details
from jaxdl.interop.huggingface.resnet import HuggingFaceWeights
from jaxdl.models.layers.norms import batch_norm, group_norm
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet
from jaxdl.runs.restore import load_trained
from jaxdl.testing import tiny
from jaxdl.training.loop import make_program
from jaxdl.training.sources import load_sources

safetensors = pytest.importorskip("safetensors.numpy", reason="the huggingface extra is not installed: safetensors")

RECIPE = '''"""A small ResNet from Hugging Face weights."""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.config.experiment import Experiment
from jaxdl.interop.huggingface.resnet import HuggingFaceWeights
from jaxdl.models.resnet import ResNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.by_path import freeze, scale_by_path


@auto_config
def experiment(weights: str = "", frozen_stages: int = 1) -> Experiment:
    return Experiment(
        task=ImageClassification(
            ResNet((1, 1), num_classes=10, width=8, stem="imagenet", frozen_stages=frozen_stages),
            normalize=Normalize(mean=(0.5, 0.4, 0.3)),
        ),
        start=HuggingFaceWeights(weights),
        data=Data(train=MockImages((16, 16, 3)), evals={}, batch_size=8),
        optimizers={
            "train": freeze(optax.chain(optax.adamw(0.01), scale_by_path({"stage*": 0.5})), ("stem", "stage[1]"))
        },
        steps=3,
        ema=0.9,
    )
'''


def small(num_classes=5, stage_sizes=(1, 2), block: Any = Bottleneck, **arguments):
    return ResNet(stage_sizes, num_classes, width=8, block=block, stem="imagenet", **arguments)


def random_weights(model, seed=0):
    """Returns random (params, batch_stats) of a model."""
    init = functools.partial(model.init, train=False)
    shapes = nn.unbox(jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    random = np.random.default_rng(seed)
    arrays = jax.tree.map(lambda leaf: random.uniform(0.5, 1.5, leaf.shape).astype(np.float32), shapes)
    return arrays["params"], arrays["batch_stats"]


def written(folder, model=None, seed=0):
    """Writes a folder with random weights; returns (params, batch_stats)."""
    model = model or small()
    params, batch_stats = random_weights(model, seed)
    names = tuple(f"breed {index}" for index in range(model.num_classes))
    write_model(folder, model, {"params": params, "batch_stats": batch_stats}, Details(names))
    return params, batch_stats


def flat(tree) -> dict[str, Any]:
    return flatten_dict(jax.device_get(tree), sep="/")  # pyright: ignore[reportReturnType]


def equal(actual, expected):
    actual, expected = flat(actual), flat(expected)
    assert actual.keys() == expected.keys()
    return [name for name in actual if not np.array_equal(actual[name], expected[name])] == []


def edit(folder, **values):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | values))


def change_tensors(folder, change):
    tensors = safetensors.load_file(folder / WEIGHTS)
    change(tensors)
    safetensors.save_file(tensors, folder / WEIGHTS)


# Reading and writing


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_written_weights_are_read_bitwise(tmp_path, block):
    model = small(block=block)
    params, batch_stats = written(tmp_path / "new" / "folder", model)
    read = read_model(tmp_path / "new" / "folder")
    assert equal(read.variables["params"], params)
    assert equal(read.variables["batch_stats"], batch_stats)
    assert read.names == tuple(f"breed {index}" for index in range(5))
    assert read.model == model


def test_a_handmade_folder_is_read(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"resnet.embedder.embedder.convolution.weight": (4, 1, 7, 7)}
    layer = "resnet.encoder.stages.0.layers.0.layer"
    shapes |= {f"{layer}.{number}.convolution.weight": (4, 4, 3, 3) for number in (0, 1)}
    norms = ["resnet.embedder.embedder.normalization", *(f"{layer}.{number}.normalization" for number in (0, 1))]
    shapes |= {f"{norm}.{part}": (4,) for norm in norms for part in ("weight", "bias", "running_mean", "running_var")}
    shapes |= {"classifier.1.weight": (2, 4), "classifier.1.bias": (2,)}
    tensors = {name: random.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}
    counters = {f"{norm}.num_batches_tracked": np.ones((), np.int64) for norm in norms}
    safetensors.save_file(tensors | counters, tmp_path / WEIGHTS)
    config = {"model_type": "resnet", "layer_type": "basic", "depths": [1], "hidden_sizes": [4], "embedding_size": 4}
    (tmp_path / CONFIG).write_text(json.dumps(config | {"num_channels": 1}))

    read = read_model(tmp_path)
    params, batch_stats = read.variables["params"], read.variables["batch_stats"]
    assert read.model == ResNet((1,), 2, width=4, block=BasicBlock, stem="imagenet")
    assert read.names == ("LABEL_0", "LABEL_1")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    entry = tensors["resnet.embedder.embedder.convolution.weight"]
    np.testing.assert_array_equal(params["stem"]["conv"]["kernel"][2, 3, 0, 1], entry[1, 0, 2, 3])
    block = params["stage1"]["block1"]
    np.testing.assert_array_equal(
        block["conv2"]["kernel"][0, 1, 2, 3], tensors[f"{layer}.1.convolution.weight"][3, 2, 0, 1]
    )
    np.testing.assert_array_equal(block["norm1"]["scale"], tensors[f"{layer}.0.normalization.weight"])
    np.testing.assert_array_equal(
        batch_stats["stage1"]["block1"]["norm2"]["var"], tensors[f"{layer}.1.normalization.running_var"]
    )
    np.testing.assert_array_equal(params["head"]["kernel"].T, tensors["classifier.1.weight"])


def test_shards_are_read_and_a_missing_one_is_reported(tmp_path):
    params, _ = written(tmp_path)
    tensors = safetensors.load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    table = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        table |= dict.fromkeys(names, f"model-{number}.safetensors")
        safetensors.save_file({name: tensors[name] for name in names}, tmp_path / f"model-{number}.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": table}))
    assert equal(read_model(tmp_path).variables["params"], params)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"index\.json lists model-1\.safetensors, which does not exist; copy all shards"
    ):
        read_model(tmp_path)
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(UserError, match="has no weight_map"):
        read_model(tmp_path)


BREAKS = {
    "neither model.safetensors nor": lambda folder: (folder / WEIGHTS).unlink(),
    "load pytorch_model.bin and save it with transformers": lambda folder: (folder / WEIGHTS).rename(
        folder / "pytorch_model.bin"
    ),
    "has no config.json": lambda folder: (folder / CONFIG).unlink(),
    "cannot read .*config.json": lambda folder: (folder / CONFIG).write_text("{"),
    "is not a JSON object": lambda folder: (folder / CONFIG).write_text("[]"),
    "cannot read .*model.safetensors": lambda folder: (folder / WEIGHTS).write_bytes(b"short"),
    "model_type 'vgg' is not supported": lambda folder: edit(folder, model_type="vgg"),
    "layer_type 'botleneck' is unknown; did you mean": lambda folder: edit(folder, layer_type="botleneck"),
    "hidden_act='gelu' is not supported; use a model with 'relu'": lambda folder: edit(folder, hidden_act="gelu"),
    "downsample_in_bottleneck=True": lambda folder: edit(folder, downsample_in_bottleneck=True),
    "downsample_in_first_stage=True": lambda folder: edit(folder, downsample_in_first_stage=True),
    r"hidden_sizes \[32, 48\] are not supported; .* need \[32, 64\]": lambda folder: edit(
        folder, hidden_sizes=[32, 48]
    ),
    "id2label has 1 classes, but the classifier has 5": lambda folder: edit(folder, id2label={"0": "cat"}),
    "the tensor 'classifier.1.weight' is missing; save the model as": lambda folder: change_tensors(
        folder, lambda tensors: tensors.pop("classifier.1.weight")
    ),
    "'resnet.encoder.stages.1.layers.0.shortcut.normalization.running_var' for": lambda folder: change_tensors(
        folder, lambda tensors: tensors.pop("resnet.encoder.stages.1.layers.0.shortcut.normalization.running_var")
    ),
    r"1 tensors are not part of the model \(resnet.extra\);": lambda folder: change_tensors(
        folder, lambda tensors: tensors.update({"resnet.extra": np.zeros(1)})
    ),
    r"'classifier.1.bias' has shape \[4\], but head/bias has \[5\]": lambda folder: change_tensors(
        folder, lambda tensors: tensors.update({"classifier.1.bias": np.zeros(4, np.float32)})
    ),
}


@pytest.mark.parametrize("message", BREAKS)
def test_invalid_folders_are_refused_in_one_line(tmp_path, message):
    written(tmp_path)
    BREAKS[message](tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        read_model(tmp_path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_missing_folder_or_package_is_reported(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"folder .*gone does not exist; pass one with config.json and model.safetensors"
    ):
        read_model(tmp_path / "gone")
    written(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(UserError, match=r"needs safetensors: pip install -e '\.\[huggingface\]'"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem": "small"}, "stem='small' has no Hugging Face equivalent"),
        ({"norm": group_norm}, "norm, not batch_norm with epsilon 1e-5, has no"),
        ({"norm": functools.partial(batch_norm, epsilon=1e-3)}, "norm, not batch_norm"),
        ({"activation": nn.silu}, "activation, not relu, has no"),
    ],
)
def test_models_without_equivalent_are_not_written(tmp_path, arguments, message):
    params, batch_stats = random_weights(small())
    variables = {"params": params, "batch_stats": batch_stats}
    with pytest.raises(UserError, match=message):
        write_model(tmp_path / "out", dataclasses.replace(small(), **arguments), variables)
    assert not (tmp_path / "out").exists()


def test_writing_refuses_wrong_names_and_occupied_folders(tmp_path):
    params, batch_stats = random_weights(small())
    variables = {"params": params, "batch_stats": batch_stats}
    with pytest.raises(UserError, match="got 2 class names for 5 classes"):
        write_model(tmp_path, small(), variables, Details(("cat", "dog")))
    momentum = dataclasses.replace(small(), norm=functools.partial(batch_norm, momentum=0.99))
    write_model(tmp_path, momentum, variables)
    with pytest.raises(UserError, match="already holds a model"):
        write_model(tmp_path, small(), variables)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        write_model(tmp_path / "file", small(), variables)


# Starting a run


@functools.cache
def fresh():
    """Returns the program of `tiny()` with EMA on eight devices, and its initial state."""
    experiment = build(tiny(load_recipe("experiments/cnn/resnet_finetune.py")))
    parallel = Parallel(mesh={"data": 2, "fsdp": 4, "tensor": 1})
    experiment = dataclasses.replace(experiment, ema=0.9, parallel=parallel)
    program = make_program(experiment, load_sources(experiment.data))
    return program, jax.device_get(program.init())


def drawn_state():
    program, state = fresh()
    return jax.tree.map(lambda leaf, spec: jax.device_put(leaf, spec.sharding), state, program.abstract)


def test_weights_initialize_state_and_average_in_their_shardings(tmp_path):
    params, batch_stats = written(tmp_path, small(10, (1, 1)))
    before = drawn_state()
    after = HuggingFaceWeights(str(tmp_path)).load(before)
    assert equal(after.params["classifier"], params)
    assert equal(after.variables["classifier"]["batch_stats"], batch_stats)
    assert equal(after.ema["params"], after.params)
    assert equal(after.ema["variables"], after.variables)
    assert int(after.step) == 0
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert jax.tree.map(lambda leaf: leaf.sharding, after) == jax.tree.map(lambda leaf: leaf.sharding, before)
    assert not after.params["classifier"]["stage2"]["block1"]["conv3"]["kernel"].is_fully_replicated


@pytest.mark.parametrize(("classes", "head"), [(10, False), (5, True)])
def test_the_head_keeps_its_initialization(tmp_path, classes, head):
    params, _ = written(tmp_path, small(classes, (1, 1)))
    before = drawn_state()
    after = HuggingFaceWeights(str(tmp_path), head=head).load(before)
    classifier = jax.device_get(after.params["classifier"])
    assert equal(classifier.pop("head"), before.params["classifier"]["head"])
    params.pop("head")
    assert equal(classifier, params)
    assert equal(after.ema["params"], after.params)


def test_mismatched_weights_are_reported(tmp_path):
    written(tmp_path / "deep", small(10, (1, 2)))
    written(tmp_path / "basic", small(10, (1, 1), BasicBlock))
    state = drawn_state()
    with pytest.raises(UserError, match=r"deep: stage2/block2/.* but the model lacks it; use equal sizes"):
        HuggingFaceWeights(str(tmp_path / "deep")).load(state)
    with pytest.raises(UserError, match=r"basic: .* has shape .*, but the model has"):
        HuggingFaceWeights(str(tmp_path / "basic")).load(state)
    with pytest.raises(UserError, match=r"start\.group='clasifier' does not exist; did you mean 'classifier'"):
        HuggingFaceWeights(str(tmp_path / "deep"), group="clasifier").load(state)
    odd = state.replace(params={"classifier": {"conv1": state.params["classifier"]["head"]}}, variables={})
    with pytest.raises(UserError, match=r"stage1/block1/.* has shape .*, but the model lacks it"):
        HuggingFaceWeights(str(tmp_path / "deep")).load(odd)


def test_a_fine_tuned_run_keeps_frozen_weights_and_is_exported(tmp_path, capsys):
    recipe, weights, out = tmp_path / "tuned.py", tmp_path / "weights", tmp_path / "out"
    recipe.write_text(RECIPE)
    params, batch_stats = written(weights, small(10, (1, 1), BasicBlock))
    with pytest.raises(UserError, match=r"start\.folder is empty; pass a folder"):
        train.run(str(recipe), [], str(tmp_path / "none"))
    train.run(str(recipe), [f"weights={weights}"], str(tmp_path / "run"))
    trained = load_trained(tmp_path / "run")
    for tree, start in (
        (trained.state.params["classifier"], params),
        (trained.state.ema["params"]["classifier"], params),
        (trained.state.variables["classifier"]["batch_stats"], batch_stats),
    ):
        tree, start = flat(tree), flat(start)
        frozen = {name for name in tree if np.array_equal(tree[name], start[name])}
        assert frozen == {name for name in tree if name.startswith(("stem/", "stage1/"))}
    sizes = [leaf.size for leaf in jax.tree.leaves(trained.state.opt_state)]
    learning = sum(value.size for name in ("stage2", "head") for value in jax.tree.leaves(params[name]))
    assert sum(sizes) < 2 * learning + 8  # Adam's two moments, and counters; frozen parameters have none

    assert export.run(str(tmp_path / "run"), None, str(out)) == out
    assert f"step 3 of {tmp_path / 'run'} is in {out}" in capsys.readouterr().out
    read = read_model(out)
    assert equal(read.variables["params"], trained.state.ema["params"]["classifier"])
    assert read.names[3] == "class 3"
    processor = json.loads((out / PREPROCESSOR).read_text())
    assert (processor["size"], processor["crop_size"]) == ({"shortest_edge": 16}, {"height": 16, "width": 16})
    assert (processor["image_mean"], processor["image_std"]) == ([0.5, 0.4, 0.3], [0.25, 0.25, 0.25])


def test_batch_statistics_change_unless_their_stages_are_frozen(tmp_path):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)

    def step(frozen_stages):
        model = small(stage_sizes=(1, 1), block=BasicBlock, frozen_stages=frozen_stages)
        params, batch_stats = random_weights(model)

        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return jnp.sum(logits**2), updated["batch_stats"]

        gradients, updated = jax.jit(jax.grad(loss, has_aux=True))(params)
        moved = {name for name in updated if not equal(updated[name], batch_stats[name])}
        return moved, {name for name in gradients if any(np.any(leaf) for leaf in jax.tree.leaves(gradients[name]))}

    assert step(0) == ({"stem", "stage1", "stage2"}, {"stem", "stage1", "stage2", "head"})
    assert step(1) == ({"stage2"}, {"stage2", "head"})
    with pytest.raises(ValueError, match="there are 2 stages"):
        random_weights(small(frozen_stages=3))
