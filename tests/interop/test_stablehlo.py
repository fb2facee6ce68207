"""Exported programs, loaded as in the guide, match `launch.py predict`."""

import json
import re
import struct
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.commands.export import program_of
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.data.image.preprocessing import ImagePreprocessing
from jaxdl.data.image.resize import ResizeCrop, ResizePad
from jaxdl.errors import UserError
from jaxdl.interop.stablehlo import write_program
from jaxdl.testing import tiny
from jaxdl.training.compiled import Program
from jaxdl.training.sources import load_sources

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "stablehlo.md").read_text()
RECIPES = (
    "cnn/digits",
    "cnn/nuclei",
    "rnn/austen_chars",
    "rnn/translate_en_de",
    "autoencoder/fashion_vae",
    "gan/emoji_cyclegan",
    "diffusion/fashion_edm",
    "transformer/austen_gpt",
    "transformer/translate_en_de",
    "transformer/sentiment",
)


def readers():
    """Functions `load` and `read_image` of the guide."""
    code = re.search(r"```python\n(from PIL import Image[^`]*def read_image\(path, folder\)[^`]*)```", GUIDE)
    assert code, "the guide shows no reader of images"
    scope: dict = {"json": json, "np": np}
    exec(code[1].split("\npredict(")[0], scope)
    return loader(), scope["read_image"]


def loader():
    """Returns the function `load` of the guide."""
    code = re.search(r"```python\n(import json[^`]*def load\(folder\)[^`]*)```", GUIDE)
    assert code, "the guide shows no loader"
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 13
    scope: dict = {}
    exec(code[1].split("\npredict =")[0], scope)
    return scope["load"]


def beside(rows):
    return {"weight": np.ones(rows, np.float32), "index": np.arange(rows, dtype=np.int32)}


@pytest.mark.parametrize("name", RECIPES)
def test_the_program_matches_predict(name, tmp_path):
    experiment = build(tiny(load_recipe(f"experiments/{name}.py")))
    source = load_sources(experiment.data).evals["validation"]
    example = source.read(np.arange(3))
    program = Program(experiment, {**example, **beside(3)}, jax.devices()[:1])
    state = program.init()
    specs = {feature: (value.shape[1:], value.dtype) for feature, value in example.items()}
    function = program_of(program.task, experiment.seed)
    inputs = write_program(tmp_path, function, state.evaluated, specs, platforms=("cpu", "tpu"))
    assert not {"weight", "index"} & set(inputs)
    predict = loader()(tmp_path)
    expected = program.predict(state, {**example, **beside(3)})
    for rows in (1, 3):
        outputs = predict(**{feature: example[feature][:rows] for feature in inputs})
        # Predictions of the whole batch are not part of the program.
        assert expected.keys() - outputs.keys() <= {"interpolation", "traversal", "latent_map"}
        for output, value in outputs.items():
            np.testing.assert_allclose(value, expected[output][:rows], rtol=1e-5, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("transforms", [(), (ResizeCrop(18, 16),), (ResizePad(16, 16),), (ResizePad(16, 24),)])
@pytest.mark.parametrize(("framing", "size"), [("crop", (33, 47)), ("crop", (16, 16)), ("crop", (200, 90))])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_loader_preprocesses_images_as_prediction(tmp_path, transforms, framing, size, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / "image.png")
    preprocess = ImagePreprocessing(transforms, (16, 16, channels), framing)
    expected = preprocess(tmp_path / "image.png").image
    weights, specs = {"w": np.ones(1, np.float32)}, {"image": (expected.shape, np.uint8)}
    write_program(
        tmp_path,
        lambda weights, batch: batch["image"] * weights["w"],
        weights,
        specs,
        platforms=("cpu",),
        preprocessing={"image": preprocess.describe()},
    )
    load, read_image = readers()
    image = read_image(tmp_path / "image.png", tmp_path)
    np.testing.assert_array_equal(image[0], expected)
    np.testing.assert_array_equal(load(tmp_path)(image=image)[0], expected)


def rgba():
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8))


def grey(dtype, top):
    return Image.fromarray(np.linspace(0, top, 256).reshape(16, 16).astype(dtype))


def rotated():
    image = rgba().convert("RGB")
    image.getexif()[0x0112] = 6
    return image


