"""The closed vocabulary of places inside a transformer, and how a request for them is written.

`layer` is 0-based everywhere and `resid_post.0` is the residual stream *after* the first block. Hugging Face's
`hidden_states` is shifted by one: index 0 is the embedding output and index `layer + 1` is what the block wrote,
except that in decoders the *last* index is taken after the final norm and so equals no `resid_post` at all.
`hidden_states_index` states this once; nothing else in the package counts hidden states.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, get_args

from interpret.errors import UnknownSiteError, UsageError

Site = Literal[
    "embed",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "q",
    "k",
    "v",
    "attn_scores",
    "attn_pattern",
    "z",
    "attn_out",
    "mlp_act",
    "mlp_out",
    "final_norm",
    "logits",
]
SITES: Final[tuple[Site, ...]] = get_args(Site)

#: Sites that exist once per model; every other site exists once per layer.
UNLAYERED: Final[frozenset[Site]] = frozenset({"embed", "final_norm", "logits"})

#: Axes of one captured tensor, outermost first. `position` runs over tokens; `label` over classes or vocabulary.
AXES: Final[dict[Site, tuple[str, ...]]] = {
    "embed": ("example", "position", "d_model"),
    "resid_pre": ("example", "position", "d_model"),
    "resid_mid": ("example", "position", "d_model"),
    "resid_post": ("example", "position", "d_model"),
    "q": ("example", "head", "position", "d_head"),
    "k": ("example", "kv_head", "position", "d_head"),
    "v": ("example", "kv_head", "position", "d_head"),
    "attn_scores": ("example", "head", "query", "key"),
    "attn_pattern": ("example", "head", "query", "key"),
    "z": ("example", "position", "head", "d_head"),
    "attn_out": ("example", "position", "d_model"),
    "mlp_act": ("example", "position", "d_mlp"),
    "mlp_out": ("example", "position", "d_model"),
    "final_norm": ("example", "position", "d_model"),
    "logits": ("example", "label"),
}


class SiteRequest(NamedTuple):
    """One site at the layers asked for; `layers` is None for a site without layers or for all of them."""

    site: Site
    layers: tuple[int, ...] | None


_WRITTEN = re.compile(r"(?P<site>[a-z_]+)(?:\.(?P<first>\d+)(?:-(?P<last>\d+))?)?")


def parse_site(written: str) -> SiteRequest:
    """Read `"resid_post"` (all layers), `"resid_post.3"` or `"attn_pattern.0-5"` (both ends included).

    Raises:
        UnknownSiteError: the name is not in the vocabulary.
        UsageError: the layers are not written as one number or an ascending range.
    """
    match = _WRITTEN.fullmatch(written.strip())
    if match is None:
        raise UsageError(
            f"cannot read the site {written!r}: write a site, a site and a layer, or a site and a range, "
            'for example "resid_post", "resid_post.3" or "attn_pattern.0-5"'
        )
    site = match["site"]
    if site not in SITES:
        raise UnknownSiteError(f"unknown site {site!r}; the sites are {', '.join(SITES)}")
    if match["first"] is None:
        return SiteRequest(site, None)
    if site in UNLAYERED:
        raise UnknownSiteError(f"{site!r} exists once per model and takes no layer; write {site!r}")
    first = int(match["first"])
    last = first if match["last"] is None else int(match["last"])
    if last < first:
        raise UsageError(f"the range in {written!r} runs backwards; write {site}.{last}-{first}")
    return SiteRequest(site, tuple(range(first, last + 1)))


def expand_sites(written: Iterable[str] | str, n_layers: int) -> list[tuple[Site, int | None]]:
    """Every (site, layer) a request names, in vocabulary then layer order, each once; layer None for unlayered.

    Raises:
        UnknownSiteError: a layer the model does not have.
    """
    names = [written] if isinstance(written, str) else list(written)
    wanted: set[tuple[Site, int | None]] = set()
    for name in names:
        site, layers = parse_site(name)
        if site in UNLAYERED:
            wanted.add((site, None))
            continue
        for layer in range(n_layers) if layers is None else layers:
            if layer >= n_layers:
                raise UnknownSiteError(
                    f"asked for {site}.{layer}, but the model has {n_layers} layers: 0 to {n_layers - 1}"
                )
            wanted.add((site, layer))
    return sorted(wanted, key=lambda key: (SITES.index(key[0]), -1 if key[1] is None else key[1]))


def hidden_states_index(layer: int) -> int:
    """Index into Hugging Face's `hidden_states` of what block `layer` wrote (not the last one of a decoder)."""
    return layer + 1
