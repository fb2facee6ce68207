"""Saliency: closed forms, planted patches, layers of any module, and the command `explain`."""

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdl.commands.cli import main
from jaxdl.errors import UserError
from jaxdl.models.convnet import ConvNet
from jaxdl.models.resnet import ResNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.viz import explanation, saliency

ROOT = Path(__file__).parents[2]


def images(count, height=8, width=8, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, height, width, channels)).astype(np.float32)


def initialize(model, shape):
    return nn.unbox(jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, *shape))))


def apply(model, variables) -> Callable[[Any], Any]:
    return lambda image: model.apply(variables, image / 255, train=False)


def grad_cam(logits, image, target, layer):
    return np.asarray(jax.jit(lambda image: saliency.grad_cam(logits, image, jnp.asarray(target), layer))(image))


# --- closed forms


@jax.jit
def linear_attribution(weight, image, target, baseline):
    logits = lambda image: image.reshape(len(image), -1) @ weight + 7.0  # noqa: E731
    return saliency.integrated_gradients(logits, image, target, steps=16, baseline=baseline)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 255))
def test_integrated_gradients_of_a_linear_model_are_x_times_w(seed, level):
    weight = np.random.default_rng(seed).normal(size=(4 * 3 * 2, 5)).astype(np.float32)
    image, target = images(3, 4, 3, 2, seed), jnp.array([0, 4, 2])
    for start in (0.0, level, image.mean((1, 2), keepdims=True)):
        attribution = linear_attribution(weight, image, target, start)
        exact = (image - start) * weight[:, target].T.reshape(image.shape)
        np.testing.assert_allclose(attribution.values, exact, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(attribution.difference, exact.sum((1, 2, 3)), rtol=1e-3, atol=2e-2)


class Pooled(nn.Module):
    """One convolution, global mean and one product.

    Grad-CAM is relu(sum_c w_c A_c) / cells.
    """

    @nn.compact
    def __call__(self, image, *, train):
        maps = nn.Conv(6, (3, 3), name="maps")(image)
        return nn.Dense(4, name="head")(maps.mean((1, 2)))


def test_grad_cam_of_a_pooled_convolution():
    model, image = Pooled(), images(2, 5, 7, 3)
    variables = initialize(model, (5, 7, 3))
    logits = apply(model, variables)
    (layer,) = saliency.layers(logits, image)
    assert (layer.name, layer.shape) == ("maps", (5, 7, 6))
    target = jnp.array([3, 1])
    convolution = nn.Conv(6, (3, 3))
    maps = np.asarray(jax.jit(convolution.apply)({"params": variables["params"]["maps"]}, image / 255))
    weight = variables["params"]["head"]["kernel"][:, target].T
    exact = np.maximum(np.einsum("bhwc,bc->bhw", maps, weight) / 35, 0)
    np.testing.assert_allclose(grad_cam(logits, image, [3, 1], layer), exact, rtol=1e-4, atol=1e-6)
    (cam,) = jax.jit(lambda image: saliency.activations(logits, image, ["maps"], channels=2))(image)
    np.testing.assert_allclose(cam.mean, maps.mean(-1), rtol=1e-5, atol=1e-6)
    strength = np.abs(maps).mean((1, 2))
    np.testing.assert_array_equal(cam.channel, np.argsort(-strength, axis=-1)[:, :2])
    np.testing.assert_allclose(cam.strongest[1, ..., 0], maps[1, ..., cam.channel[1, 0]], rtol=1e-5, atol=1e-6)


def test_memory_of_integrated_gradients_does_not_depend_on_steps():
    model = Pooled()
    variables = initialize(model, (8, 8, 1))

    def size(steps):
        gradients = functools.partial(saliency.integrated_gradients, apply(model, variables), steps=steps)
        memory = jax.jit(gradients).lower(images(2), jnp.zeros(2, int)).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert size(400) <= size(100) + 4 * 400 + 4096


# --- a planted patch


@pytest.fixture(scope="module")
def patched():
    """Returns logits, images and labels of a ConvNet trained to detect a bright patch."""
    model = ConvNet(num_classes=2, channels=(8, 8), depth=1)
    rng = np.random.default_rng(0)
    label = np.arange(32) % 2
    image = rng.uniform(0, 90, (32, 16, 16, 1)).astype(np.float32)
    image[label == 1, 6:12, 2:8] += 160.0
    variables = initialize(model, (16, 16, 1))
    optimizer = optax.adam(0.02)

    @jax.jit
    def train(variables):
        def loss(params, statistics):
            logits, updated = model.apply(
                {"params": params, **statistics}, image / 255, train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), updated

        def step(carry, _):
            params, statistics, state = carry
            gradient, statistics = jax.grad(loss, has_aux=True)(params, statistics)
            change, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, change), dict(statistics), state), None

        params, statistics = variables["params"], {"batch_stats": variables["batch_stats"]}
        carry, _ = jax.lax.scan(step, (params, statistics, optimizer.init(params)), None, length=60)
        return {"params": carry[0], **carry[1]}

    logits = apply(model, train(variables))
    assert (np.asarray(jax.jit(logits)(image)).argmax(-1) == label).all()
    return logits, image, label


