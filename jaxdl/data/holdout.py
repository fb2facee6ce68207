"""Which part of a data set an example belongs to, from a hash of what must not be in two of them."""

import hashlib

PARTS = ("train", "validation", "test")


def part_of(key: str, validation: int, test: int) -> str:
    """ "train", "validation" or "test": the same for the same key always, whatever else is in the data set.

    Args:
      key: what must not be in two parts: a file's path, a caption, a text.
      validation, test: about how many keys of 100 go there; the rest is for training.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    if number < test:
        return "test"
    return "validation" if number < test + validation else "train"
