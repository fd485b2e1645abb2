"""The closed vocabulary of places inside a transformer, and how a request for them is written.

`layer` is 0-based everywhere and `resid_post.0` is the residual stream *after* the first block. Hugging Face's
`hidden_states` is shifted by one: index 0 is the embedding output and index `layer + 1` is what the block wrote,
except that in decoders the *last* index is taken after the final norm and so equals no `resid_post` at all.
`hidden_states_index` states this once; nothing else in the package counts hidden states.

A model made of several stacks has a prefix before each site: `encoder.`, `decoder.` and `cross.` (the decoder's
attention to the encoder, with the decoder's layers), or `vision.`, `audio.` and `text.`. `logits` has none, for
they belong to the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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


Prefix = Literal["encoder", "decoder", "cross", "vision", "audio", "text"]
PREFIXES: Final[tuple[Prefix, ...]] = get_args(Prefix)

#: What the attention from a decoder to its encoder has of its own; `cross.resid_mid` is the stream after it.
CROSS_SITES: Final[frozenset[Site]] = frozenset(
    {"resid_mid", "q", "k", "v", "attn_scores", "attn_pattern", "z", "attn_out"}
)

#: One captured tensor: a site as it is written, prefix included, and its layer; None where there are no layers.
Key = tuple[str, int | None]


class SiteRequest(NamedTuple):
    """One site at the layers asked for; `layers` is None for a site without layers or for all of them."""

    site: str
    layers: tuple[int, ...] | None


_WRITTEN = re.compile(
    rf"(?:(?P<prefix>{'|'.join(PREFIXES)})\.)?(?P<site>[a-z_]+)(?:\.(?P<first>\d+)(?:-(?P<last>\d+))?)?"
)


def split_site(name: str) -> tuple[str, Site]:
    """Prefix ("" where there is none) and site of the vocabulary.

    Raises:
        UnknownSiteError: the name is not in the vocabulary.
    """
    prefix, _, site = name.rpartition(".")
    if site not in SITES or (prefix and prefix not in PREFIXES):
        raise UnknownSiteError(
            f"unknown site {name!r}; the sites are {', '.join(SITES)}, behind one of {', '.join(PREFIXES)} and a dot "
            "in models of several stacks"
        )
    return prefix, site


def axes_of(name: str, n_dims: int | None = None) -> tuple[str, ...]:
    """Axes of a captured tensor, outermost first; with `n_dims` 3, logits at every position."""
    _, site = split_site(name)
    return ("example", "position", "label") if site == "logits" and n_dims == 3 else AXES[site]


def is_layered(name: str) -> bool:
    """Whether the site exists once per layer."""
    return split_site(name)[1] not in UNLAYERED


def parse_site(written: str) -> SiteRequest:
    """Read `"resid_post"` (all layers), `"decoder.resid_post.3"` or `"attn_pattern.0-5"` (both ends included).

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
    name = match["site"] if match["prefix"] is None else f"{match['prefix']}.{match['site']}"
    split_site(name)
    if match["first"] is None:
        return SiteRequest(name, None)
    if not is_layered(name):
        raise UnknownSiteError(f"{name!r} exists once per model and takes no layer; write {name!r}")
    first = int(match["first"])
    last = first if match["last"] is None else int(match["last"])
    if last < first:
        raise UsageError(f"the range in {written!r} runs backwards; write {name}.{last}-{first}")
    return SiteRequest(name, tuple(range(first, last + 1)))


def site_names(stacks: Iterable[str]) -> tuple[str, ...]:
    """Every site that a model of these stacks (prefixes; "" for the only one) could have, in order."""
    names: list[str] = []
    for stack in stacks:
        sites = [site for site in SITES if site != "logits" and (stack != "cross" or site in CROSS_SITES)]
        names += [f"{stack}.{site}" if stack else site for site in sites]
    return (*names, "logits")


def expand_sites(written: Iterable[str] | str, n_layers: int | Mapping[str, int]) -> list[Key]:
    """Every (site, layer) a request names, in the order of stacks, vocabulary and layers, each once.

    Args:
        written: sites as `parse_site` reads them.
        n_layers: layers of the model, or of each of its stacks by prefix.

    Raises:
        UnknownSiteError: a stack or a layer the model does not have.
    """
    layers_of = {"": n_layers} if isinstance(n_layers, int) else dict(n_layers)
    names = [written] if isinstance(written, str) else list(written)
    wanted: set[Key] = set()
    for name in names:
        site, layers = parse_site(name)
        if site == "logits":
            wanted.add((site, None))
            continue
        prefix, bare = split_site(site)
        if prefix not in layers_of:
            raise UnknownSiteError(_other_stacks(site, bare, tuple(layers_of)))
        if not is_layered(site):
            wanted.add((site, None))
            continue
        there = layers_of[prefix]
        for layer in range(there) if layers is None else layers:
            if layer >= there:
                raise UnknownSiteError(
                    f"asked for {site}.{layer}, but the {prefix or 'model'} has {there} layers: 0 to {there - 1}"
                )
            wanted.add((site, layer))
    order = {name: index for index, name in enumerate(site_names(layers_of))}
    # A site that no such stack can have stands last; what it lacks is said by whoever knows the model.
    return sorted(wanted, key=lambda key: (order.get(key[0], len(order)), -1 if key[1] is None else key[1]))


def _other_stacks(site: str, bare: str, stacks: tuple[str, ...]) -> str:
    if stacks == ("",):
        return f"asked for {site}, but the model is one stack, whose sites have no prefix; write {bare!r}"
    there = [f"{stack}.{bare}" for stack in stacks if stack != "cross" or bare in CROSS_SITES]
    return f"asked for {site}, but the model has several stacks; write one of {', '.join(there)}"


def hidden_states_index(layer: int) -> int:
    """Index into Hugging Face's `hidden_states` of what block `layer` wrote (not the last one of a decoder)."""
    return layer + 1
