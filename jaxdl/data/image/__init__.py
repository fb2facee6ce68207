"""Image files, transforms, boxes and masks."""
