"""The commands, assembled. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

from typing import Annotated

import typer

from interpret.cli import attending, attributing, auditing, capturing, comparing, models, probing, saved
from interpret.cli.shell import OneLineErrors

EPILOG = """
\b
Examples:
  interpret demo
  interpret info distilbert-base-uncased-finetuned-sst-2-english
  interpret attribute ./model --text "A film to see twice."
  interpret audit ./model reviews.csv --base ./base --out audit/

Exit codes: 0 fine, 1 a declared check failed (or a regression, a changed audit), 2 wrong usage, 3 run-time
error, 4 too little data, 130 interrupted, 141 nobody reads the output any more (a closed pipe).
"""

app = typer.Typer(
    name="interpret",
    cls=OneLineErrors,
    help="Audit a fine-tuned transformer: explanations with measured quality, in one offline report.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import interpret

        typer.echo(f"interpret-lm {interpret.__version__}")
        raise typer.Exit


@app.callback()
def shared(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Audit a fine-tuned transformer: explanations with measured quality, in one offline report."""


app.command(epilog=auditing.DEMO_EPILOG, short_help="Audit the embedded model pair, offline.")(auditing.demo)
app.command(epilog=models.INFO_EPILOG, short_help="Show sizes, labels and sites of a model.")(models.info)
app.command(epilog=capturing.EPILOG, short_help="Store activations of a data set.")(capturing.capture)
app.command(epilog=attributing.EPILOG, short_help="Explain outputs, with measured quality.")(attributing.attribute)
app.command(epilog=attending.EPILOG, short_help="Show where attention goes in a text.")(attending.attention)
app.add_typer(probing.app, name="probe", short_help="Train probes on activations, layer by layer.")
app.command(epilog=comparing.EPILOG, short_help="Show what fine-tuning changed.")(comparing.compare)
app.command(epilog=auditing.AUDIT_EPILOG, short_help="Audit a model on a data set; write the report.")(auditing.audit)
report = auditing.report_app
report.command(epilog=saved.DIFF_EPILOG, short_help="Compare two saved audits; name regressions.")(saved.diff)
report.command(epilog=saved.CHECK_EPILOG, short_help="Hold a saved audit to its criteria again.")(saved.check)
report.command(epilog=saved.VERIFY_EPILOG, short_help="Find out whether a saved audit was changed.")(saved.verify)
report.command(epilog=saved.SIGN_EPILOG, short_help="Sign a saved audit with an Ed25519 key.")(saved.sign)
app.add_typer(report, name="report")
