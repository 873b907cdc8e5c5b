"""Augmentations: families made of another family, one file each; their strength is drawn with the task."""
