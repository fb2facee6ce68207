"""Videos: generated sequences and files of frames."""
