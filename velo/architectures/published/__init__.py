"""The published learned optimizers, as released: HyperV2, Celo, Celo-Adam, Celo2, AdafacMLP, RNNMLP.

HyperV2 is the VeLO of 2211.09760; this project's own architecture is `velo.VeLO`.
"""
