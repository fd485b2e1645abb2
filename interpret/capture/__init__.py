"""Reading and editing a model while it runs, without touching it: the only place that registers hooks."""

from interpret.capture.edits import Edit
from interpret.capture.tensors import Capture

__all__ = ["Capture", "Edit"]
