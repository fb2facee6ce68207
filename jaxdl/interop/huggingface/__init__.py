"""Weights and configurations in Hugging Face's format."""
