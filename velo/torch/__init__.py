"""`velo.torch.VeLO`: a learned optimizer as a PyTorch one; the update is JAX's, on memory that both share."""

from velo.torch.optimizer import VeLO

__all__ = ["VeLO"]
