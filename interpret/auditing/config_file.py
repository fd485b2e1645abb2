"""A configuration file with every key, its meaning and its default: what `interpret audit --init` writes."""

from __future__ import annotations

from typing import Final

from interpret.auditing.config import AuditConfig

#: What each key means; a key without an entry here is written by the audit and not by its author.
MEANING: Final[dict[str, str]] = {
    "method": "attribution method of sections 7 to 9: auto, or a name from interpret.methods()",
    "explained": "texts explained, a random sample: what sections 7 and 8 rest on",
    "errors_shown": "wrongly answered texts explained besides, for section 9",
    "random_shown": "explained texts shown in section 9 whatever their answer",
    "random_rankings": "random rankings of its own words that each explanation is held against",
    "compared_methods": "methods that the main one is compared with, separated by commas",
    "compared": "texts explained with each of those methods; 0 compares none",
    "randomised": "texts explained again with a model whose weights are drawn anew; 0 leaves the test out",
    "attention": "texts over which attention is averaged; 0 leaves section 10 out",
    "ablated": "of these, texts on which every head is taken out to see what the answer loses; 0 leaves that out",
    "probed": "texts that probes are trained and tested on; 0 leaves section 11 out",
    "shortcut_texts": "texts explained to find words the model leans on; as many others check them; 0 leaves it out",
    "shortcut_method": "attribution method for these: auto takes the cheaper of leave_one_out, integrated_gradients",
    "perturbed": "texts written otherwise (typing errors, case, punctuation, group words); 0 leaves section 12 out",
    "perturbed_explained": "changed texts whose explanation is compared with that of the original",
    "base_activations": "texts on which activations are compared with those of a base model; 0 leaves that out",
    "base_attention": "texts on which attention is compared with that of a base model; 0 leaves that out",
    "base_explained": "explained texts whose explanation is compared with a base model's; 0 leaves that out",
    "moved_shown": "texts whose output moved most from a base model's, explained besides for section 9",
    "swap_terms": "further words to exchange in section 12, as nurse=doctor, he=she",
    "protected": "columns with a protected attribute, as [gender]: section 11 says whether it is known and used",
    "concepts": "other columns that this is asked of",
    "bootstraps": "resamples behind every bootstrap interval",
    "words_shown": "words listed for each class in section 7",
    "texts": "what the audit keeps of the texts: full, masked (a sign in the place of every word) or ids (row numbers)",
    "pairing": "digests by which examples of two audits are matched: plain, or keyed, against guesses at short texts",
    "limit": "audit a random sample of at most so many rows; nothing means all of them",
    "minimum_accuracy": "criterion: the share of right answers must be at least this, between 0 and 1",
    "max_flip_rate": "criterion: at most this share of predictions may change under a perturbation, between 0 and 1",
    "max_group_difference": "criterion: at most this difference of a class's probability between groups, 0 to 1",
    "criteria_by": "who declared the criteria",
    "criteria_on": "when they were declared",
    "intended_use": "what the model is for, as sentences under purpose, users, decisions, out_of_scope, oversight",
}


def config_template() -> str:
    """YAML with every key at its default; reading it gives the defaults."""
    import yaml

    defaults = AuditConfig()
    lines = [
        "# What an audit measures, and the criteria it is held to. Every key is at its default here;",
        "# those that are left out keep it. Use it with: interpret audit MODEL DATA --config FILE",
    ]
    for key, meaning in MEANING.items():
        value = getattr(defaults, key)
        plain = dict(value) if key == "intended_use" else value
        dumped = yaml.safe_dump({key: plain}, allow_unicode=True, width=120).rstrip("\n")
        lines += ["", f"# {meaning}", dumped]
    return "\n".join(lines) + "\n"
