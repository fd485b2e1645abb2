"""Hooks for one thread: a model that is used by several runs in the others as if nothing hung on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def here(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A forward hook for the thread that asks for it; forwards of other threads are left as they are."""
    thread = threading.get_ident()

    def only_here(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == thread else None

    return only_here
