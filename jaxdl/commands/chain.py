"""Chains of runs, in which the text that a run predicts is the input of the next: speech, its text, an answer."""

from collections.abc import Sequence
from typing import Any

from jaxdl.commands.predict import check_finite, readable
from jaxdl.data.inputs import Example
from jaxdl.errors import UserError
from jaxdl.runs.inference import inputs_of, predict
from jaxdl.runs.restore import Trained, load_trained


def run(
    paths: Sequence[str],
    files: Sequence[str],
    texts: Sequence[str] = (),
    about: str | None = None,
    step: int | None = None,
    settings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Predicts with several runs in turn.

    A language model that stops at a string continues after it: the text that it reads is a finished line of a chat.

    Args:
      paths: Run folders. Those after the first read texts, those before the last predict texts.
      files, texts: Inputs of the first run.
      about: File that the last run reads beside the texts.
      step, settings: Checkpoint and settings of the first run.

    Returns:
      A dict for each file or text: "file" or "text", and the outputs of all runs. A name that an earlier run has gets
      the number of its run: `score_2`. Where a run predicts an empty text, the outputs of later runs are missing.

    Raises:
      UserError: A run or an input that cannot be read, a run that predicts or reads no text.
    """
    models = [load_trained(paths[0], step, settings), *map(load_trained, paths[1:])]
    for path, model in zip(paths[:-1], models):
        if model.task.presentation.text is None:
            kinds = "speech recognition, translation, captioning, question answering or a language model"
            raise UserError(f"{path} predicts no text that --then could pass on; use a run of {kinds}")
    rows: list[dict[str, Any]] = []
    inputs: list[str] = []
    for number, (path, model) in enumerate(zip(paths, models)):
        if number == 0:
            examples = inputs_of(model, path).read(files, texts)
            rows = [{"file" if files else "text": one.name} for one in examples]
            numbers = list(range(len(rows)))
        else:
            last = number + 1 == len(paths)
            numbers = [row for row, text in enumerate(inputs) if text.strip()]
            passed = [inputs[row].strip() for row in numbers]
            examples = read_texts(model, path, passed, about if last else None) if passed else []
        inputs = [""] * len(rows)
        for row, outputs in zip(numbers, outputs_of(model, examples)):
            rows[row] |= {name if name not in rows[row] else f"{name}_{number + 1}": outputs[name] for name in outputs}
            inputs[row] = str(outputs.get(model.task.presentation.text or "", ""))
    return rows


def outputs_of(model: Trained, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Returns the outputs for each example as JSON values."""
    rows = []
    for one, outputs in zip(examples, predict(model, examples)):
        check_finite(one.name, outputs)
        rows.append(readable(model.task.presentation, one.example, outputs, model.names))
    return rows


def read_texts(model: Trained, path: str, texts: Sequence[str], about: str | None) -> list[Example]:
    """Returns the examples of texts, one for each.

    Raises:
      UserError: The run does not read texts, or needs a file with them.
    """
    ends = getattr(model.task.presentation, "stop", ())
    try:
        examples = inputs_of(model, path).read([about] if about else [], [text + "".join(ends[:1]) for text in texts])
    except UserError as error:
        raise UserError(f"--then={path}: {error}") from None
    if len(examples) != len(texts):
        raise UserError(f"--then={path} reads {len(examples)} examples from {len(texts)} texts; pass one --about file")
    return examples
