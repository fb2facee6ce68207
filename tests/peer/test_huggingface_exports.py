"""Exported runs in transformers match `jaxdl predict`: tokens, texts, labels."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.commands import export, predict, train
from jaxdl.runs import inference
from jaxdl.runs.restore import load_trained

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer

RECIPE = '''
"""A small model.

Result: none recorded yet
"""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.image.resize import ResizeCrop
from jaxdl.data.synthetic.images import MockImages
from jaxdl.data.synthetic.text import MockPairs, MockSentences, MockText
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Characters, Vocabulary, Words
from jaxdl.data.text.windows import Windows
from jaxdl.models.bert import MaskedLanguageModel, bert
from jaxdl.models.gpt import gpt2, llama
from jaxdl.models.resnet import ResNet
from jaxdl.models.t5 import t5
from jaxdl.models.vit import vit
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.tasks.masked_language_modelling import MaskedLanguageModelling
from jaxdl.tasks.translation import Translation


@auto_config
def experiment():
    return Experiment(
        task={task},
        data=Data(train={data}, evals={{}}, batch_size=16),
        optimizers={{"train": optax.adam(1e-2)}},
        steps={steps},
    )
'''
SIZES = "features=16, layers=2, heads=2"
TEXT = "MockText(examples=1, characters=600)"
PAIRS = "MockPairs(examples=64)"
WINDOWS = f"Windows({TEXT}, Vocabulary({{}}, {TEXT}), 24)"
GREEDY = "carried=False, temperature=0.0, new_tokens=12"
RUNS = {  # {name: (task, data)}
    "gpt2": (f"LanguageModelling(gpt2(40, 64, {SIZES}), {GREEDY})", WINDOWS.format("BPE(40)")),
    "gpt2 scanned": (
        f"LanguageModelling(gpt2(40, 64, scan=True, {SIZES}), {GREEDY}, repetition_penalty=1.3)",
        WINDOWS.format("Words(40)"),
    ),
    "llama": (
        f"LanguageModelling(llama(30, 64, hidden=24, kv_heads=1, {SIZES}), {GREEDY})",
        WINDOWS.format("Characters(30)"),
    ),
    "t5": (
        f"Translation(t5(40, 32, {SIZES}), metrics=('exact_match',), max_length=20)",
        f"Pairs({PAIRS}, Vocabulary(BPE(40), {PAIRS}, ('source', 'target')), 24, 24)",
    ),
    "t5 beam": (
        f"Translation(t5(40, 32, {SIZES}), metrics=('exact_match',), max_length=20, beam=3, length_penalty=0.0)",
        f"Pairs({PAIRS}, Vocabulary(Words(40), {PAIRS}, ('source', 'target')), 24, 24)",
    ),
}


def trained_run(tmp_path, task, data, steps=60):
    """Trains a run and exports it; returns both folders."""
    recipe, run, out = tmp_path / f"{tmp_path.name}.py", tmp_path / "run", tmp_path / "out"
    recipe.write_text(RECIPE.format(task=task, data=data, steps=steps))
    train.run(str(recipe), [], str(run))
    export.run(str(run), None, str(out))
    return str(run), out


def texts_of(run, count):
    """Returns texts of the run's training data."""
    trained = load_trained(run)
    source = trained.experiment.data.train.load()
    feature, tokenizer = next(iter(trained.tokenizers.items()))
    return tokenizer, [tokenizer.decode(ids[ids != 1]) for ids in source.columns[feature][:count]]


