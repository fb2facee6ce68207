"""Prepared data sets and pretrained weights on this machine."""
