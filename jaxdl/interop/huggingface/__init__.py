"""Weights and configurations in Hugging Face format.

Modules:
  transformers: Reading and writing of Transformer checkpoints.
  resnet: Reading and writing of ResNet checkpoints.
  layout: Mapping between arrays of jaxdl and tensors of a checkpoint.
  bert, gpt2, llama, t5, vit: The mapping of each architecture.
"""
