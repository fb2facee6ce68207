"""Prepared data sets and pretrained weights on disk.

Modules:
  builders: Lookup of a data set by name.
  prepare: Preparation of data sets, on one process or several.
  prepared: Prepared data sets and their digests.
  tfds: The import of TFDS without TensorFlow.
  packages: Downloads of the packages and archives that builders read.
  catalog: The table of data sets with their sources and licences.
  pretrained: Pretrained weights.
"""
