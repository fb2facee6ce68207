"""Metrics over whole data sets, computed on the host.

Modules:
  detection: COCO average precision.
  segmentation: IoU, Dice and instance precision.
  generation: FID, KID, precision and recall of image features.
  perceptual: LPIPS.
  restoration: PSNR and SSIM.
  translation: BLEU, chrF, ROUGE-L, exact match and Python validity.
  transcription: Character and word error rates.
  words: Words of a text in any script.
  entities: Entity-level F1.
  javascript: JavaScript validity.
"""
