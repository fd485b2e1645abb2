"""What importing loads, what the names lead to, and what the sources must not hold."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interpret
import reports
from interpret.analyzers.attribution import METHODS, cite
from interpret.facade import AttachedModel
from tests.conftest import ROOT

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "transformers", "captum", "shap", "sklearn", "scipy", "jinja2")
SOURCES = sorted([*(ROOT / "interpret").rglob("*.py"), *(ROOT / "reports").rglob("*.py"), ROOT / "interpret_lm_cli.py"])


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import interpret; dir(interpret); interpret.__version__; interpret.InterpretError") & set(
        HEAVY
    )


def test_records_and_readers_load_no_torch() -> None:
    modules = ["interpret.results.views", "interpret.results.audits", "interpret.readers.tables", "reports"]
    assert not loaded_by(f"import {', '.join(modules)}") & {"torch", "transformers", "captum", "shap", "bertviz"}


@pytest.mark.parametrize("package", [interpret, reports])
def test_public_names_resolve(package: Any) -> None:
    assert package.__all__ == sorted(package.__all__, key=lambda name: (name[0].islower(), name))
    for name in package.__all__:
        found = getattr(package, name)
        assert inspect.isclass(found) or callable(found)
        assert found.__doc__
    assert set(package.__all__) <= set(dir(package))


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'explain'.*attach"):
        _ = interpret.explain


# Error messages name arguments that exist


def _methods(cls: type) -> list[Callable[..., Any]]:
    return [value for name, value in vars(cls).items() if inspect.isfunction(value) and not name.startswith("__")]


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def argument_names() -> set[str]:
    """Every argument a user of the library can pass: to a verb, a method of a public class, or an option of one."""
    verbs = [getattr(interpret, name) for name in interpret.__all__] + [
        getattr(reports, name) for name in reports.__all__
    ]
    functions = [verb for verb in verbs if inspect.isfunction(verb)]
    for cls in (AttachedModel, interpret.Capture, interpret.Attribution, interpret.Audit):
        functions += _methods(cls)
        functions += [value.__func__ for value in vars(cls).values() if isinstance(value, classmethod)]
    found: set[str] = set()
    for function in functions:
        found |= _parameters(function)
    from transformers import GenerationConfig

    from interpret.analyzers.probing import probe
    from interpret.analyzers.shortcuts import causal_check, error_words, shortcut_words
    from interpret.auditing.config import AuditConfig
    from interpret.auditing.shortcut_words import ShortcutConfig
    from interpret.capture.capture import capture_texts, capturing, stream
    from interpret.capture.edits import Where
    from interpret.capture.generation import capture_generated
    from interpret.models.batching import logits

    # What `**options` reaches, and what a user of the parts below the verbs passes.
    below = (capturing, stream, capture_generated, shortcut_words, error_words, causal_check, ShortcutConfig, cite)
    for function in below:
        found |= _parameters(function)
    # Options of transformers' `generate` are handed on to it.
    found |= set(Where.__annotations__) | set(vars(GenerationConfig()))
    for method in METHODS.values():
        found |= _parameters(method.function)
    return found | _parameters(probe) | _parameters(AuditConfig) | _parameters(capture_texts) | _parameters(logits)


def named_in_messages() -> list[tuple[str, str]]:
    """(place, name) for every `name=` that the text of a raised error offers, as in "give them as gold=[...]"."""
    found = []
    for path in SOURCES:
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            texts = [part.value for part in ast.walk(node.exc) if isinstance(part, ast.Constant)]
            text = " ".join(part for part in texts if isinstance(part, str))
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            found += [(place, name) for name in _names(text)]
    return found


def _names(text: str) -> list[str]:
    import re

    return re.findall(r"(?<![\w.\"'])([a-z_][a-z0-9_]*)=(?!=)", text)


def test_messages_name_only_arguments_that_exist() -> None:
    named = named_in_messages()
    assert len(named) > 15, "the messages are no longer found; this test looks in the wrong place"
    known = argument_names()
    assert [(place, name) for place, name in named if name not in known] == []


# What the sources must not hold


def _calls(tree: ast.AST) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_nothing_that_runs_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    forbidden = {
        "eval",
        "exec",
        "compile",
        "torch.load",
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "os.system",
    }
    calls = _calls(tree)
    assert not forbidden & set(calls)
    assert not any(call.endswith(("read_pickle", "to_pickle")) for call in calls)
    text = path.read_text(encoding="utf-8")
    assert "allow_pickle=True" not in text
    assert "shell=True" not in text
