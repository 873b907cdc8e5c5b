"""Evolution strategies over workers: from an untrained theta to a learned optimizer."""
