"""Augmentations: families that wrap another family, one file each; their strength is part of the draw."""
