"""Predicts for files and texts, and draws samples of generative models."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl.flags import FlagValues

from jaxdl.commands import nearest as neighbours
from jaxdl.commands.flags import FORMAT, SET_OF_RUN, STEP, TRUST, Command, Flag
from jaxdl.data.inputs import Example
from jaxdl.errors import UserError, nearest, write_errors
from jaxdl.runs.files import check_output, stems, utf8, write_gif, write_output, write_png
from jaxdl.runs.inference import inputs_of, is_image, outputs_of, predict
from jaxdl.runs.places import output_folder
from jaxdl.runs.restore import Trained, load_trained
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="predict",
    summary="Predicts for files or texts, draws samples, or chats",
    synopsis=(
        "RUN FILE... [--pictures=DIR] [--output=FILE] [--format=json] [--set=NAME=VALUE] [--step=N] [--trust]",
        "RUN FILE... --nearest",
        "RUN [FILE...] --text=TEXT",
        "RUN [FILE...] --then=RUN [--about=FILE]",
        "RUN --samples=N [--label=CLASS] [--seed=N] [--nearest]",
        "RUN --interactive",
    ),
    flags=(
        Flag("text", "Sentence, prompt, or question about the files. Repeatable.", value="TEXT", default=()),
        Flag("then", "Run on text, whose input is the text that RUN predicts. Repeatable.", value="RUN", default=()),
        Flag("about", "File that the last run of --then answers questions about.", value="FILE"),
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
        Flag(
            "nearest",
            "Show the nearest training images of generated ones, a check of memorization, or those of an embedding.",
            kind=bool,
            default=False,
        ),
        Flag("interactive", "Chat with a language model on the terminal.", kind=bool, default=False),
        Flag("pictures", "Folder of the pictures. By default RUN/predictions.", value="DIR"),
        Flag("output", "File for the predictions as JSON lines.", value="FILE", instead=("workdir",)),
        FORMAT,
        SET_OF_RUN,
        STEP,
        TRUST,
    ),
    example="jaxdl predict runs/digits photo.png folder --format=json",
)

# Outputs whose values are class indices, with the feature that has the class names.
NAMED = {"label": "label", "labels": "box_label"}
# Characters that would break the lines of a table.
_VISIBLE = str.maketrans({"\n": "⏎", "\r": "␍", "\t": "␉", "\v": "␋", "\f": "␌"})
# Largest number of elements of a multi-dimensional array that is written as JSON.
WRITTEN = 256
_SHOWN = 8  # values of an array in the table
_OTHER_FORMATS = frozenset(
    (".csv", ".tsv", ".xlsx", ".parquet", ".html", ".md", ".npy", ".npz", ".png", ".jpg", ".jpeg")
)
_LINES = (b'{"file": ', b'{"text": ', b'{"sample": ')  # beginnings of its output files
MOST = 100_000  # samples of a call, which are in memory


def main(arguments: list[str], flags: FlagValues) -> None:
    path, *files = arguments
    if flags.output:
        check_output(Path(flags.output), *_LINES)
        check_suffix(flags.output)
    if flags.samples is None and (flags.seed is not None or flags.label is not None):
        raise UserError("--seed and --label need --samples: jaxdl predict RUN --samples=16 --seed=1")
    if flags.interactive:
        from jaxdl.commands import chat

        chat.run(path, flags.step, flags.set)
    elif flags.then or flags.about:
        from jaxdl.commands import chain

        if flags.pictures or flags.nearest or flags.samples is not None:
            raise UserError("--then does not take --pictures, --nearest or --samples; predict with each run instead")
        if not flags.then:
            raise UserError("--about needs --then, the run that answers; without --then pass the file itself")
        rows = chain.run([path, *flags.then], files, flags.text, flags.about, flags.step, flags.set)
        print_rows(rows, flags.format, flags.output)
    elif flags.samples is not None:
        settings = [*flags.set, *([] if flags.seed is None else [f"seed={flags.seed}"])]
        options = (flags.step, flags.format, flags.output, flags.pictures, settings)
        sample(path, flags.samples, flags.label, *options, nearest=flags.nearest)
    else:
        options = (flags.step, flags.format, flags.output, flags.pictures, flags.set)
        run(path, files, flags.text, *options, nearest=flags.nearest)


def check_suffix(output: str) -> None:
    """Raises UserError if the name of an output file is that of another format than JSON lines."""
    suffix = Path(output).suffix
    if suffix.lower() in _OTHER_FORMATS:
        raise UserError(
            f"--output={output} is written as JSON lines, not as {suffix}; name it {output[: -len(suffix)]}.jsonl"
        )


def run(
    path: str,
    files: Sequence[str],
    texts: Sequence[str] = (),
    step: int | None = None,
    format: str = "text",
    output: str | None = None,
    pictures: str | None = None,
    settings: Sequence[str] = (),
    nearest: bool = False,
) -> list[dict[str, Any]]:
    """Predicts for files and texts, prints a table or JSON lines, and draws pictures.

    Args:
      path: Run folder.
      files: Image files or folders of them, preprocessed as in evaluation, with boxes in pixels of the files. Or files
        that the run's data read: texts, recordings, tables.
      texts: Sentences, prompts or questions, for a run on text.
      step: Checkpoint. None: the one of `Experiment.select`.
      format: "text" for a table, "json" for one JSON object a line.
      output: File for the JSON lines. None: they are not written.
      pictures: Folder of the pictures, and of masks as PNG files. None: `predictions` in the run folder.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.beam=8`.
      nearest: Whether to write `nearest.png`, the generated images above their nearest training images, and the
        difference of each in gray levels; for embeddings, a picture of each file beside its nearest neighbours in the
        bank, and their labels.

    Returns:
      A dict for each file or text: "file" or "text", and the task's outputs with classes by name.

    Raises:
      UserError: A run, file or text that cannot be read, or that the model does not take; a prediction that is not
        finite.
    """
    trained = load_trained(path, step, settings)
    presentation, names = trained.task.presentation, trained.names
    embeds = nearest and presentation.neighbours is not None
    draws = presentation.picture is not None or embeds
    if pictures and not draws:
        fix = "or use explain" if presentation.neighbours is None else "or add --nearest"
        raise UserError(f"--pictures={pictures}: predictions of {path} have no pictures; drop --pictures, {fix}")
    examples = inputs_of(trained, path).read(files, texts)
    folder, command = Path(pictures or ""), "predict" if pictures else ""
    if draws:
        folder = folder if pictures else output_folder(path, "predictions")
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    names_of_pictures = stems([Path(one.name if one.framed else f"{n}") for n, one in enumerate(examples)])
    rows: list[dict[str, Any]] = []
    predictions: list[dict[str, np.ndarray]] = []
    for number, (one, outputs) in enumerate(zip(examples, predict(trained, examples))):
        check_finite(one.name, outputs)
        row = {"file" if files else "text": one.name, **readable(presentation, one.example, outputs, names)}
        if presentation.picture is not None:
            row |= _draw(trained, one, outputs, names, folder / names_of_pictures[number], command)
        rows.append(row)
        predictions.append(outputs)
    if embeds and rows:
        paths = [folder / f"{name}.png" for name in names_of_pictures]
        neighbours.add_neighbours(trained, examples, predictions, rows, paths, command)
    elif nearest:
        generated = [outputs.get("image", np.zeros(0)) for outputs in predictions]
        neighbours.add_nearest_images(trained, path, generated, rows, folder, command)
    print_rows(rows, format, output)
    return rows


def check_finite(name: str, outputs: Mapping[str, np.ndarray]) -> None:
    """Raises UserError if a prediction of a file or text is NaN or infinite."""
    for output, value in outputs.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise UserError(
                f"{name}: the prediction '{output}' is not finite; the model does not take values of the input, such as"
                " negative ones with a square root; correct it"
            )


def sample(
    path: str,
    count: int,
    label: str | None = None,
    step: int | None = None,
    format: str = "text",
    output: str | None = None,
    pictures: str | None = None,
    settings: Sequence[str] = (),
    nearest: bool = False,
) -> list[dict[str, Any]]:
    """Draws samples of a generative model, and writes a picture of each and one of all.

    If the model outputs the intermediate steps, an animation is written, too. The other arguments are those of `run`.

    Args:
      path: Run folder.
      count: Number of samples.
      label: Class, by name or number. None: all classes in turn if the model is conditional.
      settings: As for `run`. `seed=1` replaces the seed of the run.

    Returns:
      A dict for each sample: "sample", its number, and the task's outputs.

    Raises:
      UserError: The model is not generative, not conditional, or has no such class.
    """
    if count > MOST:
        raise UserError(f"--samples={count} is more than {MOST:,}; draw them in several calls with other --seed")
    trained = load_trained(path, step, settings)
    presentation, names = trained.task.presentation, trained.names
    if trained.task.sample is None:
        raise UserError(f"{path} is not a generative model; drop --samples and pass files or --text")
    folder = Path(pictures or "")
    if presentation.picture is not None and not pictures:
        folder = output_folder(path, "predictions")
    rows, images, generated, labels, strips = [], [], [], [], []
    for number, outputs in enumerate(outputs_of(trained, trained.program.sample, _inputs(trained, path, count, label))):
        if label is not None and "label" not in outputs:
            raise UserError(f"{path} is not conditional on classes; drop --label")
        rows.append({"sample": number, **readable(presentation, {}, outputs, names)})
        labels += [int(outputs["label"])] if "label" in outputs else []
        strips += [outputs["strip"]] if "strip" in outputs else []
        generated.append(outputs.get("image", np.zeros(0)))
        if presentation.picture is not None:
            images.append(presentation.picture({}, outputs, names))
            rows[-1]["picture"] = str(folder / f"sample_{number:04}.png")
    if images:
        from jaxdl.viz.generation import sample_grid

        command = "predict" if pictures else ""
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for row, picture in zip(rows, images):
            write_png(Path(row["picture"]), picture, command)
        pages = [np.stack(images), *np.stack(strips, axis=1)] if strips else [np.stack(images)]
        grids = [sample_grid(page, labels or None, names.get("label")) for page in pages]
        write_png(folder / "samples.png", grids[0], command)
        if strips:
            write_gif(folder / "samples.gif", np.stack(grids[1:]), command=command)
    if nearest:
        command = "predict" if pictures else ""
        neighbours.add_nearest_images(trained, path, generated, rows, folder, command)
    print_rows(rows, format, output)
    return rows


def _inputs(trained: Trained, path: str, count: int, label: str | None) -> list[dict[str, np.ndarray]]:
    """Returns the index of each sample, and its class if the data have classes."""
    classes = [str(name) for name in trained.names.get("label", ())] if "label" in trained.record["batch"] else []
    if label is not None and label not in classes:
        if not label.isdecimal() or int(label) >= len(classes):
            raise UserError(f"{path} has no class '{label}'; {nearest(label, classes)}")
        label = classes[int(label)]
    inputs: list[dict[str, np.ndarray]] = [{"index": np.array(number, np.int32)} for number in range(count)]
    for number, example in enumerate(inputs if classes else ()):
        example["label"] = np.array(number % len(classes) if label is None else classes.index(label), np.int32)
    return inputs


def print_rows(rows: Sequence[Mapping[str, Any]], format: str, output: str | None) -> None:
    """Prints rows as a table or as JSON lines, and writes them to `output`."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if output:
        write_output(Path(output), utf8(lines), *_LINES)
    if format == "json":
        print(lines, end="")
    else:
        print_table(*table(rows))


def readable(
    presentation: Any, example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], names: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns outputs as JSON values: as the task presents them, otherwise classes by name without large arrays."""
    if presentation.readable is not None:
        return presentation.readable(example, outputs, names)
    row: dict[str, Any] = {}
    for key, value in outputs.items():
        classes = names.get(NAMED.get(key, ""))
        if value.size > WRITTEN and value.ndim > 1:
            continue
        if classes:
            row[key] = [classes[int(index)] for index in value] if value.ndim else classes[int(value)]
        elif value.ndim == 1 and len(value) == len(names.get("label", ())):
            row[key] = {name: round(float(number), 6) for name, number in zip(names["label"], value)}
        else:
            row[key] = value.tolist()
    return row


def _draw(
    trained: Trained,
    one: Example,
    outputs: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
    path: Path,
    command: str,
) -> dict[str, str]:
    """Writes the picture, images and integer maps as PNG files, and sequences of images as animations.

    Args:
      command: As for `write_png`.

    Returns:
      {name: path}.
    """
    picture = trained.task.presentation.picture
    assert picture is not None
    written = {"picture": f"{path}.png"}
    example = one.example if one.framed is None else {"image": one.framed.file}
    write_png(Path(written["picture"]), picture(example, outputs, names), command)
    for name, value in outputs.items():
        is_map = one.framed is not None and value.shape == one.framed.file.shape[:2] and value.dtype.kind in "iu"
        if is_map or is_image(value):
            written[name] = f"{path}_{name}.png"
            pixels = value[..., 0] if value.ndim == 3 and value.shape[-1] == 1 else value
            write_png(Path(written[name]), pixels, command)
        elif value.ndim == 4 and is_image(value[0]):
            written[name] = f"{path}_{name}.gif"
            write_gif(Path(written[name]), value, command=command)
    return written


def table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns the names and rows of the scalar outputs, and of the classes and scores of boxes.

    Arrays are printed only if there is nothing else to print.
    """
    lines = [{key: text for key, value in row.items() if (text := _cell(row, key, value))} for row in rows]
    if all(len(line) < 2 for line in lines):  # only the name of the input
        lines = [
            line | {key: _array(value) for key, value in row.items() if key not in line}
            for row, line in zip(rows, lines)
        ]
    names = list(dict.fromkeys(key for line in lines for key in line))
    return names, [[line.get(name, "") for name in names] for line in lines]


def _cell(row: Mapping[str, Any], key: str, value: Any) -> str:
    if key == "labels":
        return ", ".join(f"{label} {score:.2f}" for label, score in zip(value, row["scores"]))[:80] or "none"
    if isinstance(value, (list, dict)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value).translate(_VISIBLE)


def _array(value: Any) -> str:
    """Returns the first values of an array, or of {class: value}."""
    if isinstance(value, dict):
        texts = [f"{name} {number:.4g}" for name, number in value.items()]
    else:
        texts = [f"{number:.4g}" if isinstance(number, float) else str(number) for number in np.ravel(value).tolist()]
    more = f", ... ({len(texts)} values; --format=json prints all)" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]).translate(_VISIBLE) + more
