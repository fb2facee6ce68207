"""Data sources whose features are outputs of frozen pretrained models, computed once when the data are loaded."""
