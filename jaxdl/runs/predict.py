"""`launch.py predict`: a trained run on the user's own files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.images import Framed, find_images, frame
from jaxdl.errors import UserError
from jaxdl.runs.files import stems, telling, write_png
from jaxdl.runs.trained import Trained, load_trained

# Features whose class names the outputs of that name carry.
NAMED = {"label": "label", "labels": "box_label"}
# Arrays with more numbers than this are not written as JSON.
WRITTEN = 256


def run(
    path: str,
    files: Sequence[str],
    step: int | None = None,
    format: str = "text",
    output: str | None = None,
    pictures: str | None = None,
) -> list[dict[str, Any]]:
    """Predicts for image files, and prints a table, or JSON lines; draws what has a place in the image.

    Args:
      path: the run folder.
      files: image files or folders of them; brought to the size and channels that the model was trained on, as the
        task's `framing` says. Boxes are given in pixels of the files.
      step: the checkpoint; None for the newest.
      format: "text" for a table, "json" for a JSON object a line.
      output: also write the JSON lines to this file.
      pictures: the folder for what is drawn, and for masks as PNG files; None for `predictions` in the run folder.

    Returns:
      one dict a file: "file", and the task's outputs; classes by name.

    Raises:
      UserError: a run or file that cannot be read, or a model that does not take images.
    """
    trained = load_trained(path, step)
    spec = trained.record["batch"]
    if "image" not in spec:
        raise UserError(f"{path} does not take images: its batches have {', '.join(sorted(spec))}")
    names = trained.names
    folder = Path(pictures) if pictures else Path(path) / "predictions"
    drawn = trained.experiment.task.illustrate is not None
    if drawn:
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
    found = find_images(files)
    shown_as = stems(found)
    framed = [frame(file, tuple(spec["image"][0]), trained.experiment.task.framing) for file in found]
    rows: list[dict[str, Any]] = []
    for number, outputs in enumerate(_outputs(trained, framed)):
        outputs = _in_file(outputs, framed[number])
        row = {"file": str(found[number]), **_readable(outputs, names)}
        if drawn:
            row |= _draw(trained, framed[number], outputs, names, folder / shown_as[number])
        rows.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if output:
        try:
            Path(output).write_text(lines)
        except OSError as error:
            raise UserError(f"--output={output} cannot be written: {error.strerror}") from error
    print(lines if format == "json" else _table(rows), end="")
    return rows


def _outputs(trained: Trained, framed: Sequence[Framed]) -> Iterator[dict[str, np.ndarray]]:
    """The task's outputs for each image; images of one size that follow each other share a batch."""
    size, start = trained.program.eval_batch_size, 0
    while start < len(framed):
        shape = framed[start].image.shape
        stop = start + 1
        while stop < len(framed) and stop - start < size and framed[stop].image.shape == shape:
            stop += 1
        images = np.stack([one.image for one in framed[start:stop]])
        outputs = trained.program.predict(trained.state, _batch(images, start, size, trained.record["batch"]))
        for number in range(stop - start):
            yield {name: np.asarray(value[number]) for name, value in outputs.items()}
        start = stop


def _batch(images: np.ndarray, start: int, size: int, spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Images as a padded batch; other features that the model was trained with are zeros."""
    batch: dict[str, np.ndarray] = {name: np.zeros((size, *shape), dtype) for name, (shape, dtype) in spec.items()}
    batch["image"] = np.zeros((size, *images.shape[1:]), np.uint8)
    batch["image"][: len(images)] = images
    batch["index"] = np.arange(start, start + size, dtype=np.int32)
    batch["weight"] = (np.arange(size) < len(images)).astype(np.float32)
    return batch


def _in_file(outputs: Mapping[str, np.ndarray], framed: Framed) -> dict[str, np.ndarray]:
    """Outputs for the file at its own size: only the boxes that were found, maps [height, width] pixel by pixel."""
    outputs = dict(outputs)
    if "boxes" in outputs and "scores" in outputs:
        kept = outputs["scores"] > 0
        outputs = {name: value[kept] if len(value) == len(kept) else value for name, value in outputs.items()}
        outputs["boxes"] = framed.boxes_of_file(outputs["boxes"])
    shape = framed.image.shape[:2]
    return {name: framed.map_of_file(value) if value.shape == shape else value for name, value in outputs.items()}


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
    trained: Trained, framed: Framed, outputs: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]], path: Path
) -> dict[str, str]:
    """Writes the picture, and every map of whole numbers as a PNG file; returns {name: path}."""
    assert trained.experiment.task.illustrate is not None
    written = {"picture": f"{path}.png"}
    write_png(Path(written["picture"]), trained.experiment.task.illustrate({"image": framed.file}, outputs, names))
    for name, value in outputs.items():
        if value.shape == framed.file.shape[:2] and value.dtype.kind in "iu":
            written[name] = f"{path}_{name}.png"
            write_png(Path(written[name]), value)
    return written


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The outputs that are single values, a line a file; of boxes, the classes and scores."""
    lines = [{key: text for key, value in row.items() if (text := _cell(row, key, value))} for row in rows]
    names = list(dict.fromkeys(key for line in lines for key in line))
    cells = [names] + [[line.get(name, "") for name in names] for line in lines]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)


def _cell(row: Mapping[str, Any], key: str, value: Any) -> str:
    if key == "labels":
        return ", ".join(f"{label} {score:.2f}" for label, score in zip(value, row["scores"]))[:80] or "nothing"
    if isinstance(value, (list, dict)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
