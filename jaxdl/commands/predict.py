"""Predicts for files and texts, and draws samples of generative models."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl.flags import FlagValues

from jaxdl.commands.flags import FORMAT, SET, STEP, Command, Flag
from jaxdl.data.image.files import Framed, find_images, frame
from jaxdl.data.source import stack
from jaxdl.distributed.mesh import batch_shards
from jaxdl.errors import UserError, nearest
from jaxdl.runs.files import stems, write_errors, write_gif, write_png
from jaxdl.runs.restore import Trained, load_trained
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="predict",
    summary="Predicts for files or texts, draws samples, or chats",
    synopsis=(
        "RUN FILE... [--pictures=DIR] [--output=FILE] [--format=json] [--set=NAME=VALUE] [--step=N]",
        "RUN [FILE...] --text=TEXT",
        "RUN --samples=N [--label=CLASS] [--seed=N]",
        "RUN --interactive",
    ),
    flags=(
        Flag("text", "Sentence, prompt, or question about the files. Repeatable.", value="TEXT", default=()),
        Flag("samples", "Number of samples of a generative model.", value="N", kind=int, minimum=1),
        Flag("label", "Class of the samples, by name or number. By default all in turn.", value="CLASS"),
        Flag(
            "seed",
            "Seed of the samples. By default that of the run.",
            value="N",
            kind=int,
            minimum=0,
            instead=("set=seed",),
        ),
        Flag("interactive", "Chat with a language model on the terminal.", kind=bool, default=False),
        Flag("pictures", "Folder of the pictures. By default RUN/predictions.", value="DIR"),
        Flag("output", "File for the predictions as JSON lines.", value="FILE", instead=("workdir",)),
        FORMAT,
        SET,
        STEP,
    ),
    example="jaxdl predict runs/digits photo.png folder --format=json",
)

# Features whose class names the outputs of that name carry.
NAMED = {"label": "label", "labels": "box_label"}
# Arrays with more numbers than this are not written as JSON.
WRITTEN = 256


def main(arguments: list[str], flags: FlagValues) -> None:
    path, *files = arguments
    if flags.samples is None and (flags.seed is not None or flags.label is not None):
        raise UserError("--seed and --label need --samples: jaxdl predict RUN --samples=16 --seed=1")
    if flags.interactive:
        from jaxdl.commands import chat

        chat.run(path, flags.step, flags.set)
    elif flags.samples is not None:
        settings = [*flags.set, *([] if flags.seed is None else [f"seed={flags.seed}"])]
        options = (flags.step, flags.format, flags.output, flags.pictures, settings)
        sample(path, flags.samples, flags.label, *options)
    else:
        run(path, files, flags.text, flags.step, flags.format, flags.output, flags.pictures, flags.set)


class Example(NamedTuple):
    """Example to predict for.

    Attributes:
      name: Its file, its text, or its number.
      example: Its features.
      framed: How an image was brought to the model's size; None for other data.
    """

    name: str
    example: Mapping[str, np.ndarray]
    framed: Framed | None


def run(
    path: str,
    files: Sequence[str],
    texts: Sequence[str] = (),
    step: int | None = None,
    format: str = "text",
    output: str | None = None,
    pictures: str | None = None,
    settings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Predicts for files and texts, and prints a table, or JSON lines; draws what can be drawn.

    Args:
      path: the run folder.
      files: image files or folders of them, brought to the size and channels that the model was trained on, as the
        task's `framing` says, boxes in pixels of the files; or what the run's data read: texts, recordings, tables.
      texts: sentences or prompts, for a run on text.
      step: the checkpoint; None for the newest.
      format: "text" for a table, "json" for a JSON object a line.
      output: also write the JSON lines to this file.
      pictures: the folder for what is drawn, and for masks as PNG files; None for `predictions` in the run folder.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.beam=8`.

    Returns:
      one dict a file or text: "file" or "text", and the task's outputs; classes by name.

    Raises:
      UserError: a run, file or text that cannot be read, or that the model does not take.
    """
    trained = load_trained(path, step, settings)
    shown, names = trained.experiment.task.presentation, trained.names
    given = read_examples(trained, path, files, texts)
    folder = Path(pictures) if pictures else Path(path) / "predictions"
    if shown.picture is not None:
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    shown_as = stems([Path(one.name if one.framed else f"{number}") for number, one in enumerate(given)])
    rows: list[dict[str, Any]] = []
    for number, (one, outputs) in enumerate(zip(given, predict(trained, given))):
        readable = _readable(outputs, names) if shown.readable is None else shown.readable(one.example, outputs, names)
        row = {"file" if files else "text": one.name, **readable}
        if shown.picture is not None:
            row |= _draw(trained, one, outputs, names, folder / shown_as[number])
        rows.append(row)
    _print(rows, format, output)
    return rows


