"""What matplotlib writes -> a drawing that a strict page can hold: no style, no metadata, few nodes, ids of its own."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from interpret.results.canvas import INK

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_STAND_IN = re.compile(r"@(\d+)@")
#: What an element inherits anyway, or what the page decides.
_DROPPED = {"font-family", "font", "font-style", "font-variant", "font-stretch"}


def cleaned(raw: str, held: Sequence[str], prefix: str, alt: str) -> str:
    """What matplotlib wrote, as one `<svg>` element for a page with a strict policy.

    `held` are the texts that stand-ins such as `@0@` are replaced by; every id starts with `prefix`.
    """
    root = ET.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    referenced = {e.attrib[_XLINK].lstrip("#") for e in root.iter() if _XLINK in e.attrib}
    for element in root.iter():
        # Limits follow the data, so there is nothing to clip; three nodes less for every drawing.
        element.attrib.pop("clip-path", None)
    for element in root.iter():
        _presentation(element)
        name = element.attrib.pop("id", None)
        if name in referenced:
            element.set("id", f"{prefix}{name}")
        target = element.attrib.pop(_XLINK, None)
        if target is not None:
            element.set("href", f"#{prefix}{target.lstrip('#')}")
        for key in ("d", "x", "y", "width", "height", "transform"):
            if key in element.attrib:
                element.set(key, _NUMBER.sub(_short, element.attrib[key]).replace("\n", "").replace("  ", " ").strip())
        if element.text is not None:
            element.text = _STAND_IN.sub(lambda m: held[int(m[1])], element.text) if element.text.strip() else None
        element.tail = None
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    _flatten(root)
    _inline(root)
    _drop_unused(root)
    box = root.attrib["viewBox"].split()
    root.attrib.clear()
    for key, value in (
        ("xmlns", _SVG), ("viewBox", " ".join(box)), ("width", box[2]), ("height", box[3]), ("role", "img"),
        ("aria-label", alt), ("stroke-linejoin", "round"), ("fill", "currentColor"),
    ):  # fmt: skip
        root.set(key, value)
    return ET.tostring(root, encoding="unicode")


def _short(match: re.Match[str]) -> str:
    shown = f"{float(match[0]):.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def _presentation(element: ET.Element) -> None:
    """Turn matplotlib's `style` into presentation attributes and our stand-in colour into the text's."""
    style = element.attrib.pop("style", "")
    for part in style.split(";"):
        key, _, value = (piece.strip() for piece in part.partition(":"))
        if not value:
            continue
        if key == "font":
            # Before matplotlib 3.10 the size stands in the shorthand.
            size = re.search(r"([\d.]+)px", value)
            if size is not None:
                element.set("font-size", size[1])
        if key not in _DROPPED:
            element.set(key, value.replace(INK, "currentColor").removesuffix("px") if key == "font-size" else value)
    for key in ("fill", "stroke"):
        if element.attrib.get(key) == INK:
            element.set(key, "currentColor")
    if element.attrib.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]


def _flatten(parent: ET.Element) -> None:
    """Take out groups that say nothing and draw lines that look alike as one path: half of the nodes of a page."""
    kept: list[ET.Element] = []
    alike: dict[tuple[tuple[str, str], ...], ET.Element] = {}
    for child in parent:
        _flatten(child)
        bare = not child.attrib and child.tag in ("g", "defs")
        for element in list(child) if bare and (child.tag == "g" or not len(child)) else [child]:
            if element.tag == "path" and element.attrib.get("fill") == "none" and "id" not in element.attrib:
                # Only lines: areas that overlap would look different in one path.
                look = tuple(sorted((key, value) for key, value in element.attrib.items() if key != "d"))
                if "stroke" not in element.attrib or "d" not in element.attrib:
                    continue
                if look in alike:
                    alike[look].set("d", f"{alike[look].attrib['d']} {element.attrib['d']}")
                    continue
                alike[look] = element
            kept.append(element)
    parent[:] = kept


def _inline(root: ET.Element) -> None:
    """Draw what `use` elements refer to as paths in their place; marks that look alike are one path."""
    defined = {e.attrib["id"]: e for e in root.iter("path") if "id" in e.attrib}
    for parent in list(root.iter()):
        kept: list[ET.Element] = []
        alike: dict[tuple[tuple[str, str], ...], ET.Element] = {}
        for child in parent:
            shape = defined.get(child.attrib.get("href", "")[1:]) if child.tag == "use" else None
            if shape is None or "transform" in child.attrib or "transform" in shape.attrib:
                kept.append(child)
                continue
            # What the definition says of itself wins over what the place of use would hand down.
            look = {**child.attrib, **{key: value for key, value in shape.attrib.items() if key not in ("id", "d")}}
            x, y = (float(look.pop(key, "0")) for key in ("x", "y"))
            look.pop("href")
            path = _moved(shape.attrib["d"], x, y)
            name = tuple(sorted(look.items()))
            # Marks that let the ground through would show each other as well, which one path does not.
            solid = not any("opacity" in key for key in look)
            if solid and name in alike:
                alike[name].set("d", f"{alike[name].attrib['d']} {path}")
                continue
            kept.append(ET.Element("path", {"d": path, **look}))
            alike[name] = kept[-1]
        parent[:] = kept


def _moved(path: str, x: float, y: float) -> str:
    """The path moved by x and y; matplotlib writes absolute coordinates only, in pairs."""
    shifts = itertools.cycle((x, y))
    out = []
    for piece in path.split():
        shown = piece if piece.isalpha() else f"{float(piece) + next(shifts):.1f}".removesuffix(".0")
        out.append("0" if shown == "-0" else shown)
    return " ".join(out)


def _drop_unused(root: ET.Element) -> None:
    """Remove definitions that nothing refers to once empty lines are gone."""
    used = {e.attrib["href"][1:] for e in root.iter() if "href" in e.attrib}
    for parent in list(root.iter()):
        parent[:] = [e for e in parent if e.tag != "clipPath" and ("id" not in e.attrib or e.attrib["id"] in used)]
    for parent in list(root.iter()):
        parent[:] = [e for e in parent if e.tag != "defs" or len(e)]
