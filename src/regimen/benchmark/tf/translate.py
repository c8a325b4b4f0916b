"""A PyTorch net as a Keras model with the same layers and the same weights.

Kernels are turned: a dense one from (out, in) to (in, out), one of a convolution from (out, in, H, W) to
(H, W, in, out). Pictures have their channels last, and are flattened channel by channel as PyTorch does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from torch import nn

from regimen.benchmark.tf.framework import keras

Shape = tuple[int, ...]


def why_untranslatable(net: nn.Module) -> str | None:
    """Which layer has no translation, in half a sentence; None if all have."""
    if not isinstance(net, nn.Sequential):
        return f"its net is no plain Sequential, but a {type(net).__name__}"
    for name, layer in net.named_children():
        if type(layer) not in _LAYERS:
            return f"its layer {name} is a {type(layer).__name__}"
        if not _is_plain(layer):
            return f"its layer {name} is {layer}"
    return None


def translated(net: nn.Sequential, input_shape: Shape) -> Any:
    """A `keras.Sequential` for inputs of this shape, channels last and without the batch."""
    layers = [keras().layers.Input(input_shape)]
    pictures = len(input_shape) == 3
    for name, layer in net.named_children():
        layers += _LAYERS[type(layer)](layer, f"layer{name}" if name.isdigit() else name, pictures)
        pictures = pictures and not isinstance(layer, nn.Flatten)
    model = keras().Sequential(layers)
    weights = [_turned(parameter.detach().numpy()) for parameter in net.parameters()]
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        variable.assign(weight)
    return model


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        usual = (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
        return usual and not isinstance(layer.padding, str)
    if isinstance(layer, nn.MaxPool2d):
        return not (layer.padding or layer.ceil_mode or layer.return_indices) and layer.dilation == 1
    return not isinstance(layer, nn.Flatten) or (layer.start_dim, layer.end_dim) == (1, -1)


def _turned(weight: NDArray[Any]) -> NDArray[Any]:
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def _dense(layer: Any, name: str, pictures: bool) -> list[Any]:
    return [keras().layers.Dense(layer.out_features, use_bias=layer.bias is not None, name=name)]


def _convolution(layer: Any, name: str, pictures: bool) -> list[Any]:
    layers, padding = keras().layers, layer.padding
    centred = layer.stride == (1, 1) and tuple(2 * number + 1 for number in padding) == layer.kernel_size
    padded = [] if centred or padding == (0, 0) else [layers.ZeroPadding2D(padding)]
    kernel = {"kernel_size": layer.kernel_size, "strides": layer.stride, "padding": "same" if centred else "valid"}
    return [*padded, layers.Conv2D(layer.out_channels, use_bias=layer.bias is not None, name=name, **kernel)]


def _pooling(layer: Any, name: str, pictures: bool) -> list[Any]:
    return [keras().layers.MaxPooling2D(layer.kernel_size, layer.stride, name=name)]


def _relu(layer: Any, name: str, pictures: bool) -> list[Any]:
    return [keras().layers.ReLU(name=name)]


def _flatten(layer: Any, name: str, pictures: bool) -> list[Any]:
    layers = keras().layers
    return [*([layers.Permute((3, 1, 2))] if pictures else []), layers.Flatten(name=name)]


_LAYERS: dict[type[nn.Module], Callable[[Any, str, bool], list[Any]]] = {
    nn.Linear: _dense,
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _pooling,
    nn.ReLU: _relu,
    nn.Flatten: _flatten,
}
