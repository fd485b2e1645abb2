"""What causes an answer: activations put from one run into another, parts taken out, layers read by the head."""

from interpret.analyzers.intervention.ablation import ablate, head_effects
from interpret.analyzers.intervention.direct import direct_logit_attribution
from interpret.analyzers.intervention.lens import lens
from interpret.analyzers.intervention.pairs import patch_pairs
from interpret.analyzers.intervention.patching import patch

__all__ = ["ablate", "direct_logit_attribution", "head_effects", "lens", "patch", "patch_pairs"]
