"""An ONNX file whose weights have 16 bits, where what it gives stays as good as the same to the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latlas.exports.graphs import BATCHES, Part
from latlas.exports.onnx_files import runner

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST = 256  # weights of a tensor that are worth it
TOLERANCE = 1 / 510  # half a step of a byte


def halved(content: bytes, part: Part) -> tuple[bytes, float]:
    """The file with its large weights as float16, which are made float32 again where it is opened, and the largest
    difference of its outputs from the model's; as it was, and 0, where that is more than half a step of a byte.

    Means and standard deviations of codes are compared as they are, items on the model's scale.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    _halve(model)
    smaller = model.SerializeToString()
    difference = _difference(model, part)
    return (smaller, difference) if difference <= TOLERANCE else (content, 0.0)


def _halve(model: ModelProto) -> None:
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if not (np.abs(values) < np.finfo(np.float16).max).all():
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_whole", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _difference(model: ModelProto, part: Part) -> float:
    outputs = runner(model)(part.inputs[: max(BATCHES)])
    found = [
        float(np.abs(part.scaled(output) - expected).max())
        for output, expected in zip(outputs, part.expected, strict=True)
    ]
    return max(found) if np.isfinite(found).all() else float("inf")
