"""`jaxdl predict --nearest`: nearest training images of generated ones, and nearest neighbours of embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.inputs import Example
from jaxdl.errors import UserError
from jaxdl.runs.files import write_png
from jaxdl.runs.inference import is_image
from jaxdl.runs.restore import Trained

SHOWN = 6  # neighbours of an embedding
VOTERS = 20  # neighbours whose labels classify an example


def add_nearest_images(
    trained: Trained,
    path: str,
    images: Sequence[np.ndarray],
    rows: Sequence[dict[str, Any]],
    folder: Path,
    command: str,
) -> None:
    """Adds the distance of each generated image to its nearest training image, and writes a picture of both.

    Args:
      trained: A run of a generative model.
      path: Its folder.
      images: Generated images.
      rows: Row of each image, to which `nearest` is added, in gray levels.
      folder: Folder of the picture.
      command: As for `write_png`.

    Raises:
      UserError: The model does not generate images.
    """
    if trained.task.presentation.picture is None or trained.task.sample is None or not all(map(is_image, images)):
        raise UserError(f"{path} is not a generative model of images and predicts no embeddings; drop --nearest")
    from jaxdl.runs.nearest import nearest_training_images
    from jaxdl.viz.generation import generated_and_nearest

    training, distances = nearest_training_images(trained, images)
    for row, distance in zip(rows, distances):
        row["nearest"] = round(float(distance), 1)
    write_png(folder / "nearest.png", generated_and_nearest(np.stack(images), training), command)


def add_neighbours(
    trained: Trained,
    examples: Sequence[Example],
    outputs: Sequence[Mapping[str, np.ndarray]],
    rows: Sequence[dict[str, Any]],
    files: Sequence[Path],
    command: str,
) -> None:
    """Adds the nearest neighbours of each example in the bank, and writes a picture of them.

    Args:
      trained: A run that predicts embeddings.
      examples: Examples.
      outputs: Their predictions, with `embedding`.
      rows: Row of each example. `label` and `share` are added, the vote of its neighbours, and `nearest`, a list of
        {example of the bank, its label, similarity}.
      files: Picture of each example.
      command: As for `write_png`.
    """
    from jaxdl.metrics.neighbours import vote
    from jaxdl.runs.nearest import nearest_in_bank

    draw, names = trained.task.presentation.neighbours, trained.names.get("label", ())
    assert draw is not None
    found = nearest_in_bank(trained, np.stack([one["embedding"] for one in outputs]), VOTERS)
    votes = None if found.labels is None else vote(found.labels, found.similarities)
    for number, (example, row, file) in enumerate(zip(examples, rows, files)):
        listed = []
        for rank, index in enumerate(found.indices[number][:SHOWN]):
            similarity = round(float(found.similarities[number, rank]), 4)
            label = {} if found.labels is None else {"label": _name(names, found.labels[number, rank])}
            listed.append({"example": int(index)} | label | {"similarity": similarity})
        if votes is not None:
            row |= {"label": _name(names, votes[0][number]), "share": round(float(votes[1][number]), 4)}
        captions = [[str(one.get("label", one["example"])), f"{one['similarity']:.3f}"] for one in listed]
        query = example.example["image"] if example.framed is None else example.framed.file
        write_png(file, draw(query, found.images(number, SHOWN), captions), command)
        row |= {"nearest": listed, "picture": str(file)}


def _name(names: Sequence[str], label: int) -> str | int:
    return str(names[label]) if names else int(label)
