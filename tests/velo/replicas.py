"""One of two replicas that train on data of their own. Usage: python -m tests.velo.replicas RANK FOLDER."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import velo
from tests.velo.loss_reader import READER
from tests.velo.registry import ARCHITECTURES, theta_of

NUM_RANKS = 2
NUM_STEPS = 10
VELO = (ARCHITECTURES["VeLO"], theta_of(ARCHITECTURES["VeLO"]))


def train(rank: int, process_group, weights) -> np.ndarray:
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)))
    optimizer = velo.torch.VeLO(model.parameters(), NUM_STEPS, weights, process_group=process_group)
    random = torch.Generator().manual_seed(rank)
    for _ in range(NUM_STEPS):
        inputs = torch.randn(8, 3, generator=random)
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.sum(1, keepdim=True).sin()).square().mean()
        loss.backward()
        optimizer.step(loss)
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in model.parameters()])


def main(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=NUM_RANKS)
    np.savez(
        folder / f"{rank}.npz",
        default=train(rank, None, VELO),
        named=train(rank, distributed.new_group([0, 1]), READER),
        off=train(rank, False, READER),
    )
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
