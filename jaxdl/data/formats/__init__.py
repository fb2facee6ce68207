"""Data sets on disk: image folders, COCO, text files, CSV tables, audio folders and token files."""
