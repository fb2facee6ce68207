"""Data sources, deterministic batching and data sets. Does not import jax.

Modules:
  dataset: `Dataset` (one split of a data set, by name) and `Data` (the data settings of a recipe).
  source: Random-access sources of examples, in memory or decoded on access.
  pipeline: Batches as a function of (seed, step).
  random: Stateless random numbers, shuffling and streams.
  files: Files below a folder, by suffix.
  labels: Class numbers of evaluation data, by the class names of training.
  summary: Examples per class and skipped files.
  splits: The TFDS split syntax and cross-validation folds.
Packages:
  formats: Data sets in the user's own files.
  store: Prepared data sets and pretrained weights on disk.
  builders: TFDS builders of the data sets that jaxdl prepares itself.
  image, text, audio, series: Features and transforms of each modality.
  synthetic: Generated data sets.
"""
