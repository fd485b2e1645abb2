"""Edits against values computed by hand, and what holds for every site of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import interpret
from interpret.capture.capture import capture_texts, capturing
from interpret.capture.edits import Edit
from interpret.capture.points import check_sites, name_of, sites_of, unavailable
from interpret.errors import UnknownSiteError, UsageError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from interpret.sites import split_site
from tests import zoo
from tests.capture.support import attached, batch_of, logits_of, nothing_global, same_state, state_of
from tests.tiny import TEXTS

D, HEADS, VOCABULARY = 16, 4, 11
HEAD, NEURON = 2, 5
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.fixture(scope="module")
def planted() -> Any:
    """One block of GPT-2 in which one head and one neuron write known directions, whatever they read."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=D,
        n_layer=1,
        n_head=HEADS,
        n_positions=16,
        n_inner=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).double().eval()
        with torch.no_grad():
            block: Any = model.transformer.h[0]
            for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                module.weight.zero_()
                module.bias.zero_()
            d_head = D // HEADS
            # Every value vector of the head is this one, and so is every mean of them.
            value = slice(2 * D + HEAD * d_head, 2 * D + (HEAD + 1) * d_head)
            block.attn.c_attn.bias[value] = torch.randn(d_head, dtype=torch.float64)
            block.attn.c_proj.weight[HEAD * d_head : (HEAD + 1) * d_head] = torch.randn(d_head, D, dtype=torch.float64)
            block.mlp.c_fc.bias[NEURON] = 1.3
            block.mlp.c_proj.weight[NEURON] = torch.randn(D, dtype=torch.float64)
            model.transformer.ln_f.weight.copy_(1 + 0.1 * torch.randn(D, dtype=torch.float64))
            model.transformer.ln_f.bias.copy_(0.1 * torch.randn(D, dtype=torch.float64))
    return model


def by_hand(model: Any, *, head: float = 1.0, neuron: float = 1.0, extra: Tensor | None = None) -> Tensor:
    """Logits from the planted weights alone: what the head and the neuron write, each times a factor."""
    block, base = model.transformer.h[0], model.transformer
    d_head = D // HEADS
    at = slice(HEAD * d_head, (HEAD + 1) * d_head)
    value = block.attn.c_attn.bias[2 * D :][at]
    stream = base.wte.weight[IDS] + base.wpe.weight[: IDS.shape[1]]
    stream = stream + head * (value @ block.attn.c_proj.weight[at])
    # GELU as GPT-2 approximates it.
    x = torch.tensor(1.3, dtype=torch.float64)
    gelu = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    stream = stream + neuron * gelu * block.mlp.c_proj.weight[NEURON]
    if extra is not None:
        stream = stream + extra
    centred = stream - stream.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + base.ln_f.eps).sqrt()
    found: Tensor = (normed * base.ln_f.weight + base.ln_f.bias) @ model.lm_head.weight.T
    return found.detach()


def edited(model: Any, *edits: Edit) -> Tensor:
    handle = attach_handle(model, None)
    with capturing(handle, edits=edits), torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 1e-12)


def test_the_planted_model_is_what_the_hand_says(planted: Any) -> None:
    with torch.no_grad():
        assert close(planted(input_ids=IDS).logits, by_hand(planted))


def test_a_planted_head_and_a_planted_neuron_are_ablated_to_the_value_computed_by_hand(planted: Any) -> None:
    assert not close(by_hand(planted), by_hand(planted, head=0))
    assert close(edited(planted, Edit.zero("z.0", heads=[HEAD])), by_hand(planted, head=0))
    assert close(edited(planted, Edit.zero("mlp_act.0", units=[NEURON])), by_hand(planted, neuron=0))
    both = edited(planted, Edit.zero("z.0", heads=[HEAD]), Edit.zero("mlp_act", units=[NEURON]))
    assert close(both, by_hand(planted, head=0, neuron=0))
    others = edited(planted, Edit.zero("z.0", heads=[0, 1, 3]), Edit.zero("mlp_act", units=[0, 1, 2, 3, 4, 6, 7]))
    assert close(others, by_hand(planted))


