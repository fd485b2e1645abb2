"""`attribute`: outputs explained word by word, on the terminal, in a file, or over a whole data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.inputs import refuse_input
from interpret.cli.models import load_model
from interpret.cli.shell import colours, guarded, out_file, out_folder, say, show, show_json
from interpret.cli.values import imported, method_options
from interpret.errors import UsageError
from interpret.readers.characters import require_unicode

if TYPE_CHECKING:
    from interpret.facade import AttachedModel
    from interpret.readers.texts import Texts
    from interpret.results.explanations import Attribution

EPILOG = """
\b
Examples:
  interpret attribute ./model --text "A film to see twice."
  interpret attribute ./model reviews.csv --limit 20 --out attribution.html
  interpret attribute ./model reviews.csv --target positive --against negative --out scores.parquet
  interpret attribute ./chat-model chats.jsonl --unit message --limit 5

A column called messages holds chats, lists of {"role": ..., "content": ...}, for models with a chat template.
Of a chat that ends with the assistant's message that message is explained.

A .parquet file takes data sets of any size: one row per token, beside it one row per text in
scores.examples.parquet. Interrupted or killed, the same command goes on where it stopped.
"""


@guarded
def attribute(
    model: o.Model,
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="A table of texts; or give --text.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text to explain; may be given repeatedly.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(metavar="METHOD", help="Attribution method; auto picks by task and records what it picked."),
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class to explain: its name or id, or gold (needs labels); default: the predicted one.",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Explain why --target rather than this class.", metavar="CLASS")
    ] = None,
    at: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Which word's class, which mask or which written token is explained, from 0; -1 is the last.",
        ),
    ] = None,
    response: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What a model that writes has written, its leading space included."),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Let the model write up to N tokens, and explain what it wrote."),
    ] = None,
    unit: Annotated[o.Unit, typer.Option(help="What gets one score.")] = o.Unit.WORD,
    long_text: Annotated[
        o.LongText,
        typer.Option(help="Of texts longer than the model reads at once: cut them there, or read overlapping windows."),
    ] = o.LongText.TRUNCATE,
    doc_stride: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Tokens that neighbouring windows share; default: half, at most 128."),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="What finds words in writing without spaces, such as jieba:lcut; it is imported and run.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What a removed word becomes: mask_token, pad_token, eos_token, unk_token or bos_token; or delete, to "
            "take it out (methods without gradients); default: what suits the model.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the method, such as n_steps=64; may be given repeatedly."),
    ] = None,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Measure how far the explanation can be trusted.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write to .parquet (data sets of any size), .csv, .json, .html, or without an ending to a folder.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another attribution at --out FILE.parquet.")
    ] = False,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    label_map: o.LabelMap = None,
    id_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column that names the rows in FILE.parquet; default: they are numbered."),
    ] = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Explain outputs word by word, with the measured quality of the explanation."""
    if (data is None) == (text is None):
        raise UsageError(
            "there is nothing to explain: give either --text or DATA"
            if data is None
            else "both --text and DATA were given: give either --text or DATA"
        )
    if target == "gold" and data is None:
        raise UsageError("--target gold explains the labels of DATA; with --text name a class")
    if against is not None and target in (None, "gold"):
        raise UsageError("--against needs a class to compare with: name it with --target")
    if out is not None and out.suffix not in ("", ".parquet", ".csv", ".json", ".html"):
        raise UsageError(f"cannot write {out.name}: --out ends in .parquet, .csv, .json, .html, or names a folder")
    if doc_stride is not None and long_text is not o.LongText.WINDOWS:
        raise UsageError("--doc-stride is how far windows overlap; it needs --long-text windows")
    tabled = out is not None and out.suffix == ".parquet"
    for flag, given in (("--overwrite", overwrite), ("--id-column", id_column is not None)):
        if given and not tabled:
            raise UsageError(f"{flag} is about the tables of a data set: it needs --out with a name in .parquet")
    of_data = {
        "--text-column": text_column,
        "--label-column": label_column,
        "--label-map": label_map,
        "--no-header": no_header,
        "--columns": columns,
        "--skip-bad-rows": skip_bad_rows,
        "--limit": None if tabled else limit,
    }
    for flag, value in of_data.items():
        if data is None and value not in (None, False):
            raise UsageError(f"{flag} is about the rows of DATA, and --text was given; leave it out")
    if label_map is not None and target != "gold":
        raise UsageError("--label-map says which labels of DATA are which classes, for --target gold; leave it out")
    if text is not None and not all(written.strip() for written in text):
        raise UsageError("--text is empty; write the text to explain in quotes after it")
    for number, written in enumerate(text or ()):
        require_unicode(written, f"--text number {number + 1}" if len(text or ()) > 1 else "--text")
    if response is not None and max_new_tokens is not None:
        raise UsageError("--response says what was written, and --max-new-tokens lets the model write: give one")
    if segmenter is not None and tabled:
        raise UsageError("--segmenter is code, which tables of a data set cannot record; leave it or .parquet out")
    further = method_options(option)
    further |= {"baseline": baseline} if baseline is not None else {}
    further |= {"at": at} if at is not None else {}
    further |= {"response": response} if response is not None else {}
    further |= {"response": True, "max_new_tokens": max_new_tokens} if max_new_tokens is not None else {}
    further |= {"segmenter": imported(segmenter)} if segmenter is not None else {}
    explained = _class(target) if against is None else (_class(target), _class(against))
    many: Texts | None = None
    if data is not None or tabled:
        from interpret.readers.texts import read_texts

        many = read_texts(
            text if data is None else data,
            text=text_column,
            label=label_column,
            id=id_column,
            header=not no_header,
            columns=o.names(columns),
            skip_bad_rows=skip_bad_rows,
            limit=limit,
            chats=True,
        )
        if many.n_left_out:
            say(f"left out {many.n_left_out} bad rows of {many.name}, the first at line {many.first_left_out}")
    if out is not None:
        (out_file if out.suffix else out_folder)(out)
        if tabled:
            refuse_input(out.with_name(f"{out.stem}.examples.parquet"))
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    if tabled and many is not None and out is not None:
        _write_tables(
            lm,
            many,
            out,
            as_json=as_json,
            target=explained,
            method=method,
            unit=unit.value,
            quality="auto" if quality else False,
            long_text=long_text.value,
            doc_stride=doc_stride,
            label_map=label_map,
            seed=seed,
            overwrite=overwrite,
            **further,
        )
        return
    explain: list[Any] = list((text or ()) if many is None else many.given)
    result = lm.attribute(
        explain,
        target=explained,
        method=method,
        unit=unit.value,
        quality="auto" if quality else False,
        long_text=long_text.value,
        doc_stride=doc_stride,
        gold=None if target != "gold" or many is None else _gold(lm, many, label_map),
        seed=seed,
        **further,
    )
    path = None if out is None else _write(result, out)
    if as_json:
        show_json({"path": path and str(path), "attribution": result.to_dict()})
        return
    from interpret.results.views import to_text

    show(to_text(result, colour=colours()), coloured=colours())
    if path is not None:
        show(str(path))


