"""What classifiers of image patches share: they cut images, embed patches and classify their mean."""

import abc
from typing import Any

import jax.numpy as jnp

from tasks.families import classification, layers
from tasks.family import Params
from velo.shapes import Array, Float


def cut(images: Float[Array, "batch height width channels"], size: int) -> Float[Array, "batch patches pixels"]:
    """The square patches, of side `size`, that tile each image, row by row."""
    batch, height, width, num_channels = images.shape
    tiles = images.reshape(batch, height // size, size, width // size, size, num_channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, size * size * num_channels)


class PatchClassifier(classification.Classifier):
    """Embeds square patches, mixes them by `mix` of the subclass, and classifies their mean by a dense layer."""

    patch_size: int
    width: int
    initializer: str

    def check(self, *sizes: str, datasets=classification.IMAGES) -> None:
        super().check("patch_size", "width", *sizes, datasets=datasets)
        height, width, _ = classification.INPUT_SHAPES[self.dataset]
        if height % self.patch_size or width % self.patch_size:
            name = type(self).__name__
            raise ValueError(f"{name}: patch_size must divide the image's {height} x {width}, got {self.patch_size}")

    @property
    def num_patches(self) -> int:
        """Number of patches of an image."""
        height, width, _ = classification.INPUT_SHAPES[self.dataset]
        return height * width // self.patch_size**2

    @abc.abstractmethod
    def mixer_layers(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """(shapes of dense layers, norms, shapes of tables) that `mix` uses."""

    @abc.abstractmethod
    def mix(self, params: Params, x: Float[Array, "batch patches width"]) -> Float[Array, "batch patches width"]:
        """The layers between the embedding of patches and their mean."""

    def init(self, draw, key):
        num_channels = classification.INPUT_SHAPES[self.dataset][-1]
        inner, norms, tables = self.mixer_layers()
        shapes = {"patch": (self.patch_size**2 * num_channels, self.width)} | inner
        shapes["output"] = (self.width, self.num_classes)
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=0.3)
        return params | norms | {"norm_output": layers.init_norm(self.width)}

    def logits(self, params, inputs, key):
        x = self.mix(params, layers.dense(params["patch"], cut(inputs, self.patch_size)))
        return layers.dense(params["output"], jnp.mean(layers.normalize(params["norm_output"], x), axis=1))
