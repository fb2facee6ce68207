"""Audio features, speech examples and augmentation."""
