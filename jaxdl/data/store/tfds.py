"""Import of TensorFlow Datasets on first use, because it takes over half a second."""

import importlib.resources.abc
import importlib.util
import sys
from types import ModuleType


def tensorflow_datasets() -> ModuleType:
    """Returns the module `tensorflow_datasets`."""
    # TFDS 4.9.10 imports this backport without depending on it; the standard library has the same functions.
    if "importlib_resources" not in sys.modules and importlib.util.find_spec("importlib_resources") is None:
        sys.modules["importlib_resources"] = importlib.resources
    import tensorflow_datasets

    return tensorflow_datasets
