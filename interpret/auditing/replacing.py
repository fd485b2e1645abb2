"""A finished audit in the folder that another is to be saved to: whether the two are of the same request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from interpret.auditing.config import AuditConfig
from interpret.auditing.examples import Examples, content_sha256, sample_examples
from interpret.auditing.identity import fingerprint
from interpret.errors import StoreError, UsageError
from interpret.models.handle import Handle
from interpret.models.load import weights_sha256
from interpret.results.audits import Audit
from interpret.results.record import Scalar

_INSTEAD = "save it to another folder (--out), or replace what is there with --overwrite (into=None)"
_REDUCED = "reduced_from."


def refuse_other(
    folder: Path, handle: Handle, everything: Examples, *, base: Handle | None, config: AuditConfig, seed: int
) -> None:
    """Refuse a folder with a finished audit of another model, base, data, configuration or seed.

    Raises:
        UsageError: there is one, or one that cannot be read.
    """
    if not (folder / "audit.json").is_file():
        return
    try:
        saved = Audit.load(folder)
    except StoreError as err:
        raise UsageError(f"{folder} holds an audit that cannot be read ({err}); {_INSTEAD}") from err
    then, now = saved.identity, fingerprint(handle)
    # Asked for was what a budget then lowered.
    limit = saved.config.get("limit")
    examples = sample_examples(everything, limit if isinstance(limit, int) else None, saved.seed)
    others = {
        f"another model ({then.name})": tuple(now)
        != (then.weights_sha256_before, then.config_sha256, then.tokenizer_sha256),
        f"another base ({then.base_name or 'none'})": (None if base is None else weights_sha256(base.model))
        != then.base_weights_sha256,
        f"other data ({saved.data.name})": content_sha256(examples) != saved.data.sha256,
        "another configuration": _asked(config.resolved()) != _asked(saved.config),
        f"another seed ({saved.seed})": seed != saved.seed,
    }
    found = [name for name, differs in others.items() if differs]
    if found:
        raise UsageError(f"{folder} holds a finished audit of {', '.join(found)}; {_INSTEAD}")


def _asked(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The configuration before a budget lowered its counts."""
    plain = {key: value for key, value in config.items() if not key.startswith(_REDUCED)}
    return plain | {key.removeprefix(_REDUCED): of for key, of in config.items() if key.startswith(_REDUCED)}
