"""The embedded pair of models and the reviews they are audited on; README.md beside this file is their card."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class DemoPaths(NamedTuple):
    """Where the parts of the demo lie in the installed package."""

    base: Path
    tuned: Path
    reviews: Path


def paths() -> DemoPaths:
    """Folders of the pre-trained and the fine-tuned model, and the csv of reviews."""
    here = Path(__file__).resolve().parent
    return DemoPaths(here / "base", here / "tuned", here / "reviews.csv")
