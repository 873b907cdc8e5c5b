"""Families that wrap another family: augmentations and other changes, whose strength is part of the draw."""
