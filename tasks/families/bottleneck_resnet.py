"""Residual networks of bottleneck blocks, activations first (He et al. 2016, "Identity mappings")."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.families import classification, layers


@dataclasses.dataclass(frozen=True)
class BottleneckResNet(classification.Classifier):
    """A strided convolution, perhaps max pooling, groups of blocks, a mean over positions, a dense layer.

    A block narrows to a quarter of its channels, convolves 3 x 3 and widens again, each after a norm and a relu. The
    first block of a group projects its shortcut, and halves the image in all groups but the first. No mixture samples
    this family; its defaults are those of `Resnet_MultiRuntime_0` in `tasks.public`.
    """

    dataset: str = "imagenet16"
    channels: tuple[int, ...] = (8, 16, 16, 16)
    """Channels of each group's output, multiples of 4."""
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    """Number of blocks of each group."""
    first_channels: int = 64
    first_kernel_size: int = 3
    max_pool: bool = True
    initializer: str = "he_normal"
    norm: str = "batch"
    batch_size: int = 64
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("channels", "blocks", "first_channels", "first_kernel_size", datasets=classification.IMAGES)
        layers.check_choice("BottleneckResNet", "norm", self.norm, layers.NORMS)
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"BottleneckResNet: blocks must be as many as channels, got {self.blocks}")
        if any(width % 4 for width in self.channels):
            raise ValueError(f"BottleneckResNet: channels must be multiples of 4, got {self.channels}")

    @property
    def _places(self) -> list[tuple[str, int, int, bool, int]]:
        """(name, input channels, output channels, whether it is the first of its group, stride) of every block."""
        places, before = [], self.first_channels
        for group, (width, num_blocks) in enumerate(zip(self.channels, self.blocks, strict=True)):
            for block in range(num_blocks):
                stride = 2 if group > 0 and block == 0 else 1
                places.append((f"{group}_{block}", before, width, block == 0, stride))
                before = width
        return places

    def init(self, draw, key):
        size = self.first_kernel_size
        num_channels = classification.INPUT_SHAPES[self.dataset][-1]
        shapes: dict[str, tuple[int, ...]] = {"first": (size, size, num_channels, self.first_channels)}
        norms = {"norm_output": layers.init_norm(self.channels[-1])}
        for name, before, width, is_first, _ in self._places:
            narrow = width // 4
            shapes |= {
                f"narrow_{name}": (1, 1, before, narrow),
                f"convolve_{name}": (3, 3, narrow, narrow),
                f"widen_{name}": (1, 1, narrow, width),
            }
            if is_first:
                shapes[f"project_{name}"] = (1, 1, before, width)
            sizes = {"narrow": before, "convolve": narrow, "widen": narrow}
            norms |= {f"norm_{part}_{name}": layers.init_norm(number) for part, number in sizes.items()}
        shapes["output"] = (self.channels[-1], self.num_classes)
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale) | norms

    def logits(self, params, inputs, key):
        def activate(name, x):
            return jax.nn.relu(layers.normalize(params[f"norm_{name}"], x, self.norm))

        x = layers.conv(params["first"], inputs, 2)
        if self.max_pool:
            x = layers.max_pool(x)
        for name, _, _, is_first, stride in self._places:
            hidden = activate(f"narrow_{name}", x)
            if is_first:
                x = layers.conv(params[f"project_{name}"], hidden, stride)
            hidden = layers.conv(params[f"narrow_{name}"], hidden)
            hidden = layers.conv(params[f"convolve_{name}"], activate(f"convolve_{name}", hidden), stride)
            x = x + layers.conv(params[f"widen_{name}"], activate(f"widen_{name}", hidden))
        return layers.dense(params["output"], jnp.mean(activate("output", x), axis=(1, 2)))
