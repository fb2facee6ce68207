"""Dataset: one split of a data set, by name. Data: all that a recipe says about its data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdl.data.image.transforms import Mix, Transform
from jaxdl.data.source import Loadable, Source
from jaxdl.errors import UserError, nearest


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes:
      name: one of
        - a file of `jaxdl/data/builders`, such as `fashion_mnist`;
        - a dotted module of your own that defines `Builder`, a TFDS builder, such as `mylab.flowers`;
        - `tfds:NAME` or `tfds:NAME/config`, any data set that TFDS reads;
        - `folder:PATH`, images in one folder a class, read as RGB; below `PATH/train`, `PATH/test` and so on if
          `PATH/train` exists, else all one split, `train`, in a fixed random order;
        - `coco:PATH`, boxes and masks in the layout of COCO: `PATH/annotations/instances_SPLIT.json` and the images in
          `PATH/SPLIT`; see `jaxdl.data.formats.coco.Coco`;
        - `text:PATH`, a text file or a folder of them; `pairs:PATH`, a file of source and target with a tab between;
          `labelled:PATH`, columns `text` and `label`; `speech:PATH`, a folder of NAME.wav and NAME.txt; `csv:PATH`, a
          table with a column `time`: all of them one split, `train`.
      split: in the syntax of TFDS: `train[:55000]`, `train[80%:]`, `train+test`.
      features: the features to load; empty: all.
    """

    name: str
    split: str
    features: tuple[str, ...] = ()

    def load(self) -> Source:
        """Opens the examples; a set that is not yet on this machine is prepared first.

        Raises:
          UserError: no such data set, split or feature; a damaged file; data that cannot be had from here.
        """
        kind, colon, path = self.name.partition(":")
        if colon and (opened := _open(kind, path, self.split, tuple(self.features))) is not None:
            return opened
        from jaxdl.data.store.builders import ready

        return ready(self.name).open(self.split, tuple(self.features))


def _open(kind: str, path: str, split: str, features: tuple[str, ...]) -> Source | None:
    """The user's own files below `path`; None for a kind that is no kind of files."""
    if kind == "folder":
        from jaxdl.data.formats.image_folder import open_folder

        return open_folder(path, split)
    if kind == "coco":
        from jaxdl.data.formats.coco import Coco

        return Coco(path, split, features).load()
    if kind in ("text", "pairs", "labelled"):
        from jaxdl.data.formats import text_files

        opener = {"text": text_files.open_text, "pairs": text_files.open_pairs, "labelled": text_files.open_labelled}[
            kind
        ]
        return opener(path, split)
    if kind == "speech":
        from jaxdl.data.formats.audio_folder import open_recordings

        return open_recordings(path, split)
    if kind == "csv":
        from jaxdl.data.formats.time_series_csv import open_csv

        return open_csv(path, split)
    return None


def origin(loadable: Any) -> Any:
    """The data set at the bottom of loadables that are made of another one, their `corpus` or `table`."""
    while (inner := _inner(loadable)) is not None:
        loadable = inner[1]
    return loadable


def with_split(loadable: Any, split: str) -> Any:
    """The same on another split of the data set at the bottom."""
    if (inner := _inner(loadable)) is not None:
        return dataclasses.replace(loadable, **{inner[0]: with_split(inner[1], split)})
    return dataclasses.replace(loadable, split=split)


def _inner(loadable: Any) -> tuple[str, Any] | None:
    fields = vars(loadable)
    return next(((name, fields[name]) for name in ("corpus", "table") if name in fields), None)


@dataclass(frozen=True)
class Data:
    """What a recipe says about its data.

    Attributes:
      train: what to learn from.
      evals: what to evaluate on during training, by the name that the figures are reported under.
      batch_size: examples a training step, over all devices and processes together.
      test: scored once, at the end.
      augment: transforms of training examples, in order.
      eval_transforms: transforms of the examples of `evals` and `test`, in order.
      mix: blends each training example with another one.
      order: of the training examples. "shuffled": a permutation an epoch. "streams": in the order of the data, cut
        into as many streams as a batch has rows; a row goes on where it ended the step before, and the feature `first`,
        float32 [batch], is 1 where it does not.
      eval_batch_size: examples an evaluation step; None: `batch_size`.
      threads: threads that read and transform; 0 reads in the one thread that prefetches.
      workers: processes that read and transform; 0: none.
    """

    train: Loadable
    evals: Mapping[str, Loadable]
    batch_size: int
    test: Loadable | None = None
    augment: tuple[Transform, ...] = ()
    eval_transforms: tuple[Transform, ...] = ()
    mix: Mix | None = None
    order: str = "shuffled"
    eval_batch_size: int | None = None
    threads: int = 0
    workers: int = 0

    def __post_init__(self):
        if self.batch_size < 1 or (self.eval_batch_size is not None and self.eval_batch_size < 1):
            raise UserError(f"a batch size must be 1 or more, not {min(self.batch_size, self.eval_batch_size or 1)}")
        if self.threads < 0 or self.workers < 0:
            raise UserError("data.threads and data.workers must be 0 or more")
        if self.order not in ("shuffled", "streams"):
            raise UserError(f"data.order is '{self.order}'; {nearest(self.order, ('shuffled', 'streams'))}")
