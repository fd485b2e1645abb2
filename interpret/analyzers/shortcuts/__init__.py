"""What a classifier leans on over a data set: words from attributions, shortcuts against labels, words of errors."""

from interpret.analyzers.shortcuts.causal import Candidate, causal_check
from interpret.analyzers.shortcuts.errors import error_words
from interpret.analyzers.shortcuts.words import shortcut_words

__all__ = ["Candidate", "causal_check", "error_words", "shortcut_words"]
