"""Labels, tokens and mask values without an output of the model are refused, by name, before a step uses them."""

import dataclasses
from dataclasses import dataclass, field

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import Columns

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.pipeline import Batches
from jaxdl.data.source import ColumnSource, ExampleSource
from jaxdl.errors import UserError
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.tasks.question_answering import QuestionAnswering
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.tasks.token_classification import TokenClassification
from jaxdl.training.ids import check_batch, check_sources
from jaxdl.training.loop import check, make_program
from jaxdl.training.sources import Sources, load_sources
from jaxdl.training.task import IdRange

LABEL = IdRange("label", 5, "task.model.num_classes", classes=True)
MASK = IdRange("mask", 3, "task.num_classes", ignored=(255,))
DATA = Data(train=Columns(), evals={}, batch_size=8)
FIVE = np.arange(40, dtype=np.int32) % 5


class Net(nn.Module):
    num_classes: int = 5

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(self.num_classes)(image.reshape(image.shape[0], -1))


class Reader(nn.Module):
    """Embeds tokens and adds embeddings of positions, of which there are fewer."""

    vocabulary: int = 20
    outputs: int = 3

    @nn.compact
    def __call__(self, tokens, *, length=None, types=None, carry=None, train):
        x = nn.Embed(self.vocabulary, 4)(tokens) + nn.Embed(8, 4)(jnp.arange(tokens.shape[1]))
        return nn.Dense(self.outputs)(x)


class Pooled(Reader):
    @nn.compact
    def __call__(self, tokens, *, length=None, train):
        return nn.Dense(self.outputs)(nn.Embed(self.vocabulary, 4)(tokens).mean(1))


class Language(nn.Module):
    vocabulary: int = 20

    @nn.compact
    def __call__(self, tokens, *, carry=None, train):
        return nn.Dense(self.vocabulary)(nn.Embed(self.vocabulary, 4)(tokens)), None


def changed(values, position, value):
    values = values.copy()
    values[position] = value
    return values


def source(names=None, **columns):
    return ColumnSource(columns, "columns", names or {})


def images(count=40):
    return np.zeros((count, 2, 2, 1), np.uint8)


def classification(train, evals=None, **data):
    evaluations = {"validation": Columns(**evals)} if evals else {}
    return Experiment(
        task=ImageClassification(Net()),
        data=Data(train=Columns(**train), evals=evaluations, batch_size=8, **data),
        optimizers={"train": optax.sgd(0.1)},
        steps=2,
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (changed(FIVE, 39, 5), "label has 1 id out of range, the first is 5 in example 39"),
        (changed(FIVE, [3, 7], 9), "label has 2 ids out of range, the first is 9 in example 3"),
        (changed(FIVE, 2, -1), "label has 1 id out of range, the first is -1 in example 2"),
        (changed(FIVE, 2, -100), "the first is -100 in example 2; .* allows 0 to 4; correct the data$"),
        (FIVE + 1, "task.model.num_classes allows 0 to 4; correct the data or increase task.model.num_classes"),
        (FIVE.astype(np.float32), "label has type float32"),
    ],
)
def test_labels_without_an_output_are_refused(label, message):
    with pytest.raises(UserError, match=message):
        check_batch({"label": label}, [LABEL], "training set")
    with pytest.raises(UserError, match=f"^training set: .*{message}"):
        check_sources(Sources(source(label=label), {}), DATA, [LABEL])


def test_ignored_ids_and_padding_may_have_any_value():
    mask = changed(np.zeros((4, 2, 2), np.uint8), (1, 0, 0), 255)
    tokens = changed(np.ones((4, 6), np.int32), (slice(None), slice(4, None)), 999)
    batch = {
        "mask": mask,
        "tokens": tokens,
        "tokens_length": np.full(4, 4, np.int32),
        "box_label": np.array([[1, 77]] * 4),
        "box_weight": np.array([[1.0, 0.0]] * 4),
        "label": np.array([0, 1, 2, 77]),
        "weight": np.array([1.0, 1.0, 1.0, 0.0]),
    }
    ranges = [MASK, IdRange("tokens", 10), IdRange("box_label", 3, mask="box_weight"), LABEL]
    check_batch(batch, ranges, "training set")
    for feature, position in (("mask", (2, 1, 1)), ("tokens", (2, 1)), ("box_label", (0, 0)), ("label", 0)):
        with pytest.raises(UserError, match=f"{feature} has 1 id out of range, the first is 12"):
            check_batch(batch | {feature: changed(batch[feature], position, 12)}, ranges, "training set")


def test_a_class_that_only_an_evaluation_has_is_refused():
    sources = Sources(source(label=FIVE % 4), {"test": source({"label": tuple("abcde")}, label=FIVE)})
    with pytest.raises(UserError, match=r"evaluation 'test': label is 4 \('e'\) at 8 positions, but never in the"):
        check_sources(sources, DATA, [LABEL])
    check_sources(Sources(sources.evals["test"], {"test": sources.train}), DATA, [LABEL])


