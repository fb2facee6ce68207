"""Tokenizers and tokenized examples.

Modules:
  tokenizers: Trained vocabularies (characters, words, BPE) and tokenizers.
  codecs: Reversible text codings below the tokenizers.
  special_tokens: Ids of <pad>, <start>, <end> and <unknown>.
  examples: Shared padding, truncation and file reading.
  windows: Windows of running text for language modelling.
  sentences: Texts with optional labels.
  pairs: Source and target texts.
  captions: Images with captions.
  tagging: Token tagging (named entities).
  question_answering: Extractive question answering.
  packing: Sequence packing.
  edits: Minimum edit distance with its operations.
"""