@pytest.mark.slow
def test_the_maximum_of_grad_cam_lies_in_the_patch(patched):
    logits, image, label = patched
    image = image[label == 1]
    layer = saliency.choose_layer(saliency.layers(logits, image), image.shape[1:])
    assert layer is not None
    assert (layer.name, layer.shape) == ("stage2", (8, 8, 8))
    cam = grad_cam(logits, image, np.ones(len(image), int), layer)
    row, column = np.divmod(cam.reshape(len(cam), -1).argmax(-1), 8)
    # A 3x3 convolution with stride 2 and padding 1 has cell (i, j) at pixel (2 i, 2 j).
    assert ((row * 2 >= 6) & (row * 2 < 12)).all()
    assert ((column * 2 >= 2) & (column * 2 < 8)).all()


@pytest.mark.slow
def test_integrated_gradients_are_complete_and_lie_in_the_patch(patched):
    logits, image, label = patched
    image = image[label == 1][:8]
    attribution = jax.jit(lambda image: saliency.integrated_gradients(logits, image, jnp.ones(8, int)))(image)
    sums = np.asarray(attribution.values).sum((1, 2, 3))
    np.testing.assert_allclose(sums, attribution.difference, rtol=0.01)
    inside = np.asarray(attribution.values)[:, 5:13, 1:9].sum((1, 2, 3))
    assert (inside > 0.6 * sums).all()


# --- any module


class Attentive(nn.Module):
    """Patches and attention: its queries have four axes but are not a feature map."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(8, (4, 4), (4, 4), name="patches")(image)
        x = x.reshape(len(x), -1, 8)
        return nn.Dense(3)(nn.MultiHeadDotProductAttention(2)(x, x).mean(1))


class Lifted(nn.Module):
    """A rematerialized block between plain convolutions, and a module called twice; bfloat16."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(4, (3, 3), dtype=jnp.bfloat16, name="first")(image)
        x = nn.remat(nn.Conv)(4, (3, 3), name="hidden")(x)
        last = nn.Conv(4, (3, 3), dtype=jnp.bfloat16, name="last")
        return last(nn.relu(last(x))).mean((1, 2)).astype(jnp.float32)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(3)(image.reshape(len(image), -1))


@pytest.mark.parametrize(
    ("model", "last", "first"),
    [
        (ConvNet(num_classes=3, channels=(4, 8)), "stage2", "stage1/conv1"),
        (ResNet((1, 1), num_classes=3, width=4), "stage2", "stem/conv"),
        (Attentive(), "patches", "patches"),
        (Lifted(), "last#2", "first"),
    ],
    ids=["ConvNet", "ResNet", "attention", "lifted"],
)
def test_layers_of_any_module_are_listed(model, last, first):
    shape = (16, 12, 3)
    variables = initialize(model, shape)
    logits, image = apply(model, variables), images(2, *shape)
    layer = saliency.choose_layer(saliency.layers(logits, image), shape)
    assert layer is not None
    assert layer.name == last
    before = jax.make_jaxpr(logits)(image)
    cam = grad_cam(logits, image, [0, 1], layer)
    assert cam.shape == (2, *layer.shape[:2])
    assert np.isfinite(cam).all()
    assert str(jax.make_jaxpr(logits)(image)) == str(before)  # the interception leaves no state
    name, kernel = saliency.first_kernel(logits, {"classifier": variables["params"]}, image) or ("", None)
    assert name == first
    assert kernel is not None
    assert kernel.shape[2] == 3


def test_a_model_without_spatial_layers_is_refused():
    logits = apply(Flat(), variables := initialize(Flat(), (4, 4, 1)))
    image = images(1, 4, 4)
    assert saliency.layers(logits, image) == []
    assert saliency.choose_layer([], (4, 4, 1)) is None
    assert saliency.first_kernel(logits, variables["params"], image) is None
    assert saliency.outline([], 5) == []
    with pytest.raises(UserError, match=r"no layer 'conv'.*\(none\)"):
        saliency.choose_layer([], (4, 4, 1), "conv")


def test_the_outline_is_as_deep_as_the_limit():
    names = ["a/x", "a/y", "a", "b/x", "b"]
    layers = [saliency.Layer(name, (4, 4, 1), jnp.float32, (name,)) for name in names]
    assert [layer.name for layer in saliency.outline(layers, 5)] == names
    assert [layer.name for layer in saliency.outline(layers, 4)] == ["a", "b"]
    assert [layer.name for layer in saliency.outline(layers, 1)] == ["a"]


