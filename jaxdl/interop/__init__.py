"""Weights and models in the formats of other libraries.

Modules:
  stablehlo: Models as StableHLO programs with weights in safetensors.
  huggingface: Checkpoints and configurations of transformers.
"""
