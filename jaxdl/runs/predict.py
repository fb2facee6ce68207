"""`launch.py predict`: a trained run on the user's own files."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.data.images import find_images, read_images
from jaxdl.errors import UserError
from jaxdl.runs.trained import load_trained


def run(
    path: str, files: Sequence[str], step: int | None = None, format: str = "text", output: str | None = None
) -> list[dict[str, Any]]:
    """Predicts for image files, and prints a table, or JSON lines.

    Args:
      path: the run folder.
      files: image files or folders of them; brought to the size and channels that the model was trained on.
      step: the checkpoint; None for the newest.
      format: "text" for a table, "json" for a JSON object a line.
      output: also write the JSON lines to this file.

    Returns:
      one dict a file: "file", and the task's outputs; classes by name.

    Raises:
      UserError: a run or file that cannot be read, or a model that does not take images.
    """
    trained = load_trained(path, step)
    spec = trained.record["batch"]
    if "image" not in spec:
        raise UserError(f"{path} does not take images: its batches have {', '.join(sorted(spec))}")
    found = find_images(files)
    images = read_images(found, tuple(spec["image"][0]))
    names = next((d["names"] for d in trained.record["datasets"].values() if d["names"]), {})
    size = trained.program.eval_batch_size
    rows: list[dict[str, Any]] = []
    for start in range(0, len(images), size):
        outputs = trained.program.predict(trained.state, _batch(images[start : start + size], start, size, spec))
        for number, file in enumerate(found[start : start + size]):
            one = {key: np.asarray(value[number]) for key, value in outputs.items()}
            rows.append({"file": str(file), **_readable(one, names)})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if output:
        try:
            with open(output, "w") as target:
                target.write(lines)
        except OSError as error:
            raise UserError(f"--output={output} cannot be written: {error.strerror}") from error
    print(lines if format == "json" else _table(rows), end="")
    return rows


def _batch(images: np.ndarray, start: int, size: int, spec: dict[str, Any]) -> dict[str, np.ndarray]:
    """Images as a padded batch; other features that the model was trained with are zeros."""
    batch: dict[str, np.ndarray] = {name: np.zeros((size, *shape), dtype) for name, (shape, dtype) in spec.items()}
    batch["image"][: len(images)] = images
    batch["index"] = np.arange(start, start + size, dtype=np.int32)
    batch["weight"] = (np.arange(size) < len(images)).astype(np.float32)
    return batch


def _readable(outputs: dict[str, np.ndarray], names: dict[str, Sequence[str]]) -> dict[str, Any]:
    """Outputs as JSON values; a class number becomes its name, probabilities become {name: probability}."""
    classes = names.get("label")
    row: dict[str, Any] = {}
    for key, value in outputs.items():
        if classes and key == "label":
            row[key] = classes[int(value)]
        elif classes and value.ndim == 1 and len(value) == len(classes):
            row[key] = {name: round(float(share), 6) for name, share in zip(classes, value)}
        else:
            row[key] = value.tolist()
    return row


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """The outputs that are single values, a line a file."""
    names = ["file", *(key for key, value in rows[0].items() if key != "file" and not isinstance(value, (list, dict)))]
    cells = [names] + [[f"{row[n]:.4f}" if isinstance(row[n], float) else str(row[n]) for n in names] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)
