"""Law 11: prediction for a file of an evaluation split has exactly the network inputs that evaluation scored.

`write_files` writes examples of an evaluation as the files that people pass to `jaxdl predict`, by the kind of data.
"""

import csv
import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.data.audio.speech import Speech
from jaxdl.data.dataset import evaluations
from jaxdl.data.image.unpaired import TwoStyles
from jaxdl.data.inputs import Inputs
from jaxdl.data.pipeline import eval_batches
from jaxdl.data.series.rows import Tabular
from jaxdl.data.series.windows import Series, WindowSource
from jaxdl.data.source import Loadable, Source, read_columns, read_texts
from jaxdl.data.text.edits import Edits
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.question_answering import Spans
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tagging import Tagged
from jaxdl.data.text.windows import Windows
from jaxdl.data.video.moving_digits import MovingDigits

if TYPE_CHECKING:
    from jaxdl.testing.laws import Bench

_EXAMPLES = 8
_WRITTEN = 40  # examples of the corpus that are written, because an evaluation may drop some


class Written(NamedTuple):
    """Files and texts of an evaluation's examples.

    Attributes:
      files: Paths.
      texts: Texts.
      features: Features that prediction must reproduce; empty for all that it reads.
      prefix: Whether only the first example of evaluation is compared, as the beginning of one of prediction.
    """

    files: Sequence[str]
    texts: Sequence[str] = ()
    features: tuple[str, ...] = ()
    prefix: bool = False


def takes_no_files(bench: "Bench") -> str:
    """Returns why the law does not apply to an experiment, or ""."""
    loadable, source = _evaluation(bench)
    if hasattr(loadable, "read"):
        return ""
    if bench.experiment.task.presentation.framing is None:
        return "the model takes no files"
    return "" if "image" in source.read(np.arange(1)) else "predict reads no files of this data"


def law_files(bench: "Bench") -> None:
    """Law 11: files of an evaluation become bitwise equal network inputs in prediction."""
    loadable, source = _evaluation(bench)
    experiment = bench.experiment
    batch = next(eval_batches(source, _EXAMPLES, experiment.data.eval_transforms))
    spec = {name: [[*value.shape[1:]], str(value.dtype)] for name, value in batch.items()}
    trained = bench.program().batch_shape.items()
    record = {"batch": {name: [[*value.shape[1:]], str(value.dtype)] for name, value in trained}}
    presentation = experiment.task.presentation
    names = {**source.names, **experiment.task.class_names}
    inputs = Inputs(
        "the run", experiment.data, record | {"evaluated": {"a": spec}}, presentation.framing, names, presentation.mask
    )
    with tempfile.TemporaryDirectory() as folder:
        written = write_files(loadable, Path(folder), source)
        examples = [dict(one.example) for one in inputs.read(written.files, written.texts)]
    for row in range(1 if written.prefix else min(_EXAMPLES, len(source))):
        scored = {name: value[row] for name, value in batch.items()}
        assert any(_equal(example, scored, written) for example in examples), (
            f"no file of the evaluation gives the network inputs of its example {row}"
        )


def _evaluation(bench: "Bench") -> tuple[Any, Source]:
    name, loadable = next(iter(evaluations(bench.experiment.data).items()))
    return getattr(loadable, "dataset", loadable), bench.sources.evals[name]


def _equal(example: Mapping[str, Any], scored: Mapping[str, Any], written: Written) -> bool:
    for name in written.features or example:
        ours, theirs = (_valid(tree, name) for tree in (example, scored))
        if written.prefix:
            ours, theirs = (values[: min(len(ours), len(theirs))] for values in (ours, theirs))
        if ours.dtype != theirs.dtype or not np.array_equal(ours, theirs):
            return False
    return True


def _valid(tree: Mapping[str, Any], name: str) -> np.ndarray:
    """Returns a feature without padding."""
    value = np.asarray(tree[name])
    return value[: int(tree[f"{name}_length"])] if f"{name}_length" in tree else value


@functools.singledispatch
def write_files(loadable: Loadable, folder: Path, source: Source) -> Written:
    """Writes examples as files; by default the images of the source, as PNG."""
    images = source.read(np.arange(min(_EXAMPLES, len(source))))["image"]
    return Written(_images(folder, images), features=("image",))


