"""VeLO, this project's architecture: an LSTM over tensors steers the per-parameter MLP of each."""

from velo.architectures.velo.architecture import VeLO

__all__ = ["VeLO"]
