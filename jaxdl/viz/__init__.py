"""Pictures: arrays in, RGB arrays [height, width, 3] out."""
