"""Whatever is asked of a model, and however it ends, the model and everything around it stays as it was."""

from __future__ import annotations

import os
import pickle
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import shap  # noqa: F401  # its import sets environment variables, once; that is no doing of a call
import torch
import transformers
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

import interpret
from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import randomisation
from interpret.errors import InterpretError
from interpret.facade import AttachedModel
from interpret.results.explanations import Attribution
from tests.capture.support import CASES
from tests.tiny import LABELS, TEXTS, tiny

#: Enough to run every code path.
QUICK: Final[dict[str, dict[str, Any]]] = {
    "integrated_gradients": {"n_steps": 2},
    "shap": {"max_evals": 8},
    "permutation_shap": {"n_permutations": 1},
    "lime": {"n_samples": 8},
}
SMALL: Final = {
    "explained": 6,
    "errors_shown": 2,
    "random_shown": 2,
    "compared": 2,
    "compared_methods": "leave_one_out,attention_rollout",
    "randomised": 2,
    "attention": 4,
    "probed": 0,
    "bootstraps": 100,
}


class Foreign:
    """A hook of another library: it counts forwards, and at one of them it raises. It pickles."""

    def __init__(self) -> None:
        self.seen = 0
        self.raise_at: int | None = None
        self.error: BaseException = RuntimeError("inside the model")

    def __call__(self, *_: object) -> None:
        self.seen += 1
        if self.seen == self.raise_at:
            raise self.error

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Held:
    """A model as a user may hold it: in training mode but for one part, some gradients there, one weight frozen."""

    def __init__(self, family: str, task: str) -> None:
        self.case = (family, task)
        model, tokenizer = tiny(family, task)
        if tokenizer.pad_token is None:
            # GPT-2's usual way to batch: then the end token is no token to remove words with.
            tokenizer.pad_token = tokenizer.eos_token
            model.config.pad_token_id = tokenizer.pad_token_id
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        model.train()
        list(model.modules())[4].eval()
        parameters = list(model.parameters())
        parameters[1].requires_grad_(False)
        parameters[-1].grad = torch.ones_like(parameters[-1])
        self.foreign = Foreign()
        blocks = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
        blocks[-1].register_forward_hook(self.foreign)
        blocks[0].register_full_backward_hook(Silent())
        # What the last call set, a tokenizer keeps.
        tokenizer.truncation_side = "left"
        tokenizer(["a", "a b c d e f"], truncation=True, max_length=4, padding="max_length")
        random.seed(3)
        np.random.seed(4)
        torch.manual_seed(5)
        before = held_state(self)
        self.lm = interpret.attach(model, tokenizer)
        assert_same(before, held_state(self))

    def texts(self, n: int = 3) -> list[str]:
        texts = list(TEXTS[:n])
        if type(self.model).__name__.endswith("MaskedLM"):
            return [f"{self.tokenizer.mask_token} {text}" for text in texts]
        return texts


class Silent:
    """A backward hook of another library."""

    def __call__(self, *_: object) -> None:
        return None


