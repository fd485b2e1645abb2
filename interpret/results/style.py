"""The style sheet of the views' parts, under one class so that it touches nothing else in a notebook.

Colours follow the notebook's theme where it states one (its variables `--jp-*`, `--vscode-*`, and whether it says that
it is dark), else the reader's light or dark preference. Verdicts are teal, vermilion and purple, which stay apart for
the colour-blind, and each has a sign of its own. Heat is a translucent tint over whatever background there is, so it
stays legible on both.
"""

from __future__ import annotations

from collections.abc import Iterator

from interpret.results.lower import HEAT_STEPS

SCOPE = "ilm"

_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2128",
    "soft": "#57606a",
    "line": "#d8dee4",
    "edge": "rgb(28 33 40/.16)",
    "tint": "#f5f7f9",
    "link": "#1a5fb4",
    "good": "#006a66",
    "bad": "#b3321a",
    "wait": "#6a4a93",
    "warn": "#8a5a00",
    "up": "47 127 193",
    "down": "213 94 0",
}
_DARK = {
    "paper": "#14181d",
    "ink": "#e3e7eb",
    "soft": "#a2acb8",
    "line": "#333b45",
    "edge": "rgb(0 0 0/.7)",
    "tint": "#1c2229",
    "link": "#84b9f2",
    "good": "#52cdb4",
    "bad": "#ff9372",
    "wait": "#c3a6ee",
    "warn": "#e6bf62",
    "up": "74 158 230",
    "down": "235 120 40",
}
#: What the two notebook families call the same thing.
_THEMES = {
    "paper": ("--jp-layout-color0", "--vscode-editor-background"),
    "ink": ("--jp-content-font-color1", "--vscode-editor-foreground"),
    "soft": ("--jp-content-font-color2", "--vscode-descriptionForeground"),
    "line": ("--jp-border-color2", "--vscode-panel-border"),
    "tint": ("--jp-layout-color1", "--vscode-textBlockQuote-background"),
    "link": ("--jp-content-link-color", "--vscode-textLink-foreground"),
}

#: How JupyterLab, VS Code and Colab say that their theme is light or dark, whatever the reader's system prefers.
_SAID = {
    "light": ('[data-jp-theme-light="true"]', "body.vscode-light", 'html[theme="light"]'),
    "dark": ('[data-jp-theme-light="false"]', "body.vscode-dark", "body.vscode-high-contrast", 'html[theme="dark"]'),
}

