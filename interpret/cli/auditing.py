"""`audit`, `demo` and `report`: a whole data set, and the report on it."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.models import load_model, read_texts
from interpret.cli.planning import show_plan, write_config
from interpret.cli.shell import command_line, guarded, out_file, out_folder, records, say, show, show_json
from interpret.errors import DataError, MissingFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interpret.results.audits import Audit, Check
    from interpret.results.record import Estimate

#: Finished stages of an audit under way, and the configuration that every audit is saved with.
PARTIAL = ".partial"
RESOLVED = "audit.resolved.yaml"

#: Fewer examples than an audit takes by default: a first look should not take longer than a minute on two cores.
DEMO_CONFIG = {
    "explained": 60,
    "errors_shown": 15,
    "random_shown": 15,
    "moved_shown": 5,
    "compared": 12,
    "randomised": 8,
    "base_activations": 100,
    "base_attention": 32,
    "base_explained": 20,
}

DEMO_EPILOG = """
\b
Example:
  interpret demo --out my-demo --locale zh
"""

AUDIT_EPILOG = """
\b
Examples:
  interpret audit ./model reviews.csv
  interpret audit ./model test.tsv --no-header --columns label,text --label-map 0=negative,1=positive
  interpret audit ./model reviews.csv --base ./base --config audit.yaml --out audit/
  interpret audit --init audit.yaml
  interpret audit ./model reviews.csv --budget 10m --plan

An interrupted audit goes on where it stopped when the same command is given again. A finished audit of
another model, base, data, configuration or seed in the folder stays, unless --overwrite is given, and a
signed one always does. The counts that a
budget leaves stand in audit.resolved.yaml: running that again gives the same audit. The report is
written even when a declared check fails; the exit code is then 1, and 4 when a check could not be
decided.
"""

RENDER_EPILOG = """
\b
Example:
  interpret report render audit/ --locale zh --out report.zh.html
"""

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an audit of another request in the folder; never a signed one.")
]

report_app = typer.Typer(help="Work with saved audits.", no_args_is_help=True)


@report_app.callback()
def report() -> None:
    """Work with saved audits."""


@guarded
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("interpret-demo"),
    overwrite: Overwrite = False,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Audit the embedded model pair on its reviews, end to end, offline."""
    import interpret
    from interpret.demo import paths

    _prepared(out)
    base, tuned, reviews = paths()
    say("auditing the embedded models on the embedded reviews")
    audit = interpret.audit(
        interpret.load(tuned),
        reviews,
        base=base,
        config=DEMO_CONFIG,
        command=command_line("demo"),
        progress=True,
        into=None if overwrite else out,
    )
    finish(audit, out, locale, as_json)


