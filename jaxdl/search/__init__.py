"""Hyperparameter search: search spaces, pruners, and a study that several machines share."""