_PARTS = """
.ilm{background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
Arial,"PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC","Noto Sans SC",sans-serif;
text-align:start;overflow-wrap:break-word}
.ilm *{box-sizing:border-box}
.ilm h2,.ilm h3,.ilm h4,.ilm h5{color:inherit;font-weight:650;line-height:1.3;margin:1.5em 0 .5em;
text-wrap:balance}
.ilm h2{font-size:1.4rem;letter-spacing:-.01em}.ilm h3{font-size:1.07rem}.ilm h4,.ilm h5{font-size:1rem}
.ilm p{margin:0 0 .8em;max-width:70ch}
.ilm p.lead{font-size:1.13rem;line-height:1.5}
.ilm p.small,.ilm .hint{color:var(--soft);font-size:.87rem}
.ilm code{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
background:none;
color:inherit;padding:0;overflow-wrap:anywhere}
.ilm bdi{unicode-bidi:isolate}
.ilm .scroll{overflow-x:auto;max-width:100%;margin:0 0 1.1em}.ilm .scroll[tabindex]{background:
linear-gradient(90deg,var(--paper) 40%,transparent) 0 0/2.4rem 100% no-repeat local,
linear-gradient(270deg,var(--paper) 40%,transparent) 100% 0/2.4rem 100% no-repeat local,
linear-gradient(90deg,var(--edge),transparent) 0 0/.8rem 100% no-repeat scroll,
linear-gradient(270deg,var(--edge),transparent) 100% 0/.8rem 100% no-repeat scroll}
.ilm table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums lining-nums;
line-height:1.4;
margin:0;border:0}
.ilm caption{text-align:start;color:var(--soft);font-size:.87rem;padding:0 0 .5em;caption-side:top}
.ilm caption span{position:sticky;left:0;display:inline-block;max-width:min(70ch,calc(100vw - 2.2rem))}
.ilm .sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.ilm th,.ilm td{padding:.38em 1.35em .38em 0;text-align:start;vertical-align:baseline;border:0;
border-bottom:1px solid var(--line);background:none;color:inherit;max-width:34em;white-space:normal}
.ilm table{min-width:min(100%,21rem)}.ilm th{font-weight:400}.ilm th[scope=row]{min-width:6.5em}
.ilm td:last-child,.ilm th:last-child{padding-inline-end:.2em}.ilm td.v{padding-inline-end:.45em}
.ilm td.ci{text-align:start}
.ilm table.dense th,.ilm table.dense td{padding-inline-end:.5em}.ilm table.dense th[scope=row]{min-width:0}
.ilm td:last-child:not(.n):not(:first-child){min-width:9em}
.ilm thead th{word-break:keep-all;color:var(--soft);font-size:.87rem;vertical-align:bottom}
.ilm tbody tr:last-child>*{border-bottom:0}
.ilm .n{text-align:end;white-space:nowrap}.ilm thead .n{white-space:normal}
.ilm .ci{color:var(--soft);font-size:.93em}
.ilm .badge{display:inline-block;padding:.08em .6em;border:1px solid currentColor;border-radius:1em;
font-size:.84rem;
font-weight:600;line-height:1.45;white-space:nowrap;color:var(--soft)}
.ilm .pass,.ilm .better_than_trivial,.ilm .better_than_random,.ilm .done{color:var(--good)}
.ilm .fail,.ilm .not_better{color:var(--bad)}.ilm .inconclusive{color:var(--wait)}
.ilm .note{border-inline-start:3px solid var(--line);background:var(--tint);padding:.6em .9em;
margin:0 0 1em;
font-size:.93rem;max-width:74ch}
.ilm .note strong{margin-inline-end:.3em}
.ilm .note.warning{border-color:var(--warn)}.ilm .note.warning strong{color:var(--warn)}
.ilm .note.failure{border-color:var(--bad)}.ilm .note.failure strong{color:var(--bad)}
.ilm .facts{margin:0 0 1.1em;font-size:.93rem}
.ilm .facts>div{display:grid;grid-template-columns:minmax(9em,15em) 1fr;gap:0 1.2em;padding:.32em 0;
border-bottom:1px solid var(--line)}
.ilm .facts>div:last-child{border-bottom:0}
.ilm dt{color:var(--soft);font-weight:400;margin:0}.ilm dd{margin:0;min-width:0;
font-variant-numeric:tabular-nums}
.ilm .facts .hint{margin-inline-start:.8em}
.ilm .facts.prose dd{max-width:62ch}
.ilm .facts.form>div{border:0;padding-top:1.1em}.ilm .facts.form dd{border-bottom:1px solid var(--soft);max-width:22em}
.ilm .tiles{list-style:none;display:grid;grid-template-columns:repeat(auto-fit,minmax(13.5em,1fr));
gap:1px;padding:0;
margin:0 0 1.4em;background:var(--line);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.ilm .tiles>li{background:var(--paper);padding:1em 1.1em;margin:0;display:grid;grid-row:span 3;
grid-template-rows:subgrid;gap:.35em}
.ilm .tiles p{margin:0}.ilm .tile-label{color:var(--soft);font-size:.87rem;line-height:1.35}
.ilm .tile-value{font-size:1.4rem;font-weight:650;line-height:1.22;letter-spacing:-.01em;
font-variant-numeric:tabular-nums;text-wrap:balance}
.ilm .tile-value .ci{display:block;font-size:.87rem;font-weight:400;letter-spacing:0;line-height:1.5;
color:var(--ink);margin-top:.1em}
.ilm .tiles .badge{white-space:normal;border-radius:.8em}
.ilm .tile-badge+.hint{margin-top:.35em}.ilm .tile-rest{font-size:.87rem;line-height:1.5}
.ilm .tokens{font-size:1rem;line-height:1.95;max-width:74ch;white-space:pre-wrap;unicode-bidi:plaintext}
.ilm .tokens span{border-radius:3px;padding:.1em .08em;text-decoration-thickness:2px;
text-underline-offset:.22em}
.ilm .tokens .sp{color:var(--soft);font-size:.8em}
.ilm figure{margin:0 0 1.3em}.ilm figure svg{display:block;width:100%;max-width:696px;min-width:510px;
height:auto}
.ilm figure>.scroll{margin-bottom:.3em}
.ilm figcaption{color:var(--soft);font-size:.87rem;max-width:70ch;margin:0 0 .6em}
.ilm summary{cursor:pointer;color:var(--link);font-size:.93rem}
.ilm details{margin:0 0 1em}.ilm details>summary+*{margin-top:.7em}
.ilm .scroll:focus-visible{outline-offset:-2px}
.ilm .muted-section .tokens,.ilm .muted-section figure svg,.ilm .muted-section table{filter:grayscale(1)}
.ilm article{border-top:1px solid var(--line);padding:.9em 0 .2em}
.ilm .item-title{font-size:.93rem;font-weight:500;margin:0 0 .3em;display:flex;flex-wrap:wrap;gap:.2em .9em;
align-items:baseline}
"""