def test_steering_adds_the_vector_and_scale(planted: Any) -> None:
    vector = torch.linspace(-1, 1, D, dtype=torch.float64)
    assert close(edited(planted, Edit.add("resid_post.0", vector, scale=2.5)), by_hand(planted, extra=2.5 * vector))
    # Edits of one site are made in the order given.
    doubled = edited(planted, Edit.add("attn_out.0", vector), Edit.apply("attn_out.0", lambda x: 2 * x))
    assert close(doubled, by_hand(planted, head=2, extra=2 * vector))
    at = torch.zeros(IDS.shape[1], 1, dtype=torch.float64)
    at[[1, -1]] = 1
    assert close(edited(planted, Edit.add("mlp_out.0", vector, positions=[1, -1])), by_hand(planted, extra=at * vector))


def test_a_pattern_without_the_head_leaves_its_value_out(planted: Any) -> None:
    # Rows that sum to a half let half of the constant value through.
    half = edited(planted, Edit.apply("attn_pattern.0", lambda pattern: pattern / 2, heads=[HEAD]))
    assert close(half, by_hand(planted, head=0.5))
    # Scores that are all the same but for the mask make another pattern of the same constant value.
    assert close(edited(planted, Edit.set("attn_scores.0", 0.0, heads=[0])), by_hand(planted))


def test_the_mean_and_a_resample_of_a_constant_are_the_constant(planted: Any) -> None:
    handle = attach_handle(planted, None)
    with capturing(handle, "z", "mlp_act", "resid_post") as capture, torch.no_grad():
        planted(input_ids=IDS)
    for make in (Edit.mean, Edit.resample):
        assert close(edited(planted, make("z.0", capture), make("mlp_act.0", capture)), by_hand(planted))
    # The stream is not constant: its mean is that of all tokens of the capture, computed here.
    mean = capture["resid_post", 0].flatten(0, 1).mean(0)
    with capturing(handle, "resid_post.0", edits=[Edit.mean("resid_post.0", capture)]) as after, torch.no_grad():
        planted(input_ids=IDS[:1])
    assert close(after["resid_post", 0], mean.expand(1, IDS.shape[1], D))


def test_resampling_draws_tokens_of_the_capture_by_its_seed() -> None:
    handle = attached("bert")
    source = capture_texts(handle, encode(handle, list(TEXTS)), "resid_post.0")
    known = source["resid_post", 0][source.mask]
    batch = batch_of(handle)
    seen = []
    for seed in (1, 1, 2):
        with capturing(handle, "resid_post.0", edits=[Edit.resample("resid_post.0", source, seed=seed)]) as capture:
            logits_of(handle, batch)
        rows = capture["resid_post", 0][capture.mask]
        assert all((row == known).all(-1).any() for row in rows)
        seen.append(rows)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


SELF = [(family, tasks[0]) for family, tasks in zoo.ZOO.items()]


@pytest.mark.parametrize(("family", "task"), SELF)
def test_patching_a_capture_into_itself_changes_nothing(family: str, task: str) -> None:
    built = zoo.build(family, task)
    handle = attach_handle(built.model, built.tokenizer)
    batch = zoo.inputs(built)
    sites = [site for site in sites_of(handle) if unavailable(handle, site) is None]
    ends = [f"{prefix}.resid_post.1".lstrip(".") for prefix in handle.prefixes if prefix != "cross"]
    with torch.no_grad():
        with capturing(handle, *sites) as capture:
            plain = _answer(handle, batch)
        # Some heads make transformers leave hooks of its own in the model with every plain forward.
        before = state_of(handle.model)
        for key in check_sites(handle, sites):
            edit = Edit.patch(name_of(key), capture)
            if split_site(key[0])[1] not in ("attn_pattern", "attn_scores"):
                with capturing(handle, edits=[edit]):
                    patched = _answer(handle, batch)
                assert all(torch.equal(a, b) for a, b in zip(plain, patched, strict=True)), key
            elif family == "deberta-v2":
                with pytest.raises(UsageError, match="not edited"), capturing(handle, edits=[edit]):
                    pass
            else:
                # An edited layer takes its output from the pattern instead of the fused kernel, which rounds otherwise
                # and makes something else of pads.
                with capturing(handle, *ends, edits=[edit]) as patched_stream:
                    _answer(handle, batch)
                for end in ends:
                    expected, found = capture[end], patched_stream[end]
                    assert torch.equal(expected.isnan(), found.isnan())
                    error = (expected - found).nan_to_num().abs().max() / expected.nan_to_num().abs().max()
                    assert error < 1e-5, (key, end)
        with capturing(handle, edits=[Edit.zero(name_of(check_sites(handle, sites)[-2]))]):
            assert not all(torch.equal(a, b) for a, b in zip(plain, _answer(handle, batch), strict=True))
    same_state(before, state_of(handle.model))
    nothing_global()