# --- pages


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (40, 12, 3), (12, 60, 4)])
def test_pages_of_all_shapes_are_drawn(height, width, channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    draw = functools.partial(explanation.saliency_page, image, names=["$a_b$"] * 3, title="x" * 200, layer="y" * 80)
    arguments = {"values": rng.normal(size=image.shape), "difference": 1.0, "probabilities": np.array([0.7, 0.2, 0.1])}
    cam = rng.random((3, 4))
    pages = [draw(cam=heatmap, target=target, **arguments) for heatmap in (cam, 0 * cam, None) for target in (0, 2)]
    maps = [("deep/" * 20, (3, 4, 2), cam - 0.5, rng.random((3, 4, 2)), np.array([5, 100]))]
    pages.append(explanation.activation_page(image, maps, title="x", line="y"))
    pages.append(explanation.activation_page(image, [], title="x", line="y"))
    pages += [explanation.filter_page(rng.normal(size=(3, 3, channels, count)), "z") for count in (1, 100)]
    for page in pages:
        assert page.dtype == np.uint8
        assert page.shape[2] == 3
        assert page.min() < 130
        edge = np.concatenate([page[:4].ravel(), page[-4:].ravel(), page[:, :4].ravel(), page[:, -4:].ravel()])
        assert (edge == 255).all()  # the page is not truncated


# --- the command


def command(*arguments: str) -> int:
    """Returns the exit code of a command that runs in this process."""
    return main(arguments)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    import os

    os.chdir(ROOT)
    path = tmp_path_factory.mktemp("run") / "run"
    assert command("--config=tests/survivor.py", f"--workdir={path}", "--set=steps=2") == 0
    return path


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Two images with the same name in two folders."""
    paths = [tmp_path / folder / "a b.png" for folder in ("one", "two")]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(images(1, 20, 30, 3, seed)[0].astype(np.uint8)).save(path)
    return [str(path) for path in paths]


@pytest.mark.slow
def test_explain_writes_pages_for_each_file_and_warns_of_attributions_that_are_zero(run, files, tmp_path, capsys):
    names = {f"2_{stem}_{page}.png" for stem in ("a_b", "a_b_2") for page in ("saliency", "activations")}
    assert command("explain", str(run), *files) == 0
    assert {path.name for path in (run / "explanations").iterdir()} == {*names, "2_filters.png"}
    lines = capsys.readouterr().out.split("\n")[:-1]
    assert {Path(line) for line in lines} == set((run / "explanations").iterdir())
    # Another layer and class change the picture, and --output changes the folder.
    output, black = tmp_path / "there", tmp_path / "black\udcff.png"
    Image.new("RGB", (8, 8)).save(black)
    arguments = ("--layer=stage1", "--target=class 3", f"--output={output}")
    assert command("explain", str(run), files[0], str(black), *arguments) == 0
    warning = "warning: black\\udcff.png: all integrated gradients are 0: the image is black, as is the baseline"
    assert warning in capsys.readouterr().err
    default_page, selected_page = (
        np.asarray(Image.open(path / "2_a_b_saliency.png")) for path in (run / "explanations", output)
    )
    assert default_page.shape == selected_page.shape
    assert (default_page != selected_page).any()


USAGE_ERRORS = {
    "no files": ("explain {run}", r"FILE\.\.\. is missing; usage: jaxdl explain RUN FILE"),
    "no run": ("explain {tmp}/nothing {file}", r"nothing does not exist"),
    "a missing file": ("explain {run} {tmp}/no.png", r"no.png does not exist"),
    "a file that is not an image": ("explain {run} launch.py", r"launch.py is not an image"),
    "an unknown layer": (
        "explain {run} {file} --layer=stge2",
        r"no layer 'stge2'.*mean 'stage2'\?.*stage1/conv2",
    ),
    "an unknown class": ("explain {run} {file} --target=clas_3", r"--target=clas_3.*0 to 9; did you mean 'class 3'\?"),
    "a class number too high": ("explain {run} {file} --target=10", r"--target=10 is not a class.*0 to 9"),
    "a missing step": ("explain {run} {file} --step=7", r"steps that exist: 2; step 7"),
    "an output that is a file": ("explain {run} {file} --output=launch.py", r"cannot write launch.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", USAGE_ERRORS)
def test_usage_error_is_one_line(name, run, files, tmp_path, capsys):
    Path(files[0]).rename(tmp_path / "a.png")
    arguments, expected = USAGE_ERRORS[name]
    assert command(*arguments.format(run=run, tmp=tmp_path, file=tmp_path / "a.png").split()) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.search(expected, lines[0]), lines


def test_a_run_without_checkpoint_is_refused(run, files, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "empty", ignore=shutil.ignore_patterns("checkpoints"))
    assert command("explain", str(tmp_path / "empty"), *files) == 2
    assert re.search(r"error: .*empty has no checkpoint; train it until", capsys.readouterr().err)


def test_a_task_that_is_not_a_classifier_is_refused(run, files, monkeypatch, capsys):
    monkeypatch.setattr(ImageClassification, "logits", None)
    assert command("explain", str(run), *files) == 2
    assert re.search(r"error: .* is not an image classifier", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("target", "number"), [("b", 1), ("2", 0), ("0", 0), ("1", 1)], ids=["name", "a number's name", "0", "1"]
)
def test_a_class_name_takes_precedence_over_a_class_number(target, number):
    from jaxdl.commands.explain import _class_number

    assert _class_number(target, ("2", "b", "c"), 3) == number
