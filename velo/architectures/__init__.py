"""The learned optimizers, one file an architecture."""