def _answer(handle: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    return [value.clone() for value in handle.model(**batch).values() if isinstance(value, Tensor)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_patching_from_another_text_puts_token_for_token(side: str) -> None:
    handle = attached("llama", "causal-lm")
    source = capture_texts(handle, encode(handle, [TEXTS[6]]), ["resid_post", "z", "k", "v"])
    batch = batch_of(handle, TEXTS[:2], side)
    with capturing(handle, "resid_post.0", edits=[Edit.patch("resid_post.0", source, positions=[0, 2, -1])]) as capture:
        logits_of(handle, batch)
    with capturing(handle, "resid_post.0") as plain:
        logits_of(handle, batch)
    for example in range(2):
        real = capture.mask[example].nonzero()[:, 0]
        n = len(real)
        for rank, position in enumerate(real.tolist()):
            found = capture["resid_post", 0][example, position]
            swapped = rank in (0, 2, n - 1)
            expected = source["resid_post", 0][0, rank] if swapped else plain["resid_post", 0][example, position]
            assert torch.equal(found, expected), (example, rank)
    # Everything that flows through the patched layer comes from the source: so does the output.
    same = batch_of(handle, TEXTS[6:7], side)
    with capturing(handle, "logits") as whole:
        logits_of(handle, same)
    other = {**same, "input_ids": same["input_ids"].flip(1)}
    with capturing(handle, "logits", edits=[Edit.patch("resid_post.1", source)]) as patched:
        logits_of(handle, other)
    assert torch.equal(whole["logits"], patched["logits"])


def test_one_neuron_of_one_layer_and_gradients_through_an_edit() -> None:
    handle = attached("llama")
    batch = batch_of(handle)
    direction = torch.zeros(handle.d_model, requires_grad=True)
    with capturing(handle, "resid_post.1", grad=True, edits=[Edit.add("resid_post.0", direction)]):
        output = handle.model(**batch).logits
    output[:, 0].sum().backward()
    assert direction.grad is not None
    assert direction.grad.abs().sum() > 0
    handle.model.zero_grad()


def test_logits_can_be_edited_too() -> None:
    handle = attached("bert")
    batch = batch_of(handle)
    plain = logits_of(handle, batch)
    with capturing(handle, "logits", edits=[Edit.add("logits", torch.tensor([1.0, 0.0, 0.0]))]) as capture:
        observed = logits_of(handle, batch)
    assert torch.equal(observed, plain + torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(capture["logits"], observed)
    with capturing(handle, edits=[Edit.zero("logits", units=[1])]), torch.no_grad():
        as_tuple = handle.model(**batch, return_dict=False)[0]
    assert (as_tuple[:, 1] == 0).all()
    assert torch.equal(as_tuple[:, 0], plain[:, 0])


def test_positions_are_counted_through_a_cache() -> None:
    handle = attached("llama", "causal-lm")
    model: Any = handle.model
    batch = batch_of(handle, TEXTS[:2], "left")
    n_prompt = batch["attention_mask"].sum(1)
    marked = torch.full((handle.d_model,), 7.0)
    at = [0, int(n_prompt[0]) + 1]
    with capturing(handle, "resid_post.0", edits=[Edit.set("resid_post.0", marked, positions=at)]) as capture:
        model.generate(**batch, max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=handle.pad_id)
    for row, (example, step) in enumerate(zip(capture.example, capture.step, strict=True)):
        real = capture.mask[row].nonzero()[:, 0].tolist()
        first = 0 if step == 0 else int(n_prompt[example]) + step - 1
        for rank, position in enumerate(real, start=first):
            hit = bool((capture["resid_post", 0][row, position] == 7.0).all())
            assert hit == (rank in at), (example, step, rank)


@pytest.mark.parametrize(
    ("edit", "error", "says"),
    [
        (lambda capture: Edit.zero("z.7"), UnknownSiteError, "2 layers"),
        (lambda capture: Edit.zero("zz"), UnknownSiteError, "unknown site"),
        (lambda capture: Edit.zero("z.0", heads=[4]), UsageError, "heads 4 of z.0 do not exist; there are 4"),
        (lambda capture: Edit.zero("resid_post.0", heads=[0]), UsageError, "heads= was given for resid_post.0"),
        (lambda capture: Edit.zero("mlp_act.0", units=[64]), UsageError, "units 64 .* there are 64"),
        (lambda capture: Edit.zero("logits", positions=[0]), UsageError, "positions= was given for logits"),
        (lambda capture: Edit.zero("z.0", heads=2), UsageError, r"write heads=\[2\]"),
        (lambda capture: Edit.zero("z.0", neurons=[2]), UsageError, "has no neurons="),
        (lambda capture: Edit.mean("attn_pattern.0", capture), UsageError, "no mean"),
        (lambda capture: Edit.patch("z.0", torch.zeros(3)), UsageError, "takes its values from a Capture"),
        (lambda capture: Edit.patch("q.0", capture), UnknownSiteError, "q.0 was not captured"),
        (lambda capture: "z.0", UsageError, "an edit is made with Edit.zero"),
    ],
)
def test_a_wrong_edit_is_refused_before_anything_is_registered(edit: Any, error: type[Exception], says: str) -> None:
    handle = attached("bert")
    capture = capture_texts(handle, encode(handle, list(TEXTS[:4])), ["z", "attn_pattern"])
    before = state_of(handle.model)
    with pytest.raises(error, match=says), capturing(handle, edits=[edit(capture)]):
        pass
    same_state(before, state_of(handle.model))


def test_what_only_the_forward_can_tell() -> None:
    handle = attached("bert")
    batch = batch_of(handle)
    short = capture_texts(handle, encode(handle, [TEXTS[1]]), "z")
    two = capture_texts(handle, encode(handle, list(TEXTS[:2])), "z")
    for edit, says in (
        (Edit.patch("z.0", short), "name positions= that both have"),
        (Edit.patch("z.0", two), "a capture of 2 examples into a forward of 4"),
        (Edit.add("z.0", torch.zeros(5)), r"give 8 numbers, shape \(4, 8\)"),
        (Edit.apply("z.0", lambda z: z[:1]), "returned shape"),
    ):
        with pytest.raises(UsageError, match=says), capturing(handle, edits=[edit]):
            logits_of(handle, batch)
    with capturing(handle, edits=[Edit.patch("z.0", short, positions=[0, 1])]):
        logits_of(handle, batch)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in handle.model.modules())


def test_edits_of_texts_through_the_attached_model() -> None:
    handle = attached("gpt2", "causal-lm")
    lm = interpret.attach(handle.model, handle.tokenizer)
    plain = lm.capture(list(TEXTS[:3]), ["logits", "z"])
    ablated = lm.capture(list(TEXTS[:3]), ["logits", "z"], edits=[interpret.Edit.zero("z.1", heads=[3])])
    assert (ablated["z", 1][ablated.mask][:, 3] == 0).all()
    assert torch.equal(plain["z", 0].nan_to_num(), ablated["z", 0].nan_to_num())
    assert not torch.equal(plain["logits"].nan_to_num(), ablated["logits"].nan_to_num())
