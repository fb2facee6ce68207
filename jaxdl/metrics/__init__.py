"""Metrics of whole data sets, computed on the host."""
