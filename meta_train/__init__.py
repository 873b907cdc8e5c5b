"""Meta-training: from an untrained theta to a learned optimizer."""
