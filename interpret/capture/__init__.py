"""Reading a model while it runs, without touching it: the only place that registers hooks."""

from interpret.capture.tensors import Capture

__all__ = ["Capture"]
