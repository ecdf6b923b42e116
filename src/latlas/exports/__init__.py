"""A trained model outside latlas: as ONNX, as a program of torch.export, and as a folder in the Hugging Face hub's
layout.
"""

from latlas.exports.graphs import BATCHES, TOLERANCE
from latlas.exports.written import Exported, Written

__all__ = ["BATCHES", "TOLERANCE", "Exported", "Written"]
