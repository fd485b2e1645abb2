"""Where a model stands, what its folder holds, and what of it is refused before anything is read.

Nothing heavy is imported with this module, so that a wrong path is said at once.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from interpret.errors import LoadError, MissingFileError, UsageError

_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
#: A tokenizer is there where one of these is.
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "source.spm",
)
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_STORED: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

#: How the schema of every capture store begins.
STORE: Final = "interpret.store/"
#: What takes a capture store, for whoever gives one elsewhere.
TAKES_A_STORE: Final = (
    "only interpret.probe (interpret probe run --store DIR DATA) takes a capture store, everything else runs the model"
)


class Source(NamedTuple):
    """A folder on this machine, what to call it, and the commit if it came from the hub."""

    folder: Path
    name: str
    revision: str | None


def locate_here(source: str | os.PathLike[str], what: str) -> Path | None:
    """Find the folder of a model or adapter on this machine; None for what may be a hub id."""
    written = os.fspath(source)
    folder = Path(written).expanduser()
    if is_store(folder):
        raise UsageError(f"{folder.resolve().name} is a capture store, not a {what}: {TAKES_A_STORE}; give a {what}")
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise LoadError(f"{folder.name} is a file; give the folder of the saved {what}")
    if not _HUB_ID.fullmatch(written):
        raise MissingFileError(
            f"there is no {what} folder {written!r}, and it is no hub id either; give the folder of a saved "
            f"{what}, or a hub id written owner/name"
        )
    return None


def is_store(folder: Path) -> bool:
    """Whether a capture wrote this folder; a model's folder has no such manifest."""
    try:
        return str(json.loads((folder / "manifest.json").read_bytes())["schema"]).startswith(STORE)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_tokenizer(source: str | os.PathLike[str]) -> None:
    """Raise LoadError for a model's folder on this machine that holds no tokenizer, which texts cannot be read without.

    The folder of an adapter needs none of its own.
    """
    folder = Path(source).expanduser()
    if (folder / "config.json").is_file() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise LoadError(
            f"the model {folder.absolute().name} has no tokenizer: its folder holds none of "
            f"{', '.join(TOKENIZER_FILES)}; copy those files there from the model that it was trained from, or run "
            f"AutoTokenizer.from_pretrained(THAT_MODEL).save_pretrained({os.fspath(source)!r}) in Python"
        )


def locate(
    source: str | os.PathLike[str],
    revision: str | None,
    token: str | None,
    what: str,
    *,
    trust_remote_code: bool = False,
) -> Source:
    """Find the folder of a model or adapter, here or on the hub; a path that is not there is no hub id."""
    folder = locate_here(source, what)
    if folder is not None:
        # A folder has no revisions; recording the one that was typed would state what nobody checked.
        return Source(folder, folder.resolve().name, None)
    return _download(os.fspath(source), revision, token, what, trust_remote_code=trust_remote_code)


def _download(hub_id: str, revision: str | None, token: str | None, what: str, *, trust_remote_code: bool) -> Source:
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.jinja"] + ["*.py"] * trust_remote_code
    try:
        with quiet():
            folder = Path(
                huggingface_hub.snapshot_download(
                    hub_id,
                    revision=revision,
                    token=token,
                    allow_patterns=patterns,
                    # Other formats and original checkpoints stand in subfolders.
                    ignore_patterns=["*/*"],
                    etag_timeout=5,
                )
            )
    except GatedRepoError as err:
        raise LoadError(f"the {what} {hub_id!r} is gated on the hub; ask for access and set HF_TOKEN (token=)") from err
    except RevisionNotFoundError as err:
        raise LoadError(f"the {what} {hub_id!r} has no revision {revision!r} on the hub") from err
    except RepositoryNotFoundError as err:
        raise LoadError(
            f"there is no folder {hub_id!r} here and no {what} of that name on the hub; "
            "check the name, or set HF_TOKEN (token=) if it is private"
        ) from err
    except (LocalEntryNotFoundError, OSError) as err:
        raise LoadError(
            f"there is no folder {hub_id!r} here, the hub cannot be reached, and no {what} of that name "
            "is in the local cache; give the path of a saved model, or connect to the network"
        ) from err
    except Exception as err:  # a refused id, or an error of the HTTP client's own kind
        raise LoadError(f"the {what} {hub_id!r} could not be fetched: {first_line(err)}") from err
    return Source(folder, hub_id, folder.name)


