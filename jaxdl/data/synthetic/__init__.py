"""Generated data sets for tests, tutorials and synthetic benchmarks.

Modules:
  images: Class-dependent textures.
  scenes: Scenes of shapes with boxes and masks.
  series: Seasonal series and tables.
  speech: Spoken digits as tones.
  text: Texts with labels, pairs, tags, questions and captions.
  arithmetic: The adding problem and digit addition.
"""