@guarded
def audit(
    model: o.Model,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A .csv, .tsv, .jsonl or .parquet file, a folder saved by datasets, a .conllu file for a model that "
            "tags words, or a .json file of questions (SQuAD) for one that answers them.",
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(metavar="BASE", help="Folder or hub id of the model before fine-tuning, to compare with."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML or TOML with counts and declared checks.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=write_config,
            is_eager=True,
            help="Write a commented configuration with all keys and defaults, and exit.",
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would run, and about how long; run nothing.")] = False,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Lower the counts until the audit takes about this long: 90s, 10m, 1h."),
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the report.")] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            "--slice-column",
            metavar="NAME",
            help="Column that names slices; default: slice, if there is one.",
        ),
    ] = None,
    protected: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A protected attribute: is it known, and do answers depend on it? Several with commas.",
        ),
    ] = None,
    concept: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Another column to ask this of. Several with commas.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("interpret-audit"),
    overwrite: Overwrite = False,
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
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    junit: o.Junit = None,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Examine a model on a data set and write the audit and its report."""
    import interpret
    from interpret.models.sources import locate_here
    from interpret.readers.tables import require
    from interpret.results.plans import parse_budget

    started = time.monotonic()
    # All that can be wrong with the request, before the libraries are imported and the model is loaded.
    settings = None if config is None else read_config(config)
    protected, concept = o.listed(protected), o.listed(concept)
    for key, named in (("protected", protected), ("concepts", concept)):
        if named:
            settings = {**(settings or {}), key: named}
    seconds = None if budget is None else parse_budget(budget)
    if data.suffix.lower() in (".conllu", ".json"):
        # Treebanks and questions are read for what the model's task makes of them.
        require(data)
    else:
        read_texts(
            data,
            text_column=text_column,
            label_column=label_column,
            no_header=no_header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
        )
    if base is not None:
        locate_here(base, "base model")
    if not plan:
        _prepared(out)
    if junit is not None:
        out_file(junit, "--junit")
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    asked: dict[str, Any] = {
        "text": text_column,
        "label": label_column,
        "slices": slices,
        "base": base,
        "config": settings,
        "seed": seed,
        "limit": limit,
        "label_map": label_map,
        "header": not no_header,
        "columns": o.names(columns),
        "skip_bad_rows": skip_bad_rows,
    }
    if plan:
        planned = interpret.plan_audit(lm, data, budget=seconds, **asked)
        if as_json:
            show_json(planned.to_dict())
        else:
            show_plan(planned)
        return
    say(f"auditing {data.name}")
    if seconds is not None:
        # Importing and loading are part of what somebody waits for.
        asked["budget"] = max(1.0, seconds - (time.monotonic() - started))
    result = interpret.audit(
        lm,
        data,
        **asked,
        title=title,
        progress=True,
        partial=out / PARTIAL,
        into=None if overwrite else out,
        command=command_line(
            "audit",
            model,
            data,
            base=base,
            # What a budget came to cannot be had again from the budget, only from the counts.
            config=Path(RESOLVED) if seconds is not None else config,
            title=title,
            slice_column=slices,
            protected=protected,
            concept=concept,
            adapter=adapter,
            revision=revision,
            task=task,
            device=None if device == "auto" else device,
            dtype=None if dtype == "auto" else dtype,
            trust_remote_code=trust_remote_code,
            seed=seed,
            limit=limit,
            text_column=text_column,
            label_column=label_column,
            label_map=label_map,
            no_header=no_header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
        ),
    )
    finish(result, out, locale, as_json, junit)


def _prepared(out: Path) -> None:
    from interpret.saved.sums import refuse_if_signed

    out_folder(out, "audit.json")
    refuse_if_signed(out, "an audit made anew")


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a YAML or TOML file, flat keys nested again."""
    import tomllib

    import yaml

    if not path.is_file():
        raise MissingFileError(f"there is no file {path}, which --config names")
    try:
        text = path.read_text(encoding="utf-8")
        settings = tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.safe_load(text)
    except tomllib.TOMLDecodeError as err:
        # The library says line and column itself.
        raise DataError(f"not TOML ({err})", path=path) from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        mark = getattr(err, "problem_mark", None)
        problem = getattr(err, "problem", None) or "not UTF-8 text"
        raise DataError(f"not YAML ({problem})", path=path, line=None if mark is None else mark.line + 1) from err
    if not isinstance(settings, dict):
        raise DataError("expected `key: value` lines, as in `explained: 100`", path=path)
    out: dict[str, Any] = {}
    for key, value in settings.items():
        # A saved `audit.resolved.yaml` is flat; and what YAML takes for a date was meant as text.
        group, dot, name = str(key).partition(".")
        plain = value.isoformat() if isinstance(value, date) else value
        if dot:
            out.setdefault(group, {})[name] = plain
        else:
            out[group] = plain
    return out


def finish(audit: Audit, out: Path, locale: o.Locale, as_json: bool, junit: Path | None = None) -> None:
    """Save, render and summarise an audit, and exit with its code."""
    import reports
    from interpret.auditing.partial import discard
    from interpret.results.audits import Audit
    from interpret.results.store import REPORT
    from interpret.saved.sums import list_report

    audit.save(out)
    discard(out / PARTIAL)
    # From the file, not from memory: the report shows what was saved, and rendering it again gives the same bytes.
    path = reports.render(Audit.load(out), out / REPORT, locale=locale.value)
    list_report(out)
    if junit is not None:
        write_junit(junit, audit.check_rows, audit.title, locale)
    if as_json:
        show_json({"path": str(path), "audit": str(out), "exit_code": audit.exit_code, **_facts(audit)})
    else:
        for line in summary(audit):
            show(line)
        show(str(path))
    raise typer.Exit(audit.exit_code)


def write_junit(path: Path, checks: Sequence[Check], title: str, locale: o.Locale) -> None:
    """Write checks as JUnit XML."""
    from reports.checks import junit

    path.write_bytes(junit(checks, title, locale.value))


def _accuracy(audit: Audit) -> Estimate | None:
    return None if audit.performance is None else audit.performance.accuracy


def _facts(audit: Audit) -> dict[str, Any]:
    from interpret.results.store import to_plain

    accuracy, quality = _accuracy(audit), audit.explanation_quality
    return {
        "accuracy": None if accuracy is None else to_plain(accuracy),
        "labels": to_plain(audit.data.mapping),
        "faithfulness": {m.method: m.faithfulness.verdict for m in quality.methods} if quality else {},
        "checks": records(audit.checks),
    }


