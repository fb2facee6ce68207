"""TensorFlow Datasets, imported on first use: the import takes more than half a second."""

import importlib.resources.abc
import importlib.util
import sys
from types import ModuleType


def tensorflow_datasets() -> ModuleType:
    """The module `tensorflow_datasets`."""
    # TFDS 4.9.10 imports this backport without asking for it; what it wants of it is in the standard library.
    if "importlib_resources" not in sys.modules and importlib.util.find_spec("importlib_resources") is None:
        sys.modules["importlib_resources"] = importlib.resources
    import tensorflow_datasets

    return tensorflow_datasets
