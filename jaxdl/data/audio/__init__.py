"""Audio features, speech examples and augmentation.

Modules:
  features: WAV reading, resampling and log-mel spectrograms.
  speech: Utterances with transcripts for speech recognition.
  augment: SpecAugment.
"""
