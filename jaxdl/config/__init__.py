"""Experiments, recipes, overrides, and their serialization."""
