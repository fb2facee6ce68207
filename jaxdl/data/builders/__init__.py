"""TFDS builders of the data sets that jaxdl prepares itself, one per module."""
