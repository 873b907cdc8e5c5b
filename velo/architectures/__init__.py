"""The learned optimizers: `velo` is this project's architecture, `published` has those of the papers.

The modules beside the two folders are shared by several architectures: pages, blocks, the LSTM's state, precision.
"""

from velo.architectures.published.adafac_mlp import AdafacMLP
from velo.architectures.published.celo import Celo, CeloAdam
from velo.architectures.published.celo2 import Celo2
from velo.architectures.published.hyper_v2 import HyperV2
from velo.architectures.published.rnn_mlp import RNNMLP
from velo.architectures.velo.architecture import VeLO
from velo.learned_optimizer import LearnedOptimizer

ARCHITECTURES: dict[str, type[LearnedOptimizer]] = {
    cls.__name__: cls for cls in (VeLO, HyperV2, Celo, CeloAdam, Celo2, AdafacMLP, RNNMLP)
}
"""By the name that weights files use."""
