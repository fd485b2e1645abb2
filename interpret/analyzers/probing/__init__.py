"""What the model's states know linearly, layer by layer."""

from interpret.analyzers.probing.run import probe

__all__ = ["probe"]
