"""`attention`: where a model looks in one text, as a page of its own that needs no network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from interpret.cli import options as o
from interpret.cli.models import load_model
from interpret.cli.shell import guarded, out_file, show
from interpret.errors import UsageError
from interpret.readers.characters import require_unicode

EPILOG = """
\b
Examples:
  interpret attention ./model --text "A film to see twice." --out view.html
  interpret attention ./model --text "A film." --sites attn_pattern.0-3 --view model --out view.html

Attention says where the model looked, not why it answered. The page is a view of bertviz that needs no network.
"""


class View(StrEnum):
    """One layer at a time, or every head at once."""

    HEAD = "head"
    MODEL = "model"


@guarded
def attention(
    model: o.Model,
    text: Annotated[str, typer.Option(metavar="TEXT", help="The text to look at.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write, in .html.")],
    view: Annotated[View, typer.Option(help="head: a layer at a time; model: every head at once.")] = View.HEAD,
    sites: Annotated[
        str, typer.Option(metavar="SITES", help="Layers to show, as in attn_pattern.0-3; default: all.")
    ] = "attn_pattern",
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    locale: o.LocaleOption = o.Locale.EN,
    debug: o.Debug = False,
) -> None:
    """Show where attention goes in one text, head by head, as one offline page."""
    from interpret.sites import parse_site
    from reports.bertviz import head_view, model_view

    if not text.strip():
        raise UsageError("--text is empty; write the text to look at in quotes after it")
    require_unicode(text, "--text")
    if out.suffix != ".html":
        raise UsageError(f"cannot write {out.name}: --out ends in .html")
    site = parse_site(sites).site
    out_file(out)
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    draw = head_view if view is View.HEAD else model_view
    draw(lm.capture(text, [sites]), site=site, path=out, locale=locale.value)
    show(str(out))
