"""Decoders from model outputs to predictions.

Modules:
  nms: IoU and non-maximum suppression of boxes.
  instances: Instance grouping by centres and offsets.
  ctc: Greedy and beam-search decoding of CTC outputs.
  beam_search: Beam search of autoregressive models.
  sampling: Token sampling.
  ngrams: Kneser-Ney n-gram language models.
  noise_schedules: Noise schedules of diffusion models.
  diffusion_samplers: Samplers of diffusion models.
"""