def summary(audit: Audit) -> list[str]:
    """Say in a few lines what was audited and what came out, numbers with their intervals."""
    from interpret.results.messages import words

    identity, data = audit.identity, audit.data
    used = f"{data.n_used:,} of {data.n_rows:,} rows"
    lines = [
        f"model         {identity.name} ({identity.architecture}, {identity.n_parameters:,} parameters)",
        f"data          {data.name}: {used}" + (f", {len(data.bad_rows)} bad rows left out" if data.bad_rows else ""),
    ]
    mapping = data.mapping
    if mapping.rule != "none":
        pairs = ", ".join(f"{label} = {mapping.names[label]} ({i})" for label, i in mapping.pairs.items())
        lines.append(f"labels        {pairs}; matched by {'--label-map' if mapping.rule == 'given' else mapping.rule}")
    accuracy = _accuracy(audit)
    if accuracy is not None and audit.performance is not None:
        value = _number(accuracy.value) + _interval(accuracy.ci_low, accuracy.ci_high)
        majority = audit.performance.majority_rate
        beside = "" if majority is None else f"; majority {majority:.3f}"
        lines.append(f"{accuracy.name.replace('_', ' '):<12}  {value}, n = {accuracy.n:,}{beside}")
        if accuracy.value is not None and majority is not None and accuracy.value < majority:
            lines.append("              below the majority rate: are the labels mapped the right way round?")
    if audit.performance is not None and audit.performance.unit != "example":
        others = [metric for metric in audit.performance.metrics if metric is not accuracy]
        for metric in others:
            value = _number(metric.value) + _interval(metric.ci_low, metric.ci_high)
            lines.append(f"{metric.name.replace('_', ' '):<12}  {value}, n = {metric.n:,}")
    for part in audit.coverage:
        # A base was asked for and is not compared: not something to find out from the report only.
        missing = part.why if part.section == "comparison" and part.status == "not_run" else None
        if missing is not None and missing.code != "section.no_base":
            lines.append(f"base          not compared: {words().text(missing)}")
        if part.why is not None and part.why.code == "section.parts_not_compared":
            lines.append(f"base          {words().text(part.why)}")
    lowered = [part.why for part in audit.coverage if part.why is not None and part.why.code == "section.budget"]
    lines += [f"{'budget' if i == 0 else '':<12}  {words().text(why)}" for i, why in enumerate(lowered)]
    for method in audit.explanation_quality.methods if audit.explanation_quality else ():
        verdict = method.faithfulness.verdict.replace("_", " ")
        lines.append(f"explanations  {method.method}: {verdict} (faithfulness, n = {method.n:,})")
    for one in audit.findings:
        lines.append(f"{'finding' if one.severity == 'high' else 'look into':<12}  {words().text(one.message)}")
    lines.append("checks        " + ("" if audit.check_rows else "no criteria declared"))
    for check in audit.check_rows:
        line = f"  {check.verdict.replace('_', ' '):<13} {check.check.replace('_', ' ')}"
        if check.value is not None:
            line += f": {_number(check.value)}{_interval(check.ci_low, check.ci_high)}"
        if check.threshold is not None:
            line += f", threshold {_number(check.threshold)}"
        lines.append(line)
    return [line.rstrip() for line in lines]


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


@report_app.command(epilog=RENDER_EPILOG)
@guarded
def render(
    audit_dir: Annotated[Path, typer.Argument(metavar="AUDIT_DIR", help="Folder of a saved audit or comparison.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; default: the one in AUDIT_DIR.")
    ] = None,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Render a saved audit or comparison again: same record and language, same bytes."""
    import reports
    from interpret.cli.comparing import PAGE, saved_comparison
    from interpret.results.audits import Audit
    from interpret.results.store import REPORT
    from interpret.saved.sums import list_report, refuse_if_signed

    compared = saved_comparison(audit_dir)
    if compared is not None:
        target = out or audit_dir / PAGE
        beside = target.resolve() == (audit_dir / PAGE).resolve()
        path = reports.render_comparison(compared, out_file(target, renewed=beside), locale=locale.value)
        show_json({"path": str(path)}) if as_json else show(str(path))
        return
    saved = Audit.load(audit_dir)
    target = out or audit_dir / REPORT
    beside = target.resolve() == (audit_dir / REPORT).resolve()
    if beside:
        refuse_if_signed(audit_dir)
    path = reports.render(saved, out_file(target, renewed=beside), locale=locale.value)
    if beside:
        list_report(audit_dir)
    if as_json:
        show_json({"path": str(path)})
    else:
        show(str(path))
