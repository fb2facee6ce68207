"""Pictures of predicted videos: input, future and predicted frames in rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.viz.figure import FAINT, Picture, image_grid, render, show_image, write
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation

SHOWN = 4  # videos in a picture
_TILE, _GAP, _SIDE = 48, 3, 76  # pixels: side of a frame, gap between frames, row headings


def frame_rows(rows: Sequence[tuple[str, np.ndarray]]) -> Picture:
    """Draws videos as rows of frames with a heading each.

    Args:
      rows: Heading and frames uint8 [frames, height, width, 1 or 3] of each row. Shorter rows are left-aligned.
    """
    columns = max(len(frames) for _, frames in rows)
    height, width = rows[0][1].shape[1:3]
    tall, wide = (max(1, round(side * _TILE / max(height, width))) for side in (height, width))
    axes, corners = image_grid(len(rows) * columns, columns, wide, tall, _GAP, side=_SIDE - _GAP)
    for number, (heading, frames) in enumerate(rows):
        left, top = corners[number * columns]
        write(axes, heading, left - 2 * _GAP, top + tall / 2, color=FAINT, align="right", vertical="center_baseline")
        for frame, (left, top) in zip(frames, corners[number * columns :]):
            show_image(axes, frame, left, top, wide, tall)
    return render(axes)


class VideoPresentation(Presentation):
    """Presentation of video prediction."""

    framing = None

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `predictions`, the evaluation's first videos: input, future and predicted frames."""
        if "examples" not in metrics:
            return {}
        horizon = len(metrics["ssim_frames"])
        rows: list[tuple[str, np.ndarray]] = []
        for video in metrics["examples"]:
            parts = np.split(video, [len(video) - 2 * horizon, len(video) - horizon])
            rows += zip(("input", "future", "predicted"), parts)
        return {"predictions": frame_rows(rows)}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the input frames above the predicted ones."""
        return frame_rows([("input", np.asarray(example["frames"])), ("predicted", np.asarray(outputs["future"]))])

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the number of predicted frames; the animation is a file."""
        return {"frames": len(outputs["future"])}