def _class(written: str | None) -> str | int | None:
    return int(written) if written is not None and written.isdecimal() else written


def _gold(lm: AttachedModel, texts: Texts, label_map: str | None) -> list[Any]:
    from interpret.facade.attributing import gold_of

    return gold_of(texts, lm.info()["labels"], label_map)


def _write_tables(lm: AttachedModel, texts: Texts, out: Path, *, as_json: bool, **options: Any) -> None:
    try:
        files = lm.attribute_to(out, texts, **options)
    except KeyboardInterrupt:
        say(f"what is whole stays beside {out}; run the same command again to go on")
        raise
    facts = files.summary()
    if as_json:
        show_json(
            {"path": str(out), "examples_path": str(files.examples_path), **facts, "n_left_out": texts.n_left_out}
        )
        return
    for line in _summary(facts):
        show(line)
    show(str(files.examples_path))
    show(str(out))


def _summary(facts: dict[str, Any]) -> list[str]:
    cut = f"; {facts['n_truncated']:,} cut to the model's window" if facts["n_truncated"] else ""
    cut += f"; {facts['n_windowed']:,} read in several windows" if facts["n_windowed"] else ""
    cut += f", {facts['n_partly_read']:,} of them in part" if facts["n_partly_read"] else ""
    targets = sorted(facts["targets"].items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{label!r} {n:,}" for label, n in targets[:5]) + (", ..." if len(targets) > 5 else "")
    lines = [
        f"texts         {facts['n_examples']:,} of {facts['data']}{cut}",
        f"tokens        {facts['n_tokens']:,}",
        f"method        {facts['method']}, one score per {facts['unit']}",
        f"explained     {named}",
    ]
    if facts["convergence_delta_median"] is not None:
        median, most = facts["convergence_delta_median"], facts["convergence_delta_max"]
        lines.append(f"completeness  error {median:.3f} in the median, {most:.3f} at most")
    quality = facts["quality"]
    if quality is None:
        return [*lines, "quality       not measured: nothing shows that these scores say more than random words would"]
    low, high = quality["difference_ci_low"], quality["difference_ci_high"]
    gain = f"{quality['difference']:+z.3f}" + ("" if low is None else f" [{low:+z.3f}, {high:+z.3f}]")
    verdict = quality["verdict"].replace("_", " ")
    return [
        *lines,
        f"quality       {verdict}: the probability falls {gain} further than for random words",
        f"              {quality['above_95_share']:.1%} of single texts above the 95th percentile of "
        f"{quality['n_random']} random rankings; chance gives 5%",
    ]


def _write(result: Attribution, out: Path) -> Path:
    match out.suffix:
        case ".csv":
            result.to_frame().to_csv(out, index=False)
        case ".json":
            import json

            plain: dict[str, Any] = result.to_dict()
            out.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        case ".html":
            from interpret.results.views import to_html

            body = to_html(result, prefix="a-")
            head = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Attribution</title>\n'
            out.write_bytes(f"{head}{body}\n</html>\n".encode("utf-8", "replace"))
        case _:
            result.save(out)
    return out
