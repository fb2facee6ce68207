"""Tokenizers and the examples made from text."""
