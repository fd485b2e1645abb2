"""The capture store: what a model computed on a data set, on disk, resumable, checked, read without the model.

    capture_to(handle, "captured/", texts, ["resid_post"], dtype="bfloat16")
    store = open_store("captured/")
    store["resid_post", 3][:100]

A store is a folder: `manifest.json` (what was asked, and what was run), `examples.parquet` (one row per example),
and for each shard `shard-00000.safetensors` (values, token-major, without padding) and `shard-00000.parquet` (one
row per token). The same request gives the same bytes, however often it was interrupted.
"""

from interpret.capture.store.read import Store, open_store
from interpret.capture.store.write import capture_to

__all__ = ["Store", "capture_to", "open_store"]