def sample(
    path: str,
    count: int,
    label: str | None = None,
    step: int | None = None,
    format: str = "text",
    output: str | None = None,
    pictures: str | None = None,
    settings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Lets a generative model make `count` things from nothing, and draws each and all of them in one picture.

    If the model tells how they came about, there is an animation, too.

    Args:
      label: of which class, by name or number; None for all classes in turn, where the model knows classes.
      settings: as in `run`; `seed=1` for other samples than those of the run's own seed.

    Returns:
      one dict a sample: "sample", its number, and the task's outputs.

    Raises:
      UserError: a run that makes nothing, or not by class, or has no such class.
    """
    trained = load_trained(path, step, settings)
    shown, names = trained.experiment.task.presentation, trained.names
    if trained.experiment.task.sample is None:
        raise UserError(f"{path} makes nothing from nothing: leave --samples out and give it files or --text")
    folder = Path(pictures) if pictures else Path(path) / "predictions"
    rows, drawn, labels, ways = [], [], [], []
    for number, outputs in enumerate(_outputs(trained, trained.program.sample, _asked(trained, path, count, label))):
        if label is not None and "label" not in outputs:
            raise UserError(f"{path} does not know classes: leave --label out")
        readable = _readable(outputs, names) if shown.readable is None else shown.readable({}, outputs, names)
        rows.append({"sample": number, **readable})
        labels += [int(outputs["label"])] if "label" in outputs else []
        ways += [outputs["strip"]] if "strip" in outputs else []
        if shown.picture is not None:
            drawn.append(shown.picture({}, outputs, names))
            rows[-1]["picture"] = str(folder / f"sample_{number:04}.png")
    if drawn:
        from jaxdl.viz.generation import sample_grid

        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for row, picture in zip(rows, drawn):
            write_png(Path(row["picture"]), picture)
        pages = [np.stack(drawn), *np.stack(ways, axis=1)] if ways else [np.stack(drawn)]
        grids = [sample_grid(images, labels or None, names.get("label")) for images in pages]
        write_png(folder / "samples.png", grids[0])
        if ways:
            write_gif(folder / "samples.gif", np.stack(grids[1:]))
    _print(rows, format, output)
    return rows


def _asked(trained: Trained, path: str, count: int, label: str | None) -> list[dict[str, np.ndarray]]:
    """What is known of each sample before it is made: its index, and its class where the data have classes."""
    classes = [str(name) for name in trained.names.get("label", ())] if "label" in trained.record["batch"] else []
    if label is not None and label not in classes:
        if not label.isdecimal() or int(label) >= len(classes):
            raise UserError(f"{path} has no class '{label}'; {nearest(label, classes)}")
        label = classes[int(label)]
    asked: list[dict[str, np.ndarray]] = [{"index": np.array(number, np.int32)} for number in range(count)]
    for number, one in enumerate(asked if classes else ()):
        one["label"] = np.array(number % len(classes) if label is None else classes.index(label), np.int32)
    return asked


def predict(trained: Trained, examples: Sequence[Example]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the outputs of each example, boxes and maps of images in pixels of the file."""
    outputs = _outputs(trained, trained.program.predict, [one.example for one in examples])
    for one, values in zip(examples, outputs):
        yield values if one.framed is None else _in_file(values, one.framed)


def read_examples(
    trained: Trained, path: str, files: Sequence[str | np.ndarray], texts: Sequence[str]
) -> list[Example]:
    """Reads files, arrays of images or texts as the run's model takes them.

    Raises:
      UserError: a file that cannot be read, or data that the model does not take.
    """
    spec = trained.record["batch"]
    data: Any = trained.experiment.data.train  # may have a `read`, for what is no image
    arrays = [file for file in files if isinstance(file, np.ndarray)]
    paths = [file for file in files if not isinstance(file, np.ndarray)]
    if sum(map(bool, (arrays, paths, texts))) > 1:
        raise UserError("predict takes either files, arrays or texts")
    if hasattr(data, "read"):
        if arrays:
            raise UserError(f"{path} does not take arrays; pass files or texts")
        return [Example(name, example, None) for name, example in data.read(files, texts, trained.names)]
    if texts:
        raise UserError(f"{path} does not take texts: its batches have {', '.join(sorted(spec))}")
    if "image" not in spec:
        raise UserError(f"{path} does not take images: its batches have {', '.join(sorted(spec))}")
    framing = trained.experiment.task.presentation.framing
    if framing is None:
        raise UserError(f"{path} makes images from nothing and looks at none: leave the files out, use --samples=16")
    sources = list(enumerate(arrays)) if arrays else [(file, file) for file in find_images(paths)]
    framed = [(str(name), frame(source, tuple(spec["image"][0]), framing)) for name, source in sources]
    return [Example(name, {"image": one.image}, one) for name, one in framed]


def _outputs(
    trained: Trained, function: Callable[..., dict[str, np.ndarray]], examples: Sequence[Mapping[str, np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    """The function's outputs for each example; examples of the same shapes that follow each other share a batch."""
    start = 0
    while start < len(examples):
        size = _rows(trained, examples[start])
        shapes = {name: value.shape for name, value in examples[start].items()}
        stop = start + 1
        while (
            stop < len(examples)
            and stop - start < size
            and {name: value.shape for name, value in examples[stop].items()} == shapes
        ):
            stop += 1
        batch = _batch(stack([dict(one) for one in examples[start:stop]]), start, size, trained.record["batch"])
        outputs = function(trained.state, batch)
        for number in range(stop - start):
            yield {name: np.asarray(value[number]) for name, value in outputs.items()}
        start = stop


def _rows(trained: Trained, example: Mapping[str, np.ndarray]) -> int:
    """Rows of a batch: as in evaluation; fewer where the example is larger than those of training, for the memory."""
    spec, shards = trained.record["batch"], batch_shards(trained.program.mesh)
    grown = [value.size / math.prod(spec[name][0]) for name, value in example.items() if name in spec]
    return max(shards, int(trained.program.eval_batch_size / max(grown, default=1.0)) // shards * shards)


def _batch(given: Mapping[str, np.ndarray], start: int, size: int, spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Examples as a batch filled up to `size`; other features that the model was trained with are zeros."""
    count = len(next(iter(given.values())))
    batch: dict[str, np.ndarray] = {name: np.zeros((size, *shape), dtype) for name, (shape, dtype) in spec.items()}
    # Rows that fill up repeat the first one, since a length or a scale of 0 may be no valid input.
    rows = np.where(np.arange(size) < count, np.arange(size), 0)
    batch |= {name: value[rows] for name, value in given.items()}
    batch["index"] = np.arange(start, start + size, dtype=np.int32)
    batch["weight"] = (np.arange(size) < count).astype(np.float32)
    return batch


def _print(rows: Sequence[Mapping[str, Any]], format: str, output: str | None) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if output:
        try:
            Path(output).write_text(lines)
        except OSError as error:
            raise UserError(f"--output={output} cannot be written: {error.strerror}") from error
    if format == "json":
        print(lines, end="")
    else:
        print_table(*_table(rows))


def _in_file(outputs: Mapping[str, np.ndarray], framed: Framed) -> dict[str, np.ndarray]:
    """Outputs for the file at its own size: only the boxes that were found, maps [height, width] pixel by pixel, images
    without what was added to the file's.
    """
    outputs = dict(outputs)
    if "boxes" in outputs and "scores" in outputs:
        kept = outputs["scores"] > 0
        outputs = {name: value[kept] if len(value) == len(kept) else value for name, value in outputs.items()}
        outputs["boxes"] = framed.boxes_of_file(outputs["boxes"])
    shape = framed.image.shape[:2]
    outputs = {name: framed.map_of_file(value) if value.shape == shape else value for name, value in outputs.items()}
    return {name: _cut(value, framed) if _is_image(value) else value for name, value in outputs.items()}


def _is_image(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[-1] in (1, 3)


def _cut(image: np.ndarray, framed: Framed) -> np.ndarray:
    """An image made of one that kept its size, or a whole number of times as large, without what framing added."""
    factor = image.shape[0] // framed.image.shape[0]
    kept = framed.scale == (1.0, 1.0) and framed.offset == (0.0, 0.0)
    same = image.shape[:2] == tuple(factor * side for side in framed.image.shape[:2])
    height, width = framed.file.shape[:2]
    return image[: factor * height, : factor * width] if kept and same else image


def _readable(outputs: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Outputs as JSON values, classes by name; maps and other large arrays are left out."""
    row: dict[str, Any] = {}
    for key, value in outputs.items():
        classes = names.get(NAMED.get(key, ""))
        if value.size > WRITTEN and value.ndim > 1:
            continue
        if classes:
            row[key] = [classes[int(one)] for one in value] if value.ndim else classes[int(value)]
        elif value.ndim == 1 and len(value) == len(names.get("label", ())):
            row[key] = {name: round(float(share), 6) for name, share in zip(names["label"], value)}
        else:
            row[key] = value.tolist()
    return row


def _draw(
    trained: Trained, one: Example, outputs: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]], path: Path
) -> dict[str, str]:
    """Writes the picture, images and maps of whole numbers as PNG files, images in a row as animations.

    Returns {name: path}.
    """
    picture = trained.experiment.task.presentation.picture
    assert picture is not None
    written = {"picture": f"{path}.png"}
    example = one.example if one.framed is None else {"image": one.framed.file}
    write_png(Path(written["picture"]), picture(example, outputs, names))
    for name, value in outputs.items():
        is_map = one.framed is not None and value.shape == one.framed.file.shape[:2] and value.dtype.kind in "iu"
        if is_map or _is_image(value):
            written[name] = f"{path}_{name}.png"
            write_png(Path(written[name]), value[..., 0] if value.ndim == 3 and value.shape[-1] == 1 else value)
        elif value.ndim == 4 and _is_image(value[0]):
            written[name] = f"{path}_{name}.gif"
            write_gif(Path(written[name]), value)
    return written


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns the names and rows of the scalar outputs, and of the classes and scores of boxes."""
    lines = [{key: text for key, value in row.items() if (text := _cell(row, key, value))} for row in rows]
    names = list(dict.fromkeys(key for line in lines for key in line))
    return names, [[line.get(name, "") for name in names] for line in lines]


def _cell(row: Mapping[str, Any], key: str, value: Any) -> str:
    if key == "labels":
        return ", ".join(f"{label} {score:.2f}" for label, score in zip(value, row["scores"]))[:80] or "nothing"
    if isinstance(value, (list, dict)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