def public_name(written: str) -> str:
    """A hub id as it is; of a path the last part only."""
    if _HUB_ID.fullmatch(written) and not Path(written).exists():
        return written
    # A config may have been written on a machine with other separators.
    return written.replace("\\", "/").rstrip("/").rpartition("/")[2]


# What a folder holds


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise LoadError(f"{path.parent.name}/{path.name} is not valid JSON: {err}") from err
    if not isinstance(read, dict):
        raise LoadError(f"{path.parent.name}/{path.name} holds no JSON object")
    return read


def refuse_remote_code(raw: Mapping[str, Any], name: str, trust_remote_code: bool) -> None:
    """Raise LoadError for a model whose classes are not transformers' own, unless its code may be run."""
    import transformers

    known = raw.get("model_type") in transformers.CONFIG_MAPPING
    if "auto_map" in raw and not known and not trust_remote_code:
        raise LoadError(
            f"{name} brings its own Python code (auto_map in its config.json), which is not run unless "
            "you ask for it: read the code, then pass --trust-remote-code (trust_remote_code=True)"
        )
    if raw.get("model_type") is not None and not known and "auto_map" not in raw:
        raise LoadError(
            f"{name} has model type {raw['model_type']!r}, which transformers {transformers.__version__} does not "
            "know; a newer transformers may"
        )


def refuse_pickle(folder: Path, name: str, what: str, weights: str = "*.safetensors") -> None:
    """Raise LoadError where `weights` are not in safetensors; reading a pickle can run code."""
    if any(folder.glob(weights)):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise LoadError(
            f"the {what} {name} holds its weights only in {pickles[0]}, a pickle, which can run code when "
            "it is read: convert it to safetensors (load it where you trust it, then save_pretrained)"
        )
    raise LoadError(
        f"the {what} {name} holds no safetensors weights ({weights}); if it was saved in another format, load it with "
        "the library that saved it and write it again: transformers writes safetensors with "
        "from_pretrained(...).save_pretrained(FOLDER); if it was not saved, give the folder that holds its weights"
    )


def tensors(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Name, stored type and shape of every tensor, from the headers alone."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as opened:
                for key in opened.keys():
                    tensor = opened.get_slice(key)
                    yield key, tensor.get_dtype(), tensor.get_shape()
        except Exception as err:  # SafetensorError has no public base of its own
            raise LoadError(
                f"{folder.name}/{path.name} is damaged: {first_line(err)}; copy or download it again"
            ) from err


def stored_dtype(folder: Path) -> str:
    """The type that most stored weights have."""
    counts: Counter[str] = Counter()
    for _, stored, shape in tensors(folder):
        if stored in _STORED:
            counts[_STORED[stored]] += math.prod(shape)
    return max(sorted(counts), key=lambda kind: counts[kind], default="float32")


@contextmanager
def quiet() -> Iterator[None]:
    """No load report, progress bar or warning of the libraries below; their settings are put back."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    with ExitStack() as stack:
        stack.callback(logging.set_verbosity, logging.get_verbosity())
        if logging.is_progress_bar_enabled():
            stack.callback(logging.enable_progress_bar)
        if not are_progress_bars_disabled():
            stack.callback(enable_progress_bars)
        stack.enter_context(warnings.catch_warnings())
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        disable_progress_bars()
        warnings.simplefilter("ignore")
        yield


def first_line(err: BaseException) -> str:
    """Shorten what a library says to its first line, for a message of ours."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(err).__name__
