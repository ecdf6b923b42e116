"""A part of a model as an ONNX file, compared with the model by another implementation."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from latlas.errors import InputError
from latlas.exports.graphs import Part, captured, compared

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # what runtimes of several years read; later ones have nothing that these graphs need


def require() -> None:
    """Raises InputError where the packages for it are missing."""
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f'needs the package {package}: pip install "latlas[onnx]"', field="onnx")


def checker() -> str:
    """The implementation that files are run by: onnxruntime where it is installed."""
    if importlib.util.find_spec("onnxruntime") is not None:
        return f"onnxruntime {version('onnxruntime')}"
    return f"onnx.reference {version('onnx')}"


def onnx_file(part: Part, about: Mapping[str, Any]) -> tuple[bytes, dict[str, float]]:
    """The file of a part, with what it says `about` itself, and the largest difference of each output from the model.

    Raises whatever the exporter raises, LatlasError for a difference that is too large.
    """
    exported = torch.onnx.export(
        captured(part.module, part.example),
        (),
        input_names=[part.taken],
        output_names=part.given,
        opset_version=OPSET,
        custom_translation_table={torch.ops.aten.log_sigmoid.default: _log_sigmoid},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    differences = compared(part, runner(model))
    model.graph.name = part.name
    for entry in (model, model.graph, *model.graph.node, *model.graph.value_info):
        entry.ClearField("doc_string")
        entry.ClearField("metadata_props")  # where the code stands on this machine
    _describe(model, {"part": part.name, **about, "differences": differences, "checked_by": checker()})
    return model.SerializeToString(), differences


def _log_sigmoid(x: Any) -> Any:
    """log sigmoid(x) = -log(1 + exp(-x)): the exporter's own, Log of Sigmoid, is wrong where that is nearly 0."""
    from onnxscript import opset18

    return opset18.Neg(opset18.Softplus(opset18.Neg(x)))


def _describe(model: ModelProto, about: Mapping[str, Any]) -> None:
    """Puts texts into the file's metadata as they are, everything else as JSON."""
    from onnx.helper import set_model_props

    set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()})


def runner(model: ModelProto) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """Runs the file on a batch."""
    name = model.graph.input[0].name
    if importlib.util.find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator

        reference = ReferenceEvaluator(model)
        return lambda batch: list(reference.run(None, {name: batch}))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: batch})
