"""Erasing in a running model of which it is known by construction what it uses and what it only carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from interpret.analyzers.probing.costs import BothCosts, Costs
from interpret.analyzers.probing.erased_outputs import affine_change, outputs_under, readings
from interpret.analyzers.probing.erasers import CrossMoments, leace
from interpret.analyzers.probing.erasure import erasure, judge
from interpret.analyzers.probing.features import FeatureStore, fill, make_items
from interpret.analyzers.probing.uncertainty import Interval
from interpret.capture.capture import capture_texts
from interpret.capture.edits import Edit
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.results.erasure import Erasure
from interpret.results.views import to_text
from tests import planted
from tests.tiny import WORDS, tiny, wordpiece

SITE = "resid_post.1"
#: Whole tokens of the vocabulary, in four equal groups.
VOCABULARY = [word for word in WORDS if len(word) > 1][:24]
USED = {word: "ab"[n % 2] for n, word in enumerate(VOCABULARY)}
CARRIED = {word: "xy"[n // 2 % 2] for n, word in enumerate(VOCABULARY)}


def tagger(
    used: float = 3.0, carried: float = 3.0, threshold: float = 0.0, *, balanced: bool = False
) -> tuple[Any, Any]:
    """A tagger whose tokens pass unchanged but for layer norms; its head reads the first of 32 dimensions and no other.

    Every word writes one label into dimension 0 as plus or minus `used`, and an independent one as plus or minus
    `carried` into dimension 1; if `balanced` its opposite into dimension 2, so that layer norms cannot tell one value
    from the other. The head says the second class above `threshold`.
    """
    torch.manual_seed(0)
    tokenizer = wordpiece()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=16,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
        id2label={0: "a", 1: "b"},
        label2id={"a": 0, "b": 1},
    )
    model = BertForTokenClassification(config).eval()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            for dense in (layer.attention.output.dense, layer.output.dense):
                dense.weight.zero_()
                dense.bias.zero_()
        words = model.bert.embeddings.word_embeddings.weight
        words.normal_(std=0.5)
        model.bert.embeddings.position_embeddings.weight.normal_(std=0.3)
        for word in VOCABULARY:
            row = words[tokenizer.convert_tokens_to_ids(word)]
            row[0] = -used if USED[word] == "a" else used
            row[1] = -carried if CARRIED[word] == "x" else carried
            if balanced:
                row[2] = -row[1]
        if balanced:
            for others in (model.bert.embeddings.position_embeddings, model.bert.embeddings.token_type_embeddings):
                others.weight[:, 1:3] = 0.0
        model.classifier.weight.zero_()
        model.classifier.weight[1, 0] = 4.0
        model.classifier.bias.copy_(torch.tensor([4.0 * threshold, 0.0]))
    return model, tokenizer


@pytest.fixture(scope="module")
def handle() -> Handle:
    return attach_handle(*tagger(), name="tagger")


def sentences(n: int = 300, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[str(w) for w in rng.choice(VOCABULARY, size=rng.integers(4, 10))] for _ in range(n)]


def labelled(of: dict[str, str], n: int = 300) -> ProbeData:
    words = sentences(n)
    return ProbeData.of_words(words, [[of[w] for w in row] for row in words])


def gold(n: int = 300) -> list[list[int]]:
    return [["ab".index(USED[w]) for w in row] for row in sentences(n)]


def value(result: Erasure, measure: Any, condition: Any) -> float:
    row = result.row(measure, condition)
    assert row is not None
    assert row.value is not None
    return row.value


def low(result: Erasure, measure: Any, condition: Any) -> float:
    row = result.row(measure, condition)
    assert row is not None
    assert row.ci_low is not None
    return row.ci_low


def test_what_the_model_uses_breaks_it_when_erased_and_random_directions_do_not(handle: Handle) -> None:
    result = erasure(handle, labelled(USED), site=SITE, gold=(gold(), None), progress=False)
    assert value(result, "task_accuracy", "original") == 1.0
    assert value(result, "task_accuracy", "erased") < 0.75
    assert value(result, "task_accuracy", "random") > 0.95
    assert value(result, "task_accuracy", "random_displaced") > 0.95
    assert value(result, "ridge", "original") == 1.0
    assert value(result, "ridge", "erased") == value(result, "majority", "original")
    assert result.linearly_erased
    assert result.rank == 1
    assert result.verdict == "available_used"
    assert low(result, "task_accuracy", "difference") > 0.02
    assert low(result, "task_accuracy", "difference_displaced") > 0.02


def test_what_the_model_uses_is_found_also_where_it_is_most_of_the_variance() -> None:
    lm = attach_handle(*tagger(used=30.0), name="tagger")
    result = erasure(lm, labelled(USED), site=SITE, gold=(gold(), None), progress=False)
    assert result.removed_share > 0.5
    assert value(result, "task_accuracy", "erased") < 0.75
    assert value(result, "task_accuracy", "random_displaced") > 0.95
    assert result.verdict == "available_used"


def test_what_the_model_only_carries_is_not_used_also_where_it_is_most_of_the_variance() -> None:
    lm = attach_handle(*tagger(carried=30.0, balanced=True), name="tagger")
    # Nothing changes in 60 texts does not show that less than 2% change; in 200 it does.
    few = erasure(lm, labelled(CARRIED), site=SITE, gold=(gold(), None), progress=False)
    assert value(few, "changed_predictions", "erased") == 0.0
    assert few.verdict == "inconclusive"
    result = erasure(lm, labelled(CARRIED, 1000), site=SITE, gold=(gold(1000), None), progress=False)
    assert result.removed_share > 0.5
    assert value(result, "ridge", "original") == 1.0
    assert value(result, "task_accuracy", "erased") == value(result, "task_accuracy", "original") == 1.0
    # Whereas a change of this size elsewhere breaks the model.
    assert value(result, "changed_predictions", "random_displaced") > 0.05
    assert result.verdict == "available_not_used"


def test_a_change_that_costs_by_its_size_alone_is_not_called_use() -> None:
    """A label the model cannot use, whose size it does feel: as many random directions are too weak a control."""
    model, tokenizer = tagger(used=1.0, carried=30.0, threshold=0.2, balanced=True)
    mirrored, _ = tagger(used=1.0, carried=-30.0, threshold=0.2, balanced=True)
    lm = attach_handle(model, tokenizer, name="tagger")
    # Every word with the other label: no output changes, so the label has no part in it.
    ids = torch.tensor([tokenizer(" ".join(VOCABULARY))["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, mirrored(input_ids=ids).logits)
    # The next layer norm makes all else larger once the label is gone.
    result = erasure(lm, labelled(CARRIED), site="resid_post.0", n_random=8, progress=False)
    assert value(result, "changed_predictions", "erased") > 0.3
    assert value(result, "changed_predictions", "random") < 0.05
    assert low(result, "changed_predictions", "difference") > result.margin
    assert low(result, "changed_predictions", "difference_displaced") < result.margin
    assert value(result, "changed_predictions", "random_displaced") > 0.2
    assert (result.verdict, result.why.code) == ("inconclusive", "erasure_why.size_explains")
    rank, size = ([d.removed_share for d in result.random if d.matched == name] for name in ("rank", "size"))
    assert size == pytest.approx([result.removed_share] * 8)
    assert max(rank) < 0.2 * result.removed_share


def test_what_the_model_only_carries_is_available_and_not_used(handle: Handle) -> None:
    result = erasure(handle, labelled(CARRIED, 1000), site=SITE, gold=(gold(1000), None), progress=False)
    assert value(result, "ridge", "original") == 1.0
    assert value(result, "ridge", "erased") == value(result, "majority", "original")
    assert value(result, "task_accuracy", "erased") > 0.99
    assert result.verdict == "available_not_used"


def test_labels_that_mean_nothing_are_not_available(handle: Handle) -> None:
    words = sentences(900)
    rng = np.random.default_rng(1)
    data = ProbeData.of_words(words, [rng.choice(["p", "q"], size=len(row)).tolist() for row in words])
    for method in ("leace", "inlp"):
        result = erasure(handle, data, site=SITE, method=method, n_random=2, progress=False)  # type: ignore[arg-type]
        assert result.verdict == "not_available"
        assert result.row("task_accuracy", "erased") is None


def test_inlp_agrees(handle: Handle) -> None:
    for labels, verdict in ((USED, "available_used"), (CARRIED, "available_not_used")):
        data, own = labelled(labels, 1000), (gold(1000), None)
        result = erasure(handle, data, site=SITE, method="inlp", gold=own, progress=False)
        assert result.verdict == verdict
        assert result.n_rounds is not None
        assert result.n_rounds >= 1
        assert result.linearly_erased


def test_the_running_model_is_edited_as_the_probe_sees_it(handle: Handle) -> None:
    """The mean of erased tokens, read off the edited model, is the erased mean; pads and other sites stay."""
    data = labelled(USED, 40)
    items = make_items(handle, data)
    codes = np.array([label == "b" for label in items.label]).astype(np.int64)
    with FeatureStore(len(items), 1) as store:
        fill(store, handle, items, [SITE])
        X = store.arrays["resid_post", 1].copy()
    eraser = leace(CrossMoments(X.shape[1], 2).update(X, codes))
    edit = Edit.apply(SITE, affine_change(eraser, "resid_post"))
    capture = capture_texts(handle, items.encoded, [SITE, "resid_post.0"], edits=[edit])
    plain = capture_texts(handle, items.encoded, [SITE, "resid_post.0"])
    assert torch.equal(capture["resid_post", 0].nan_to_num(), plain["resid_post", 0].nan_to_num())
    mask = capture.mask_of("resid_post")
    expected = eraser(plain["resid_post", 1][mask].numpy())
    np.testing.assert_allclose(capture["resid_post", 1][mask].numpy(), expected, atol=1e-5)
    n = 0
    for text, segment in enumerate(items.segments):
        for item in np.unique(segment.item):
            seen = capture["resid_post", 1][text, segment.position[segment.item == item]].mean(0).numpy()
            np.testing.assert_allclose(seen, eraser(X[item : item + 1])[0], atol=1e-5)
            n += 1
    assert n == len(items)


def test_outputs_are_those_of_a_plain_hook(handle: Handle) -> None:
    """Divergence and accuracy by hand: the model of transformers with a hook of PyTorch, one text at a time."""
    data = labelled(USED, 12)
    items = make_items(handle, data)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 32))
    eraser = leace(CrossMoments(32, 2).update(X, rng.integers(0, 2, 50)))
    texts = readings(handle, items.encoded, gold(12), 0)
    for probed in (None, [segment.position for segment in items.segments]):
        found = outputs_under(
            handle, texts, ("resid_post", 1), [lambda where: affine_change(eraser, "resid_post", where)], probed=probed
        )

        def hook(module: Any, args: Any, output: Any, inner: bool = probed is not None) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            x = hidden.double().numpy()
            new = x - (x - eraser.mean) @ eraser.right @ eraser.left.T
            if inner:
                # Special tokens stand at both ends.
                new[:, [0, -1]] = x[:, [0, -1]]
            new = torch.from_numpy(new).float()
            return (new, *output[1:]) if isinstance(output, tuple) else new

        for n, row in enumerate(sentences(12)):
            ids = torch.tensor([items.encoded[n].ids])
            with torch.no_grad():
                before = handle.model(input_ids=ids).logits[0, 1:-1].double().log_softmax(-1)
                held = handle.roles.blocks[1].register_forward_hook(hook)
                after = handle.model(input_ids=ids).logits[0, 1:-1].double().log_softmax(-1)
                held.remove()
            assert found.n[n] == len(row)
            kl = torch.nn.functional.kl_div(after, before, reduction="sum", log_target=True)
            assert found.kl[0, n] == pytest.approx(float(kl), abs=1e-6)
            away = (before.exp() - after.exp()).abs().sum() / 2
            assert found.total_variation[0, n] == pytest.approx(float(away), abs=1e-6)
            assert found.changed[0, n] == int((before.argmax(1) != after.argmax(1)).sum())
            right = torch.tensor(gold(12)[n])
            assert found.right[1, n] == int((after.argmax(1) == right).sum())
            own = after[torch.arange(len(row)), right].sum()
            assert found.log_probability[1, n] == pytest.approx(float(own), abs=1e-6)


@pytest.mark.parametrize(("family", "task"), [("gpt2", "causal-lm"), ("bert", "masked-lm"), ("llama", "causal-lm")])
def test_language_models_are_read_where_they_predict(family: str, task: str) -> None:
    model, tokenizer = tiny(family, task)
    model.train()
    lm = attach_handle(model, tokenizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = erasure(lm, labelled(USED, 150), site="resid_post.0", n_random=2, progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    again = erasure(lm, labelled(USED, 150), site="resid_post.0", n_random=2, progress=False)
    assert again.to_dict() == first.to_dict()
    row = first.row("task_accuracy", "original")
    assert row is not None
    assert row.n > 0
    if task == "masked-lm":
        assert row.n == first.n_texts


def test_texts_of_a_trained_classifier() -> None:
    """The planted classifier decides by one of two words; which of them stands in a text is what it uses."""
    data = planted.sentences(400)
    texts = ProbeData.of_texts(data.texts, [planted.LABELS[label] for label in data.labels])
    own = [[label] for label in data.labels]
    lm = planted.handle()
    result = erasure(lm, texts, site="resid_post.1", gold=(own, None), progress=False)
    assert result.verdict == "available_used"
    assert result.level == "sentence"
    assert value(result, "task_accuracy", "original") > 0.95


def test_a_model_without_a_head_has_no_output_to_lose() -> None:
    model, tokenizer = tagger()
    result = erasure(attach_handle(model.bert, tokenizer), labelled(USED), site=SITE, progress=False)
    assert result.verdict == "inconclusive"
    assert result.why.code == "erasure_why.no_output"
    assert result.linearly_erased


def test_the_model_is_left_alone_when_it_fails() -> None:
    model, tokenizer = tagger()
    lm = attach_handle(model, tokenizer)
    data = labelled(USED)
    with pytest.raises(UsageError, match="gold="):
        erasure(lm, data, site=SITE, gold=([[0]], None), progress=False)
    for wrong in (
        {"site": "resid_post"},
        {"site": "attn_pattern.0"},
        {"n_random": 1},
        {"margin": 0.0},
        {"method": "x"},
    ):
        with pytest.raises(UsageError):
            erasure(lm, data, **{"site": SITE, "progress": False, **wrong})  # type: ignore[arg-type]
    assert not any(module._forward_hooks for module in model.modules())


def test_verdicts_need_whole_intervals() -> None:
    none, some, unclear = Interval(0.0, -0.01, 0.01), Interval(0.3, 0.2, 0.4), Interval(0.02, -0.01, 0.05)

    nothing = Costs(none, none, 0.0)

    def said(
        *gain: Interval,
        erased: bool = True,
        rank: Costs | None = None,
        size: Costs = nothing,
        whole: tuple[Interval, Interval] = (some, some),
    ) -> str:
        verdict, why = judge(gain, erased, None if rank is None else BothCosts(rank, size, whole), 0.02)
        return f"{verdict} {why.code.split('.')[1]}"

    assert said(none, none) == "not_available not_available"
    assert said(none, unclear) == "inconclusive availability_unclear"
    assert said(none, some) == "inconclusive no_output"
    assert said(some, some, erased=False) == "inconclusive not_erased"
    # A cost is one only where it is one beside both controls, in the same measure.
    lost, moved = Costs(some, none, 0.0), Costs(none, some, 0.0)
    assert said(some, some, rank=lost, size=lost) == "available_used used"
    assert said(some, some, rank=moved, size=moved) == "available_used used"
    assert said(some, some, rank=lost, size=nothing) == "inconclusive size_explains"
    assert said(some, some, rank=lost, size=moved) == "inconclusive size_explains"
    assert said(some, some, rank=nothing, size=lost) == "inconclusive effect_unclear"
    assert said(some, some, rank=nothing) == "available_not_used not_used"
    assert said(some, some, rank=Costs(none, unclear, 0.0)) == "inconclusive effect_unclear"
    assert said(some, some, rank=Costs(none, none, 0.3)) == "inconclusive control_breaks"
    # What changes nothing is not used, however wild the controls are.
    assert said(some, some, rank=Costs(unclear, unclear, 0.3), whole=(none, none)) == "available_not_used harmless"
    assert said(some, some, rank=Costs(none, unclear, 0.0), whole=(none, unclear)) == "inconclusive effect_unclear"
    # A change of this size elsewhere may break the model: beside it, less is lost.
    less = Costs(Interval(-0.3, -0.4, -0.2), Interval(-0.3, -0.4, -0.2), 0.4)
    assert said(some, some, rank=nothing, size=less) == "available_not_used not_used"
    assert said(Interval(None, None, None), none) == "inconclusive availability_unclear"


@pytest.mark.parametrize("ranking", ["probe_weights", "mean_difference"])
def test_the_unit_that_the_model_reads_is_ranked_first_and_its_ablation_breaks_it(handle: Handle, ranking: Any) -> None:
    result = erasure(
        handle,
        labelled(USED),
        site=SITE,
        gold=(gold(), None),
        units=[1, 3],
        ranking=ranking,
        n_random=2,
        progress=False,
    )
    assert result.ranked_units[0] == 0
    for k in (1, 3):
        assert f"At k = {k} the ranking holds" in to_text(result)
    assert sorted(result.ranked_units) == list(range(32))
    found = {(a.chosen, a.k): a for a in result.ablations}
    assert set(found) == {(chosen, k) for chosen in ("top", "bottom", "random") for k in (1, 3)}
    top, bottom = found["top", 1], found["bottom", 1]
    assert top.units == (0,)
    assert top.changed_predictions is not None
    assert top.changed_predictions > 0.3
    assert bottom.changed_predictions == 0.0
    for chosen in ("bottom", "random"):
        other = found[chosen, 3]  # type: ignore[index]
        assert other.ci_high is not None
        assert found["top", 3].ci_low is not None
        assert other.ci_high < found["top", 3].ci_low


def test_a_ranking_by_what_the_model_does_not_use_is_not_confirmed(handle: Handle) -> None:
    """The unit that carries the label is found, and taking it out changes nothing."""
    result = erasure(handle, labelled(CARRIED), site=SITE, gold=(gold(), None), units=[1], n_random=2, progress=False)
    assert result.ranked_units[0] == 1
    top = next(a for a in result.ablations if a.chosen == "top")
    assert top.changed_predictions == 0.0
    assert "the ranking is not confirmed" in to_text(result)


def test_units_that_are_not_there(handle: Handle) -> None:
    with pytest.raises(UsageError, match="has 32 units"):
        erasure(handle, labelled(USED), site=SITE, units=[33], progress=False)