def _variables(theme: dict[str, str], notebook: bool) -> str:
    out = []
    for name, value in theme.items():
        shown = value
        if notebook:
            for outer in reversed(_THEMES.get(name, ())):
                shown = f"var({outer},{shown})"
        out.append(f"--{name}:{shown}")
    return ";".join(out)


def _heat() -> Iterator[str]:
    for side, colour in (("p", "up"), ("n", "down")):
        for step in range(1, HEAT_STEPS + 1):
            alpha = round(0.05 + 0.47 * step / HEAT_STEPS, 3)
            yield f".ilm .{side}{step}{{background:rgb(var(--{colour})/{alpha:g})}}"
    # The sign must not hang on colour alone: solid towards, dashed against; faint scores carry no line.
    for side, colour, style in (("p", "up", "solid"), ("n", "down", "dashed")):
        marked = ",".join(f".ilm .{side}{step}" for step in range(3, HEAT_STEPS + 1))
        yield f"{marked}{{text-decoration:underline {style} rgb(var(--{colour}))}}"


def component_css(*, notebook: bool) -> str:
    """The style sheet of all parts; `notebook` follows the notebook's own theme variables."""
    light, dark = (_variables(theme, notebook) for theme in (_LIGHT, _DARK))
    parts = [
        f".ilm{{color-scheme:light dark;{light}}}",
        f"@media (prefers-color-scheme:dark){{.ilm{{{dark}}}}}",
    ]
    if notebook:
        for name, theme in (("light", light), ("dark", dark)):
            # `where` weighs nothing, so that print, further down, still wins.
            said = ",".join(f"{selector} *" for selector in _SAID[name])
            parts.append(f".ilm:where({said}){{color-scheme:{name};{theme}}}")
        parts.append(".ilm{padding:.2em .1em;background:transparent!important}.ilm .tiles>li{background:transparent}")
        parts.append(".ilm h2{font-size:1.15rem;margin-top:.4em}")
        # Shadows at the edges need to know the paper, and a notebook that names none has its own.
        parts.append(".ilm .scroll[tabindex]{background:none}")
        # Notebooks stripe the rows of tables and float the terms of lists.
        parts.append(".ilm tbody tr{background:none}.ilm dt,.ilm dd{float:none;width:auto;display:block}")
    # In print the page is paper, whatever the screen was.
    parts.append(f"@media print{{.ilm{{{_variables(_LIGHT, False)}}}}}")
    whole = _PARTS.replace("\n.", ".").replace("\n", " ").strip() + "".join(parts) + "".join(_heat())
    # A notebook's own rules for tables and lists weigh as much as ours; named twice, the class weighs more.
    return whole.replace(".ilm ", ".ilm.ilm ") if notebook else whole
