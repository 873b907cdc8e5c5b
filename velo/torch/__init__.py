"""`velo.torch.VeLO`: a learned optimizer for PyTorch; JAX computes the update, on memory that both share."""

from velo.torch.optimizer import VeLO

__all__ = ["VeLO"]