def _images(folder: Path, images: Any) -> list[str]:
    from PIL import Image

    paths = [str(folder / f"{number:03}.png") for number in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return paths


@write_files.register
def _(loadable: TwoStyles, folder: Path, source: Source) -> Written:
    images = read_columns(loadable.corpus.load(), (loadable.a,))[loadable.a]
    return Written(_images(folder, images), features=("image_a",))


def _corpus_texts(corpus: Loadable, *features: str) -> list[list[str]]:
    texts = read_texts(corpus.load(), features)
    return [texts[feature][:_WRITTEN] for feature in features]


def _lines(folder: Path, texts: Sequence[str]) -> Written:
    """Writes one text per line; texts with other line breaks are passed as they are."""
    if any(text != text.strip() or "\n" in text for text in texts):
        return Written((), texts)
    path = folder / "texts.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return Written((str(path),))


@write_files.register
def _(loadable: Sentences, folder: Path, source: Source) -> Written:
    (texts,) = _corpus_texts(loadable.corpus, loadable.feature)
    return _lines(folder, texts)


@write_files.register
def _(loadable: Pairs, folder: Path, source: Source) -> Written:
    (texts,) = _corpus_texts(loadable.corpus, loadable.source)
    return _lines(folder, texts)


@write_files.register
def _(loadable: Tagged, folder: Path, source: Source) -> Written:
    (texts,) = _corpus_texts(loadable.corpus, loadable.text)
    return _lines(folder, texts)._replace(features=("tokens",))


@write_files.register
def _(loadable: Edits, folder: Path, source: Source) -> Written:
    (texts,) = _corpus_texts(loadable.corpus, loadable.source)
    return Written((), texts, ("tokens",))


@write_files.register
def _(loadable: Windows, folder: Path, source: Source) -> Written:
    # A prompt is the beginning of a text, as is the first window; the others begin at tokens inside it.
    (texts,) = _corpus_texts(loadable.corpus, loadable.feature)
    path = folder / "text.txt"
    path.write_text(texts[0], encoding="utf-8")
    return Written((str(path),), features=("tokens",), prefix=True)


@write_files.register
def _(loadable: Spans, folder: Path, source: Source) -> Written:
    texts, questions = _corpus_texts(loadable.corpus, loadable.text, loadable.question)
    paths = [folder / f"{number}.txt" for number in range(_EXAMPLES)]
    for path, text in zip(paths, texts):
        path.write_text(text, encoding="utf-8")
    return Written([str(path) for path in paths], questions[: len(paths)], ("tokens", "begin"))


@write_files.register
def _(loadable: Speech, folder: Path, source: Source) -> Written:
    from scipy.io import wavfile

    columns = read_columns(loadable.corpus.load(), ("audio", "rate"))
    paths = [folder / f"{number:03}.wav" for number in range(min(_WRITTEN, len(columns["rate"])))]
    for path, audio, rate in zip(paths, columns["audio"], columns["rate"]):
        wavfile.write(path, int(rate), np.asarray(audio))
    return Written([str(path) for path in paths])


@write_files.register
def _(loadable: MovingDigits, folder: Path, source: Source) -> Written:
    videos = source.read(np.arange(min(_EXAMPLES, len(source))))["frames"]
    paths = [folder / f"{number}.npy" for number in range(len(videos))]
    for path, frames in zip(paths, videos):
        np.save(path, frames)
    return Written([str(path) for path in paths])


@write_files.register
def _(loadable: Tabular, folder: Path, source: Source) -> Written:
    table = loadable.table.load()
    columns, names = table.read(np.arange(min(_WRITTEN, len(table)))), table.names
    rows = [
        [names[name][int(value)] if name in names else str(value) for name, value in zip(loadable.columns, row)]
        for row in zip(*(columns[name] for name in loadable.columns))
    ]
    return Written([_csv(folder / "rows.csv", loadable.columns, rows)])


@write_files.register
def _(loadable: Series, folder: Path, source: Source) -> Written:
    assert isinstance(source, WindowSource)
    table = loadable.table.load()
    columns = table.read(np.arange(len(table)))
    series = table.names.get("series") or [str(number) for number in range(int(columns["series"].max()) + 1)]
    others = tuple(dict.fromkeys((*loadable.covariates, *loadable.known)))
    header, files = ("series", "time", "value", *others), []
    for number, origin in enumerate(source.origins[:_EXAMPLES].tolist()):
        first = int(np.flatnonzero(columns["series"] == columns["series"][origin])[0])
        rows = []
        for row in range(first, origin + (loadable.horizon if loadable.known else 0)):
            known = [str(columns[name][row]) if row < origin or name in loadable.known else "" for name in others]
            value = str(columns["value"][row]) if row < origin else ""
            rows.append([series[int(columns["series"][row])], str(columns["time"][row]), value, *known])
        files.append(_csv(folder / f"{number}.csv", header, rows))
    return Written(files)


def _csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)
