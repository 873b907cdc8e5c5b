"""This project's architecture, `velo.VeLO`: an LSTM over tensors steers an MLP that corrects a hand-made optimizer."""

from velo.architectures.velo.architecture import VeLO

__all__ = ["VeLO"]