def test_outputs_that_no_class_has_are_a_warning(capsys):
    check_sources(Sources(source({"label": tuple("abc")}, label=FIVE % 3), {}), DATA, [LABEL])
    assert "label has 3 classes and the model 5 outputs; decrease task.model.num_classes?" in capsys.readouterr().err
    check_sources(Sources(source({"label": tuple("abcde")}, label=FIVE), {}), DATA, [LABEL])
    assert capsys.readouterr().err == ""


def test_evaluations_with_another_vocabulary_are_refused():
    tokens = np.ones((4, 3), np.int32)
    first, second = (source({"tokens": names}, tokens=tokens) for names in (("a", "b"), ("a", "c")))
    with pytest.raises(UserError, match="evaluation 'test': tokens 1 means 'c', but 'b' in the training set"):
        check_sources(Sources(first, {"test": second}), DATA, [IdRange("tokens", 2)])


@dataclass(frozen=True)
class Add:
    number: int

    def __call__(self, batch, draws):
        return batch | {"label": batch["label"] + self.number}


def test_labels_are_those_after_the_transforms():
    check_sources(Sources(source(label=FIVE - 1), {}), dataclasses.replace(DATA, augment=(Add(1),)), [LABEL])
    with pytest.raises(UserError, match="label has 1 id out of range, the first is 5"):
        check_sources(Sources(source(label=FIVE), {}), dataclasses.replace(DATA, augment=(Add(1),)), [LABEL])


@dataclass
class Decoded:
    """Examples that count how many of them were read."""

    label: np.ndarray
    read: list = field(default_factory=list)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, number):
        self.read.append(number)
        return {"image": np.zeros((2, 2, 1), np.uint8), "label": self.label[number]}


def test_of_streamed_examples_a_sample_is_scanned_and_then_every_batch():
    label = changed(np.arange(1000, dtype=np.int32) % 5, 2, 7)
    examples = Decoded(label)
    streamed = ExampleSource(examples, np.arange(1000), "streamed")
    check_sources(Sources(streamed, {}), DATA, [LABEL])
    assert len(examples.read) == 32
    experiment = classification({"image": images(), "label": FIVE})
    program = make_program(experiment, load_sources(experiment.data))
    batches = Batches(streamed, experiment.data, seed=0, rows=program.rows).iterate(0, program.place)
    labels = []
    with pytest.raises(UserError, match="training set: label has 1 id out of range, the first is 7 in example 2"):
        labels.extend(np.max(batch["label"]) for _, batch in batches)
    assert max(labels) < 5


def test_labels_of_image_folders_are_scanned_without_decoding():
    class Folder(Decoded):
        def labels_of(self, rows):
            return self.label[rows]

    examples = Folder(changed(np.arange(1000, dtype=np.int32) % 5, 777, 5))
    with pytest.raises(UserError, match="the first is 5 in example 777"):
        check_sources(Sources(ExampleSource(examples, np.arange(1000), ""), {}), DATA, [LABEL])
    assert not examples.read


def ranges_of(task, **batch):
    specs = {name: jnp.asarray(value) for name, value in batch.items()}
    specs |= {"index": jnp.arange(4), "weight": jnp.ones(4)}
    params, variables = jax.eval_shape(task.init, jax.random.key(0), specs)
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in specs.items()}
    return {valid.feature: valid for valid in task.id_ranges(params, variables, shapes)}


def test_sizes_are_those_of_outputs_and_embeddings():
    tokens = np.ones((4, 8), np.int32)
    label = IdRange("label", 3, "task.model.outputs", classes=True)
    words = IdRange("tokens", 20, "task.model.vocabulary")
    position = {name: IdRange(name, 8, "the length of tokens") for name in ("begin", "first", "last")}
    one = np.zeros(4, np.int32)
    answers = {"tokens": tokens, "tokens_length": one, "begin": one, "first": one, "last": one}
    assert ranges_of(SequenceClassification(Pooled()), tokens=tokens, label=one) == {"label": label, "tokens": words}
    assert ranges_of(TokenClassification(Reader()), tokens=tokens, label=tokens) == {
        "label": label._replace(classes=False, ignored=(-1,)),
        "tokens": words,
    }
    assert ranges_of(QuestionAnswering(Reader(outputs=2)), **answers) == {**position, "tokens": words}
    assert ranges_of(LanguageModelling(Language(), carried=False), tokens=tokens) == {"tokens": words}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_experiment_is_refused_before_its_first_step(split):
    good, bad = {"image": images(), "label": FIVE}, {"image": images(), "label": changed(FIVE, 11, 6)}
    experiment = classification(bad if split == "train" else good, good if split == "train" else bad)
    sources = load_sources(experiment.data)
    program = make_program(experiment, sources)
    with pytest.raises(UserError, match="label has 1 id out of range, the first is 6 in example 11"):
        check(program, sources)
    experiment = classification(good, good)
    check(program, load_sources(experiment.data))


def test_an_evaluation_with_unknown_labels_is_refused():
    experiment = classification({"image": images(), "label": FIVE})
    program = make_program(experiment, load_sources(experiment.data))
    batch = {"image": images(8), "label": changed(FIVE[:8], 1, 5), "index": np.arange(8), "weight": np.ones(8)}
    with pytest.raises(UserError, match="evaluation: label has 1 id out of range"):
        program.evaluate(program.init(), [batch])
