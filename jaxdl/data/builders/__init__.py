"""The data sets that jaxdl prepares itself: one file, one TFDS builder."""
