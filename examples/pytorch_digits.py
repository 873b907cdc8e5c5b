"""A classifier of digits in PyTorch. Usage: python pytorch_digits.py [WEIGHTS]"""

import digits
import torch

import velo.torch


def main(num_steps=digits.NUM_STEPS):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = velo.torch.VeLO(model.parameters(), num_steps, digits.weights())
    losses = []
    for images, labels in digits.batches(num_steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels).long())
        loss.backward()
        optimizer.step(loss)
        losses.append(loss.item())
    return digits.tell(losses, lambda images: model(torch.from_numpy(images)).detach().numpy())


if __name__ == "__main__":
    main()
