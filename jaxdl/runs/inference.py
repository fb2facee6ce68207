"""Predictions of a trained run for examples, in batches, and in pixels of their files."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.image.files import Framed
from jaxdl.data.inputs import Example, Inputs
from jaxdl.data.source import stack
from jaxdl.distributed.mesh import batch_shards
from jaxdl.runs.restore import Trained


def inputs_of(trained: Trained, path: str) -> Inputs:
    """Returns the reader of a run's inputs, with the preprocessing of its evaluation."""
    data, presentation = trained.experiment.data, trained.task.presentation
    return Inputs(path, data, trained.record, presentation.framing, trained.names, presentation.mask)


def predict(trained: Trained, examples: Sequence[Example]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the outputs of each example, boxes and maps of images in pixels of the file."""
    outputs = outputs_of(trained, trained.program.predict, [one.example for one in examples])
    for one, values in zip(examples, outputs):
        yield values if one.framed is None else _in_file(values, one.framed)


def outputs_of(
    trained: Trained, function: Callable[..., dict[str, np.ndarray]], examples: Sequence[Mapping[str, np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the outputs of each example; consecutive examples of equal shapes share a batch."""
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
    """Returns the batch size of evaluation, reduced in proportion if the example is larger than those of training."""
    spec, shards = trained.record["batch"], batch_shards(trained.program.mesh)
    grown = [value.size / max(1, math.prod(spec[name][0])) for name, value in example.items() if name in spec]
    return max(shards, int(trained.program.eval_batch_size / max(grown, default=1.0)) // shards * shards)


def _batch(features: Mapping[str, np.ndarray], start: int, size: int, spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns a batch padded to `size`; features of training that are absent are zeros."""
    count = len(next(iter(features.values())))
    batch: dict[str, np.ndarray] = {name: np.zeros((size, *shape), dtype) for name, (shape, dtype) in spec.items()}
    # Padding repeats the first row, because a length or a scale of 0 may be invalid.
    rows = np.where(np.arange(size) < count, np.arange(size), 0)
    batch |= {name: value[rows] for name, value in features.items()}
    batch["index"] = np.arange(start, start + size, dtype=np.int32)
    batch["weight"] = (np.arange(size) < count).astype(np.float32)
    return batch


def _in_file(outputs: Mapping[str, np.ndarray], framed: Framed) -> dict[str, np.ndarray]:
    """Converts outputs to the size of the file: detected boxes, maps [height, width], and images without padding."""
    outputs = dict(outputs)
    if "boxes" in outputs and "scores" in outputs:
        kept = outputs["scores"] > 0
        outputs = {name: value[kept] if len(value) == len(kept) else value for name, value in outputs.items()}
        outputs["boxes"] = framed.boxes_of_file(outputs["boxes"])
    shape = framed.image.shape[:2]
    outputs = {name: framed.map_of_file(value) if value.shape == shape else value for name, value in outputs.items()}
    return {name: _cut(value, framed) if is_image(value) else value for name, value in outputs.items()}


def _cut(image: np.ndarray, framed: Framed) -> np.ndarray:
    """Crops the padding of framing from an image that is an integer multiple of the framed one."""
    factor = image.shape[0] // framed.image.shape[0]
    kept = framed.scale == (1.0, 1.0) and framed.offset == (0.0, 0.0)
    same = image.shape[:2] == tuple(factor * side for side in framed.image.shape[:2])
    height, width = framed.file.shape[:2]
    return image[: factor * height, : factor * width] if kept and same else image


def is_image(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[-1] in (1, 3)
