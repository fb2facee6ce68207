"""Law: pictures and rows of predictions can be drawn and printed."""

import json
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.data.pipeline import eval_batches

if TYPE_CHECKING:
    from jaxdl.testing.laws import Bench


def law_pictures(bench: "Bench") -> None:
    """Pictures of an evaluation are uint8 [height, width, 3], and the row of a prediction is JSON."""
    experiment, program = bench.experiment, bench.program()
    source = next(iter(bench.sources.evals.values()))
    state, batch = bench.start(program), bench.eval_batch()
    batches = eval_batches(source, len(batch["weight"]), experiment.data.eval_transforms)
    outputs, metrics = program.predict(state, batch), program.evaluate(state, batches, source.names)
    names = {**source.names, **experiment.task.class_names}
    presentation = experiment.task.presentation
    if presentation.pictures is not None:
        for name, picture in presentation.pictures(batch, outputs, metrics, names).items():
            message = f"the picture '{name}' is {picture.dtype}{list(picture.shape)}, not uint8 [height, width, 3]"
            assert (picture.dtype, picture.ndim, picture.shape[-1]) == (np.uint8, 3, 3), message
    if presentation.readable is not None:
        example, output = ({name: np.asarray(value)[0] for name, value in tree.items()} for tree in (batch, outputs))
        row = presentation.readable(example, output, names)
        assert json.loads(json.dumps(row)) == row, f"the printed row is not JSON: {row}"