@pytest.mark.parametrize("name", RUNS)
def test_generation_equals_prediction_token_for_token(tmp_path, name):
    run, out = trained_run(tmp_path, *RUNS[name])
    auto = transformers.AutoModelForSeq2SeqLM if name.startswith("t5") else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(out, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out, local_files_only=True)
    own_tokenizer, texts = texts_of(run, 8)
    if not name.startswith("t5"):
        texts = [text[:9].strip() for text in texts if text[:9].strip()]
    trained, generated = load_trained(run), set()
    examples = inference.inputs_of(trained, run).read([], texts)
    for text, outputs in zip(texts, inference.predict(trained, examples)):
        encoded = tokenizer(text, return_tensors="pt")
        assert encoded["input_ids"][0].tolist() == [*own_tokenizer.encode(text), *[2] * name.startswith("t5")]
        with torch.no_grad():
            tokens = model.generate(**encoded)[0].tolist()
        prompt = 1 if name.startswith("t5") else encoded["input_ids"].shape[1]
        expected = outputs["tokens" if name.startswith("t5") else "continuation"].tolist()
        new_tokens = tokens[prompt:]
        assert new_tokens + [0] * (len(expected) - len(new_tokens)) == expected
        assert tokenizer.decode(
            tokens[prompt * name.startswith("t5") :], skip_special_tokens=True
        ) == own_tokenizer.decode(new_tokens if name.startswith("t5") else [*own_tokenizer.encode(text), *new_tokens])
        generated.add(tuple(new_tokens))
    assert len(generated) > 1
    assert type(transformers.AutoProcessor.from_pretrained(out, local_files_only=True)) is type(tokenizer)


def test_an_exported_masked_language_model_fills_masks(tmp_path):
    task = f"MaskedLanguageModelling(MaskedLanguageModel(bert(60, 32, {SIZES}, hidden=32)))"
    run, out = trained_run(tmp_path, task, WINDOWS.format("Words(60)"))
    model = transformers.AutoModelForMaskedLM.from_pretrained(out, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out, local_files_only=True)
    own_tokenizer, (text, *_) = texts_of(run, 1)
    words = [own_tokenizer[number] for number in own_tokenizer.encode(text)[:8]]  # jaxdl pads to a power of two
    masked = " ".join(["[MASK]", *words[1:]])
    (row,) = predict.run(run, [], [masked])
    encoded = tokenizer(masked.replace("[MASK]", tokenizer.mask_token), return_tensors="pt")
    assert encoded["input_ids"].shape == (1, 8)
    with torch.no_grad():
        guess = int(model(**encoded).logits[0, 0, 4:].argmax()) + 4
    assert row["guesses"] == [tokenizer.decode([guess])]


IMAGES = "MockImages(shape={}, classes=4, examples=32)"
CLASSIFIERS = {  # {name: (task, data, transforms)}
    "vit": (f"ImageClassification(vit(4, 4, {SIZES}))", IMAGES.format((16, 16, 3))),
    "vit grey": (f"ImageClassification(vit(4, 4, {SIZES}))", IMAGES.format((16, 16, 1))),
    "vit wide": (f"ImageClassification(vit(4, 4, {SIZES}))", IMAGES.format((16, 24, 3))),
    "resnet": ("ImageClassification(ResNet((1, 1), 4, width=8, stem='imagenet'))", IMAGES.format((32, 32, 3))),
    "resnet grey": ("ImageClassification(ResNet((1, 1), 4, width=8, stem='imagenet'))", IMAGES.format((32, 32, 1))),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_pipeline_classifies_as_predict_does(tmp_path, name):
    run, out = trained_run(tmp_path, *CLASSIFIERS[name], steps=20)
    source = load_trained(run).experiment.data.train.load()
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(source.columns["image"][:8]):
        height, width, channels = image.shape
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        picture = picture.resize((2 * width + number, 2 * height)) if number % 2 and "wide" not in name else picture
        picture.save(folder / f"{number}.png")
    rows = predict.run(run, [str(folder)], [])
    classify = transformers.pipeline("image-classification", model=str(out), device="cpu")
    results = [classify(row["file"])[0] for row in rows]
    assert [result["label"] for result in results] == [row["label"] for row in rows]
    np.testing.assert_allclose([result["score"] for result in results], [row["probability"] for row in rows], atol=0.02)
    assert len({row["label"] for row in rows}) > 1
    transformers.AutoProcessor.from_pretrained(out, local_files_only=True)
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path(out).iterdir()} == {0o666 & ~mask}
