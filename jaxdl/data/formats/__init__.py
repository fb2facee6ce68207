"""Readers of data sets in the user's own files.

Modules:
  parts: Splits and fingerprints of data sets in files.
  image_folder: One folder of images per class.
  coco, coco_objects: Boxes and masks in the COCO layout.
  tables: Delimited tables.
  text_files: Plain text, tab-separated pairs and labelled texts.
  time_series_csv: Time series and covariates in a CSV file.
  audio_folder: WAV files with transcripts.
  token_file: Memory-mapped token ids (nanoGPT, llm.c).
"""