def loaded_and_predicted(tmp_path, name, channels, scale=None):
    """Returns the pixels that the guide's reader and jaxdl's own read from a file."""
    preprocess = ImagePreprocessing((), (16, 16, channels), "crop", scale=scale)
    (tmp_path / "signature.json").write_text(json.dumps({"preprocessing": {"image": preprocess.describe()}}))
    return readers()[1](tmp_path / name, tmp_path)[0], preprocess(tmp_path / name).image


@pytest.mark.parametrize(
    ("name", "image", "scale"),
    [
        ("alpha.png", rgba, None),
        ("grey_alpha.png", lambda: rgba().convert("LA"), None),
        ("palette.png", lambda: rgba().convert("RGB").quantize(16), None),
        ("palette_alpha.png", lambda: rgba().quantize(16, method=Image.Quantize.FASTOCTREE), None),
        ("bits.png", lambda: rgba().convert("1"), None),
        ("ink.jpg", lambda: rgba().convert("CMYK"), None),
        ("alpha.webp", rgba, None),
        ("color_key.gif", lambda: rgba().quantize(16, method=Image.Quantize.FASTOCTREE), None),
        ("rotated.png", rotated, None),
        ("sixteen.png", lambda: grey(np.uint16, 65535), None),
        ("sixteen.tif", lambda: grey(np.uint16, 50000), None),
        ("black.png", lambda: grey(np.uint16, 0), None),
        ("twelve.png", lambda: grey(np.uint16, 4095), (0.0, 4095.0)),
        ("integers.tif", lambda: grey(np.int32, 100000), (100.0, 90000.0)),
        ("floats.tif", lambda: grey(np.float32, 1), (0.1, 0.9)),
        ("eight.png", lambda: grey(np.uint8, 255), (0.0, 4095.0)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_loader_decodes_every_kind_of_pixel_as_prediction(tmp_path, name, image, scale, channels):
    image().save(tmp_path / name)
    pixels, expected = loaded_and_predicted(tmp_path, name, channels, scale)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("name", "image", "scale"),
    [
        ("twelve.png", lambda: grey(np.uint16, 4095), None),
        ("integers.tif", lambda: grey(np.int32, 255), None),
        ("floats.tif", lambda: grey(np.float32, 1), None),
        ("not_finite.tif", lambda: grey(np.float32, np.nan), (0.0, 1.0)),
    ],
)
def test_the_loader_refuses_pixels_that_prediction_refuses(tmp_path, name, image, scale):
    image().save(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} has .* pixels"):
        loaded_and_predicted(tmp_path, name, 3, scale)
    with pytest.raises(UserError):
        ImagePreprocessing((), (16, 16, 3), "crop", scale=scale)(tmp_path / name)


def test_the_loader_refuses_colors_of_16_bits(tmp_path):
    rows = b"".join(b"\0" + bytes(range(96)) for _ in range(16))
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png))
    with pytest.raises(ValueError, match=r"deep\.png has uint8 pixels of unsupported range; convert it"):
        loaded_and_predicted(tmp_path, "deep.png", 3)


def test_a_program_of_fixed_size_refuses_other_images(tmp_path):
    Image.new("L", (20, 16)).save(tmp_path / "image.png")
    preprocessing = {"image": ImagePreprocessing((), (16, 16, 1), "keep").describe()}
    (tmp_path / "signature.json").write_text(json.dumps({"preprocessing": preprocessing}))
    with pytest.raises(ValueError, match="is 16 x 20; the program takes 16 x 16"):
        readers()[1](tmp_path / "image.png", tmp_path)


def test_a_program_that_depends_on_its_batch_size_is_refused(tmp_path):
    with pytest.raises(UserError, match="depends on its batch size"):
        write_program(
            tmp_path,
            lambda weights, batch: batch["x"] * len(batch["x"]),
            {"w": np.ones(2, np.float32)},
            {"x": ((2,), "float32")},
        )


def test_unused_weights_and_inputs_are_omitted(tmp_path):
    weights = {"used": np.ones((2, 3), np.float32), "other": np.ones(4, np.float32)}
    specs = {"x": ((2,), np.float32), "y": ((5,), np.float32)}
    assert write_program(tmp_path, lambda weights, batch: batch["x"] @ weights["used"], weights, specs) == ["x"]
    outputs = loader()(tmp_path)(x=jnp.ones((4, 2)))
    np.testing.assert_array_equal(outputs, np.full((4, 3), 2.0))
    assert (tmp_path / "weights.safetensors").stat().st_size < 200
    assert jax.export.deserialize(bytearray((tmp_path / "predict.stablehlo").read_bytes())).platforms == (
        "cpu",
        "cuda",
        "tpu",
    )
