"""Image files, transforms, boxes and masks.

Modules:
  files: Image decoding and encoding, and single image files as examples.
  transforms: Random and deterministic batch transforms of classification images.
  geometry: Transforms that keep images, boxes and masks aligned.
  resize: Resizing and cropping of images of any size.
  mixup: Mixup and CutMix.
  boxes_and_masks: Padded boxes and labels for detection and segmentation.
  unpaired: Unpaired image domains.
"""
