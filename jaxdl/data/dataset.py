"""Data sets by name, and the data settings of a recipe."""

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
      name: Name of the data set:

        - `fashion_mnist`: a module in `jaxdl/data/builders`.
        - `mylab.flowers`: a user's module that defines `Builder`, a TFDS builder.
        - `tfds:NAME` or `tfds:NAME/config`: any data set that TFDS reads.
        - `folder:PATH`: images as `PATH/CLASS/*` or `PATH/SPLIT/CLASS/*`, decoded as RGB, alpha over white. Without
          a folder `PATH/train`, in any case, all images form the split `train` in a fixed random order.
        - `coco:PATH`: boxes and masks in the COCO layout; see `jaxdl.data.formats.coco.Coco`.
        - `text:PATH`: a text file or a folder of text files.
        - `pairs:PATH`: a file of tab-separated source and target texts.
        - `labelled:PATH`: a table with the columns `text` and `label`.
        - `speech:PATH`: a folder of NAME.wav with transcripts NAME.txt.
        - `csv:PATH`: a table with a column `time`.

        The last five have one split, `train`. PATH may be the URL of an object store, such as `folder:s3://bucket/pets`.
      split: Split in TFDS syntax: `train[:55000]`, `train[80%:]`, `train+test`.
      features: Features to load. Empty loads all.
      scale: For `folder:` and `coco:`, the values that become 0 and 255 in images of more than 8 bits, such as
        (0, 4095). None uses (0, 65535) for 16 bits and refuses floats and 32-bit integers.
      on_error: For `folder:`, `coco:` and `speech:`, "raise" stops at a damaged file. "skip" reads all files at the
        start, drops damaged ones and lists them in the manifest.
      skip_limit: Largest fraction of the files that "skip" may drop.

    Example: `Dataset("digits", "train[:90%]").load().read(np.array([0, 1]))` returns
    `{"image": uint8 [2, 8, 8, 1], "label": int32 [2]}`.
    """

    name: str
    split: str
    features: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    on_error: str = "raise"
    skip_limit: float = 0.05

    def load(self) -> Source:
        """Opens the examples; prepares the data set first if necessary.

        Raises:
          UserError: The data set, split or feature does not exist, a file is damaged, or the source is unreachable.
        """
        kind, colon, path = self.name.partition(":")
        if colon and not path:
            raise UserError(f"Dataset.name='{self.name}' has no path after the colon; write '{kind}:PATH'")
        if self.scale is not None and kind not in ("folder", "coco"):
            raise UserError(f"Dataset.scale applies to folder:PATH and coco:PATH, not to '{self.name}'; remove it")
        if self.on_error != "raise" and kind not in ("folder", "coco", "speech"):
            raise UserError(f"Dataset.on_error applies to folder:, coco: and speech:, not to '{self.name}'; remove it")
        if colon and (source := self._open(kind, path)) is not None:
            return source
        from jaxdl.data.store.builders import ready

        return ready(self.name).open(self.split, tuple(self.features))

    def _open(self, kind: str, path: str) -> Source | None:
        """Returns the user's files at `path`, or None if `kind` is not a file format."""
        from jaxdl.data.formats.parts import Reading

        reading = Reading(self.scale, self.on_error, self.skip_limit)
        match kind:
            case "folder":
                from jaxdl.data.formats.image_folder import open_folder

                return open_folder(path, self.split, reading)
            case "coco":
                from jaxdl.data.formats.coco import Coco

                return Coco(path, self.split, tuple(self.features), (), *dataclasses.astuple(reading)).load()
            case "text" | "pairs" | "labelled":
                from jaxdl.data.formats import text_files

                openers = {"text": text_files.open_text, "pairs": text_files.open_pairs}
                return openers.get(kind, text_files.open_labelled)(path, self.split)
            case "speech":
                from jaxdl.data.formats.audio_folder import open_recordings

                return open_recordings(path, self.split, reading)
            case "csv":
                from jaxdl.data.formats.time_series_csv import open_csv

                return open_csv(path, self.split)
        return None


def origin(loadable: Any) -> Any:
    """Returns the innermost loadable, reached through `corpus` or `table`."""
    while (inner := _inner(loadable)) is not None:
        loadable = inner[1]
    return loadable


def with_split(loadable: Any, split: str) -> Any:
    """Returns the loadable with another split of its innermost data set."""
    if (inner := _inner(loadable)) is not None:
        return dataclasses.replace(loadable, **{inner[0]: with_split(inner[1], split)})
    return dataclasses.replace(loadable, split=split)


def _inner(loadable: Any) -> tuple[str, Any] | None:
    fields = vars(loadable)
    return next(((name, fields[name]) for name in ("corpus", "table") if name in fields), None)


@dataclass(frozen=True)
class Data:
    """Data settings of a recipe.

    Attributes:
      train: Training data.
      evals: Data evaluated during training, by name.
      batch_size: Examples per training step over all devices and processes.
      test: Data evaluated once, at the end.
      augment: Transforms of training examples, in order.
      eval_transforms: Transforms of the examples in `evals` and `test`, in order.
      mix: Mixup or CutMix of training examples. None disables it.
      order: Order of the training examples. "shuffled" permutes them in every epoch. "streams" keeps their order in
        one stream per batch row, for truncated BPTT; the feature `first`, float32 [batch], is 1 where a stream begins.
      eval_batch_size: Examples per evaluation step. None uses `batch_size`.
      threads: Reader threads. 0 reads in the prefetch thread.
      workers: Reader processes. 0 uses threads only.
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
            size = min(self.batch_size, self.eval_batch_size or 1)
            raise UserError(f"data.batch_size and data.eval_batch_size must be at least 1; got {size}")
        if self.threads < 0 or self.workers < 0:
            raise UserError(
                f"data.threads={self.threads} and data.workers={self.workers} must be at least 0; use 0 to disable them"
            )
        if self.order not in ("shuffled", "streams"):
            raise UserError(f"data.order='{self.order}' is unknown; {nearest(self.order, ('shuffled', 'streams'))}")


def evaluations(data: Data) -> dict[str, Loadable]:
    """Returns the data of every evaluation by name, including `test`."""
    return {**data.evals, **({"test": data.test} if data.test is not None else {})}