def held_state(held: Held) -> dict[str, Any]:
    """Everything that must be the same afterwards, in a form that `==` compares to the last bit."""
    model, tokenizer = held.model, held.tokenizer
    backend = tokenizer.backend_tokenizer
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    numpy_state: Any = np.random.get_state()
    return {
        "weights": {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()},
        "buffers": {name: tensor.numpy().tobytes() for name, tensor in model.named_buffers()},
        "parameters": [id(parameter) for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "modules": [(id(module), type(module), sorted(vars(module))) for module in model.modules()],
        "hooks": [_hooks(module) for module in model.modules()],
        "config": [repr(sorted(vars(config).items(), key=lambda item: item[0])) for config in configs.values()],
        "attention": [config._attn_implementation for config in configs.values()],
        "tokenizer": (
            tokenizer.padding_side,
            tokenizer.truncation_side,
            tokenizer.model_max_length,
            repr(backend.padding),
            repr(backend.truncation),
            repr(tokenizer.special_tokens_map),
            len(tokenizer),
        ),
        "python": random.getstate(),
        "numpy": (numpy_state[0], numpy_state[1].tobytes(), *numpy_state[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "registries": [
            sorted(names)
            for interface, registry in (
                (AttentionInterface, ALL_ATTENTION_FUNCTIONS),
                (AttentionMaskInterface, ALL_MASK_ATTENTION_FUNCTIONS),
            )
            for names in (interface._global_mapping, registry._local_mapping)
        ],
        "process": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            transformers.logging.get_verbosity(),
            dict(os.environ),
        ),
    }


def _hooks(module: nn.Module) -> dict[str, list[Any]]:
    """Every hook dictionary torch keeps in a module, with what is registered there."""
    return {
        name: [(number, id(value)) for number, value in registered.items()]
        for name, registered in vars(module).items()
        if "hooks" in name and hasattr(registered, "items")
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, {name: (str(before[name])[:400], str(after[name])[:400]) for name in changed}


# What can be asked


def _capturing(lm: AttachedModel, held: Held) -> None:
    batch = {"input_ids": torch.tensor([lm._encode(held.texts(1))[0].ids])}
    # The user's own forward in training mode draws from the user's stream; that is not ours to put back.
    with torch.random.fork_rng(devices=[]), lm.capturing("resid_post", "attn_pattern", "logits", grad=True):
        held.model(**batch)


def _everything(lm: AttachedModel, held: Held) -> None:
    frame = lm.sites()
    lm.capture(held.texts(), list(frame[frame.available].site.unique()))


def _edited(lm: AttachedModel, held: Held) -> None:
    source = lm.capture(held.texts(), ["z", "attn_pattern"])
    edits = [
        interpret.Edit.mean("z.0", source, heads=[1]),
        interpret.Edit.apply("attn_pattern.1", lambda pattern: pattern / 2, positions=[0]),
        interpret.Edit.zero("mlp_act.1", units=[3]),
    ]
    lm.capture(held.texts(), ["resid_post.1"], edits=edits)


def _summarised(lm: AttachedModel, held: Held) -> None:
    # With the logits, or the forward ends before the last block does.
    lm.capture(held.texts(), ["attn_pattern", "logits"], summary="top_k", queries=[-1], k=2)


def _stored(lm: AttachedModel, held: Held) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lm.capture_to(Path(folder) / "store", held.texts(), ["resid_post", "attn_pattern.0"], progress=False)


def _written(lm: AttachedModel, held: Held) -> None:
    lm.capture_generated(held.texts(2), "resid_post.0", max_new_tokens=2, generation={"do_sample": True})
    lm.capture_generated(held.texts(2), "attn_pattern.0", max_new_tokens=2, live=True)


def _of_capture(lm: AttachedModel, held: Held) -> None:
    lm.attribute(lm.capture(held.texts(), "attn_pattern"))


def _explained(method: str) -> Callable[[AttachedModel, Held], None]:
    def run(lm: AttachedModel, held: Held) -> None:
        lm.attribute(held.texts(2), method=method, quality=False, **QUICK.get(method, {}))

    return run


def _with_quality(lm: AttachedModel, held: Held) -> None:
    lm.attribute(held.texts(1), method="gradient_x_input", unit="token")


def _token(lm: AttachedModel, held: Held) -> None:
    # Not a token by itself in any vocabulary here, so that the tokenizer is asked.
    lm.attribute(held.texts(1), target=(" good", " bad"), method="gradient_x_input")


def _contrast(lm: AttachedModel, held: Held) -> None:
    lm.attribute(held.texts(2), target=("a", "b"), method="integrated_gradients", n_steps=2, quality=False)


def _external(lm: AttachedModel, held: Held) -> None:
    texts = held.texts(2)
    tokens = [text.split() for text in texts]
    label = "b" if lm.handle.labels else " good"
    scores = [[float(len(word)) for word in words] for words in tokens]
    interpret.faithfulness(lm, Attribution.from_scores(texts, tokens, scores, target=label), n_random=20)


def _randomised(lm: AttachedModel, held: Held) -> None:
    encoded = lm._encode(held.texts(2)[:1])
    first = attribute(lm.handle, encoded, method="gradient_x_input")

    def again(handle: Any, rows: Any, targets: Any) -> Attribution:
        return attribute(handle, rows, target=targets, method="gradient_x_input")

    randomisation(lm.handle, encoded, first, again, n_steps=2)


def _probed(lm: AttachedModel, held: Held) -> None:
    words = TEXTS[6].split()
    rows = [{"text": " ".join(words[i % 7 : i % 7 + 1 + i % 5] + [words[i % 3]] * (i // 35)), "label": "xy"[i % 2]}
            for i in range(300)]  # fmt: skip
    interpret.probe(
        lm, rows, label="label", text="text", n_bootstrap=100, n_control=1, random_weights=True, progress=False,
        probes=("ridge",),
    )  # fmt: skip


def _audit(lm: AttachedModel, held: Held, seed: int = 0, **options: Any) -> interpret.Audit:
    texts = held.texts(8)
    rows = [{"text": text, "label": LABELS[i % len(LABELS)]} for i, text in enumerate(texts)]
    return interpret.audit(lm, rows, config=SMALL, seed=seed, progress=False, **options)


def _plain(audit: interpret.Audit) -> dict[str, Any]:
    """The audit without time and place, which stand outside its digest."""
    plain: dict[str, Any] = audit.to_dict()
    del plain["run"]
    return plain


def _attached(lm: AttachedModel, held: Held) -> None:
    again = interpret.attach(held.model, held.tokenizer)
    again.sites()
    again.info()
    interpret.methods()


ASKED: Final[dict[str, Callable[[AttachedModel, Held], Any]]] = {
    "attach": _attached,
    "capture": _everything,
    "capturing": _capturing,
    "capture with edits": _edited,
    "capture a summary": _summarised,
    "capture to a store": _stored,
    "capture what is written": _written,
    "attribute a capture": _of_capture,
    **{f"attribute {name}": _explained(name) for name in METHODS},
    "attribute with quality": _with_quality,
    "attribute a token": _token,
    "attribute a contrast": _contrast,
    "faithfulness": _external,
    "randomisation": _randomised,
    "probe": _probed,
    "audit": _audit,
}
#: Costly ones run on one encoder and one decoder of each task.
DEAR: Final = {"probe", "audit"}
DEAR_CASES: Final = {("bert", "text-classification"), ("gpt2", "text-classification"), ("llama", "causal-lm")}
#: One model of each task and kind crashes in both ways and is asked for what it cannot do; the others in one.
BOTH_CRASHES: Final = sorted(DEAR_CASES | {("bert", "masked-lm")})


def _fits(name: str, family: str, task: str) -> bool:
    if name == "attribute a contrast":
        return task == "text-classification"
    if name in ("attribute a token", "capture what is written"):
        return task == "causal-lm"
    return name not in DEAR or (family, task) in DEAR_CASES


RUNS: Final = [
    pytest.param((family, task), name, id=f"{family}-{task}-{name.replace(' ', '_')}")
    for family, task in CASES
    for name in ASKED
    if _fits(name, family, task)
]


@pytest.fixture(scope="module")
def held(request: pytest.FixtureRequest) -> Held:
    """One model for all that is asked of it: each test holds it against its own state before."""
    return Held(*request.param)


@pytest.mark.filterwarnings("ignore:.*attention mask.*")
@pytest.mark.parametrize(("held", "name"), RUNS, indirect=["held"])
def test_everything_is_as_it_was(held: Held, name: str) -> None:
    held.foreign.raise_at = None
    before, lm = held_state(held), held.lm
    filters = list(warnings.filters)

    held.foreign.seen = 0
    ASKED[name](lm, held)
    n_forwards = held.foreign.seen
    assert n_forwards, "the other library's hook was not called, so the model did not run"
    assert_same(before, held_state(held))

    # In the middle of it as an interrupted cell, and at its last forward as an error of the model.
    crashes: list[tuple[int, BaseException]] = [
        (1 + n_forwards // 2, KeyboardInterrupt()),
        (n_forwards, RuntimeError("inside the model")),
    ]
    if held.case not in BOTH_CRASHES:
        crashes = [crashes[list(ASKED).index(name) % 2]]
    for at, error in crashes:
        held.foreign.seen, held.foreign.raise_at, held.foreign.error = 0, at, error
        with pytest.raises(type(error)):
            ASKED[name](lm, held)
        assert_same(before, held_state(held))
    held.foreign.raise_at = None
    assert list(warnings.filters) == filters
    assert len(pickle.dumps(held.model)) > 0


WRONG: Final[dict[str, Callable[[AttachedModel, Held], Any]]] = {
    "target": lambda lm, held: lm.attribute(held.texts(), target="no such thing at all"),
    "class": lambda lm, held: lm.attribute(held.texts(), target=10_000),
    "targets": lambda lm, held: lm.attribute(held.texts(), target=[0]),
    "method": lambda lm, held: lm.attribute(held.texts(), method="magic"),
    "option": lambda lm, held: lm.attribute(held.texts(), method="shap", steps=3),
    "baseline": lambda lm, held: lm.attribute(held.texts(), method="shap", baseline="sep_token"),
    "unit": lambda lm, held: lm.attribute(held.texts(), unit="paragraph"),  # type: ignore[arg-type]
    "site": lambda lm, held: lm.capture(held.texts(), ["resid_post", "resid_post.9"]),
    "text": lambda lm, held: lm.capture(["good", None], "resid_post"),  # type: ignore[list-item]
    "mode": lambda lm, held: lm.capturing("attn_pattern", mode="tea").__enter__(),  # type: ignore[arg-type]
    "config": lambda lm, held: interpret.audit(lm, [{"text": "good"}], config={"explain": 3}),
    "label": lambda lm, held: interpret.probe(lm, [{"text": "good", "label": "x"}] * 3, label="label", text="text"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
@pytest.mark.parametrize("held", BOTH_CRASHES, ids="-".join, indirect=True)
def test_a_wrong_request_leaves_everything_as_it_was(held: Held, wrong: str) -> None:
    held.foreign.raise_at = None
    before, lm = held_state(held), held.lm
    with pytest.raises(InterpretError):
        WRONG[wrong](lm, held)
    assert_same(before, held_state(held))


def test_both_models_of_a_comparison_are_as_they_were() -> None:
    tuned, base = Held("bert", "text-classification"), Held("distilbert", "text-classification")
    before = held_state(tuned), held_state(base)
    lm, other = tuned.lm, base.lm
    found = _audit(lm, tuned, base=other)
    assert found.comparison is not None
    assert_same(before[0], held_state(tuned))
    assert_same(before[1], held_state(base))
    base.foreign.seen, base.foreign.raise_at, base.foreign.error = 0, 1, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        _audit(lm, tuned, base=other)
    assert_same(before[0], held_state(tuned))
    assert_same(before[1], held_state(base))


@pytest.mark.parametrize(("family", "task"), sorted(DEAR_CASES))
def test_the_seed_decides_and_nothing_else(family: str, task: str) -> None:
    held = Held(family, task)
    lm = held.lm
    first = _plain(_audit(lm, held))
    # Another state of every global stream, and other work in between.
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    lm.attribute(held.texts(1), method="leave_one_out")
    assert _plain(_audit(lm, held)) == first
    other = Held(family, task)
    assert _plain(_audit(other.lm, other)) == first
    reseeded = _plain(_audit(lm, held, seed=1))
    reseeded["seed"], reseeded["command"] = first["seed"], first["command"]
    assert reseeded != first
