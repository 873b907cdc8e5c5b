"""The published learned optimizers, to the digit: HyperV2 (VeLO as released), Celo, Celo2, AdafacMLP, RNNMLP."""
