"""Weights and configurations in Hugging Face format.

Modules:
  checkpoints: Reading and writing of models.
  transformers, resnet: Initialization of runs from a checkpoint.
  layout: Mapping between arrays of jaxdl and tensors of a checkpoint.
  settings: Validation of config.json.
  files: Files of a checkpoint's folder.
  bert, gpt2, llama, resnet_tensors, t5, vit: The mapping of each architecture.
"""
