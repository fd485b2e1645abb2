"""A page opened from a file, without network, and what it said and asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Opened(NamedTuple):
    page: Any
    console: list[str]
    requests: list[str]
    dialogs: list[str]


def opened(browser: Any, path: Path, *, fragment: str = "", **options: Any) -> Opened:
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    found = Opened(page, [], [], [])
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        found.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(path.as_uri() + fragment)
    return found


def is_silent(found: Opened, path: Path) -> bool:
    """Nothing on the console, no dialog, and no request but for the file itself."""
    return (found.console, found.dialogs, found.requests) == ([], [], [path.as_uri()])


#: The lowest contrast of any text on the page, and where it stands.
CONTRAST = """() => {
  const light = c => { const v = c / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const lum = c => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
  const read = s => { const n = s.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
  const behind = e => {
    const layers = [];
    for (let x = e; x; x = x.parentElement) layers.push(read(getComputedStyle(x).backgroundColor));
    let out = [255, 255, 255];
    for (const l of layers.reverse()) out = out.map((c, i) => l[3] * l[i] + (1 - l[3]) * c);
    return out;
  };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('main *, nav *, header *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (e.closest('svg') || e.closest(':disabled') || !e.getClientRects().length) continue;
    const a = lum(read(getComputedStyle(e).color)), b = lum(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
}"""
