"""Views of what was audited: the model, with the proof that it was left as it was, and the data."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.audits import DataSummary, Identity
from interpret.results.record import Message
from interpret.results.tree import (
    Badge,
    Code,
    Column,
    Details,
    Fact,
    Facts,
    Inline,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    Text,
    names,
    say,
)
from interpret.results.views import view

#: Rows of a table of labels or slices.
N_COUNTED = 60
N_BAD_ROWS = 20
_QUANTILES = ("0", "min", "p5", "p25", "p50", "median", "p75", "p95", "100", "max")


def label_list(labels: Sequence[str], limit: int = 30) -> Message:
    """The classes of a model by name; the first ones where there are many."""
    if not labels:
        return say("none")
    if len(labels) > limit:
        return say("list.names_more", names=names(labels[:limit]), n=len(labels) - limit)
    return say("list.names", names=names(labels))


def left_alone(record: Identity) -> bool:
    """Whether weights, configuration and tokenizer were after the audit what they were before."""
    before = (record.weights_sha256_before, record.config_sha256, record.tokenizer_sha256)
    return before == (record.weights_sha256_after, record.config_sha256_after, record.tokenizer_sha256_after)


def _after(before: str, after: str) -> Message:
    return say("identity.same_after") if before == after else say("identity.other_after", digest=after)


def identity_nodes(record: Identity) -> tuple[Node, ...]:
    """The model, the proof that it was left as it was, and the versions."""
    same = left_alone(record)
    difference = record.capture_logit_difference
    model = (
        Fact(say("fact.model"), record.name),
        Fact(say("fact.revision"), say("none") if record.revision is None else Code(record.revision)),
        Fact(say("fact.adapter"), say("none") if record.adapter is None else record.adapter),
        Fact(say("fact.base"), say("none") if record.base_name is None else record.base_name),
        Fact(say("fact.family"), f"{record.family} · {record.architecture}"),
        Fact(say("fact.task"), say("task.named", name=record.task)),
        Fact(say("fact.labels"), label_list(record.labels)),
        Fact(say("fact.n_parameters"), Number(record.n_parameters, "count")),
        Fact(
            say("fact.shape"),
            say("identity.shape", layers=record.n_layers, heads=record.n_heads, width=record.d_model),
        ),
        Fact(say("fact.max_length"), Number(record.max_length, "count"), say("unit.tokens")),
        Fact(
            say("fact.dtype"),
            say("identity.dtype", saved=record.saved_dtype, run=record.run_dtype, device=record.device),
            None if record.saved_dtype == record.run_dtype else say("identity.dtype_differs"),
        ),
        Fact(say("fact.attn_implementation"), Code(record.attn_implementation)),
        Fact(say("fact.quantisation"), say("none") if record.quantisation is None else record.quantisation),
        Fact(say("fact.remote_code"), say("format.yes" if record.remote_code else "format.no")),
    )
    proof: tuple[Fact, ...] = (
        Fact(
            say("fact.untouched"),
            Badge("pass" if same else "fail", say("identity.same" if same else "identity.changed")),
        ),
        Fact(say("fact.weights_before"), Code(record.weights_sha256_before)),
        Fact(say("fact.weights_after"), Code(record.weights_sha256_after)),
        Fact(
            say("fact.capture_difference"),
            Number(difference, "tiny"),
            say("identity.bit_identical") if difference == 0 else None,
        ),
        Fact(
            say("fact.config_sha256"),
            Code(record.config_sha256),
            _after(record.config_sha256, record.config_sha256_after),
        ),
        Fact(
            say("fact.tokenizer_sha256"),
            Code(record.tokenizer_sha256),
            _after(record.tokenizer_sha256, record.tokenizer_sha256_after),
        ),
    )
    if record.base_weights_sha256 is not None:
        proof += (Fact(say("fact.base_weights"), Code(record.base_weights_sha256)),)
    notes: list[Node] = []
    if record.remote_code:
        notes.append(Note("warning", (say("identity.remote_code"),)))
    if record.quantisation is not None:
        notes.append(Note("warning", (say("identity.quantised", scheme=record.quantisation),)))
    versions = tuple(Fact(name, Code(version)) for name, version in sorted(record.versions.items()))
    return (Facts(model), *notes, Facts(proof), Details(say("fact.versions"), (Facts(versions),)))


@view.register
def _(record: Identity) -> Node:
    return Section(say("view.identity", name=record.name), identity_nodes(record))


# --- data


def data_nodes(record: DataSummary) -> tuple[Node, ...]:
    """What was read, what of it was used, how labels were matched, and what is not known."""
    how = say("data.all_used")
    if record.sampled:
        how = say("data.sampled", n=record.n_used, of=record.n_rows, seed=record.sampling_seed)
    beyond = say("data.truncated_hint") if record.n_truncated else None
    facts = (
        Fact(say("fact.data"), record.name),
        Fact(say("fact.rows"), Number(record.n_rows, "count")),
        Fact(say("fact.used"), Number(record.n_used, "count"), how),
        Fact(say("fact.text_column"), Code(record.text_column)),
        Fact(
            say("fact.label_column"),
            say("none") if record.label_column is None else Code(record.label_column),
        ),
        Fact(say("fact.texts"), say(f"texts.{record.texts}")),
        Fact(say("fact.truncated"), Number(record.n_truncated, "count"), beyond),
        Fact(say("fact.empty"), Number(record.n_empty, "count")),
        Fact(say("fact.duplicates"), Number(record.n_duplicates, "count")),
        Fact(say("fact.overlap"), Badge("not_run", say("data.overlap_not_examined"))),
        Fact(say("fact.data_sha256"), Code(record.sha256), say("data.sha256_hint")),
    )
    children: list[Node] = [Facts(facts)]
    mapping = record.mapping
    children.append(Paragraph((say(f"mapping.{mapping.rule}"),)))
    if mapping.pairs:
        columns: tuple[Column, ...] = (Column(say("column.label_data")),)
        columns += (Column(say("column.class"), numeric=True),)
        columns += (Column(say("column.label_model")), Column(say("column.rows"), numeric=True))
        rows = []
        for raw, index in sorted(mapping.pairs.items(), key=lambda pair: (pair[1], pair[0])):
            count = record.label_counts.get(raw)
            shown: Inline = "–" if count is None else Number(count, "count")
            rows.append((raw, Number(index, "count"), mapping.names.get(raw, "–"), shown))
        children.append(Table(columns, tuple(rows[:N_COUNTED]), say("data.mapping_table"), len(rows)))
    elif record.label_counts:
        children.append(_counts(say("column.label"), sorted(record.label_counts.items())))
    if record.slice_counts:
        children.append(_counts(say("column.slice"), sorted(record.slice_counts.items())))
    if record.length_quantiles:
        # In order of length: a saved audit returns its mappings in the order of their names.
        place = {name: i for i, name in enumerate(_QUANTILES)}
        lengths = sorted(record.length_quantiles.items(), key=lambda item: (place.get(item[0], len(place)), item[0]))
        columns = tuple(Column(say("quantile.named", name=name), numeric=True) for name, _ in lengths)
        cells: tuple[Inline, ...] = tuple(Number(n, "count") for _, n in lengths)
        children.append(Table(columns, (cells,), say("data.lengths"), row_headers=False))
    if record.scripts:
        rows_scripts = tuple(
            (say("script.named", name=name), Number(share, "percent"))
            for name, share in sorted(record.scripts.items(), key=lambda item: (-item[1], item[0]))
        )
        columns = (Column(say("column.script")), Column(say("column.share"), numeric=True))
        children.append(Table(columns, rows_scripts, say("data.scripts")))
    if record.bad_rows:
        shown_rows = tuple((row,) for row in record.bad_rows[:N_BAD_ROWS])
        table = Table((Column(say("column.bad_row")),), shown_rows, None, len(record.bad_rows), row_headers=False)
        children.append(Note("warning", (say("data.bad_rows", n=len(record.bad_rows)),)))
        children.append(Details(say("column.bad_row"), (table,)))
    return tuple(children)


def _counts(title: Text, counts: Sequence[tuple[str, int]]) -> Table:
    columns = (Column(title), Column(say("column.rows"), True))
    rows = tuple((name, Number(n, "count")) for name, n in counts[:N_COUNTED])
    return Table(columns, rows, None, len(counts))


@view.register
def _(record: DataSummary) -> Node:
    return Section(say("view.data", name=record.name), data_nodes(record))
