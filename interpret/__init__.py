"""Evidence about a fine-tuned transformer: what it looks at, what it knows, what tuning changed, how far to trust it.

    import interpret, reports

    lm = interpret.load("path-or-hub-id")
    lm.attribute(["A film to see twice."])
    reports.render(interpret.audit(lm, "reviews.csv"), "report.html")

Importing this package loads neither torch nor numpy; names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpret.capture import Capture, Edit
    from interpret.capture.store import Store, open_store
    from interpret.errors import InterpretError
    from interpret.facade import (
        AttachedModel,
        attach,
        audit,
        compare_probes,
        faithfulness,
        load,
        methods,
        plan_audit,
        plan_probes,
        plausibility,
        probe,
        shortcuts,
    )
    from interpret.facade.bridges import to_shap
    from interpret.facade.comparing import compare
    from interpret.facade.erasing import erasure
    from interpret.facade.intervening import ablate, direct_logit_attribution, lens, patch
    from interpret.facade.robust import robustness, sentence_pairs
    from interpret.results.attention import AttentionPatterns
    from interpret.results.audits import Audit
    from interpret.results.comparisons import Comparison
    from interpret.results.explanations import Attribution
    from interpret.results.matrices import AttributionMatrix
    from reports.bertviz import head_view, model_view

__version__ = "0.1.0"

#: Marks this `interpret` as ours: InterpretML installs a package of the same name over it.
__distribution__ = "interpret-lm"

_HOME = {
    "AttachedModel": "interpret.facade",
    "AttentionPatterns": "interpret.results.attention",
    "Attribution": "interpret.results.explanations",
    "AttributionMatrix": "interpret.results.matrices",
    "Audit": "interpret.results.audits",
    "Capture": "interpret.capture",
    "Comparison": "interpret.results.comparisons",
    "Edit": "interpret.capture",
    "InterpretError": "interpret.errors",
    "Store": "interpret.capture.store",
    "ablate": "interpret.facade.intervening",
    "attach": "interpret.facade",
    "audit": "interpret.facade",
    "compare": "interpret.facade.comparing",
    "direct_logit_attribution": "interpret.facade.intervening",
    "erasure": "interpret.facade.erasing",
    "compare_probes": "interpret.facade",
    "faithfulness": "interpret.facade",
    "head_view": "reports.bertviz",
    "lens": "interpret.facade.intervening",
    "load": "interpret.facade",
    "methods": "interpret.facade",
    "model_view": "reports.bertviz",
    "open_store": "interpret.capture.store",
    "patch": "interpret.facade.intervening",
    "plan_audit": "interpret.facade",
    "plan_probes": "interpret.facade",
    "plausibility": "interpret.facade",
    "probe": "interpret.facade",
    "robustness": "interpret.facade.robust",
    "sentence_pairs": "interpret.facade.robust",
    "shortcuts": "interpret.facade",
    "to_shap": "interpret.facade.bridges",
}

__all__ = [
    "AttachedModel",
    "AttentionPatterns",
    "Attribution",
    "AttributionMatrix",
    "Audit",
    "Capture",
    "Comparison",
    "Edit",
    "InterpretError",
    "Store",
    "ablate",
    "attach",
    "audit",
    "compare",
    "compare_probes",
    "direct_logit_attribution",
    "erasure",
    "faithfulness",
    "head_view",
    "lens",
    "load",
    "methods",
    "model_view",
    "open_store",
    "patch",
    "plan_audit",
    "plan_probes",
    "plausibility",
    "probe",
    "robustness",
    "sentence_pairs",
    "shortcuts",
    "to_shap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'interpret' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
