"""Masked and left-out texts: no word of the data in any byte of any file, and the numbers are those without masks."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import interpret
import interpret_lm_cli
import reports
from interpret.auditing.privacy import MASK, REVIEWED, masked, withhold
from interpret.errors import UsageError
from interpret.results.audits import Audit
from tests.reports import sample
from tests.tiny import TEXTS, tiny

ROOT = Path(__file__).parents[2]
#: Words that no catalogue, name or number of a report can hold.
SECRET = (
    "zorblat quivexo mandrizzle plonkett vystrum glumferi oxtarion wibbleth 鑫鑫垚 犇猋骉 kvetchory snarfblatt".split()
)
SMALL = {
    "explained": 16,
    "errors_shown": 6,
    "random_shown": 6,
    "random_rankings": 20,
    "compared_methods": "leave_one_out",
    "compared": 5,
    "randomised": 5,
    "attention": 6,
    "probed": 0,
    "base_activations": 8,
    "base_attention": 6,
    "base_explained": 8,
    "moved_shown": 3,
    "bootstraps": 100,
}


def rows(n: int = 40) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    out = []
    for i in range(n):
        words = rng.choice(SECRET, size=6, replace=False).tolist()
        out.append({"text": ", ".join(words) + "!", "label": ("negative", "positive")[i % 2], "slice": "ab"[i % 2]})
    return out


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (str(k), *strings(v))]
    return [s for v in value for s in strings(v)] if isinstance(value, list) else []


@pytest.fixture(scope="module", params=["full", "masked", "ids"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The command line on data and a model in a folder whose name is private."""
    texts = request.param
    folder = tmp_path_factory.mktemp("work") / "PRIVATE-client-name"
    folder.mkdir()
    for name in ("tuned", "base"):
        shutil.copytree(ROOT / "interpret" / "demo" / name, folder / name)
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        write = csv.DictWriter(file, ["text", "label", "slice"])
        write.writeheader()
        write.writerows(rows())
    (folder / "c.yaml").write_text(json.dumps(SMALL | {"texts": texts}), encoding="utf-8")
    out = folder / "out"
    command = ["interpret", "audit", str(folder / "tuned"), str(folder / "data.csv"), "--device", "cpu"]
    command += ["--base", str(folder / "base")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [*command, "--config", str(folder / "c.yaml"), "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            interpret_lm_cli.main()
    assert ended.value.code == 0
    reports.render(Audit.load(out), out / "report.zh.html", "zh")
    (out / "report.txt").write_text(reports.text(Audit.load(out)), encoding="utf-8")
    return texts, out


def test_no_word_of_the_data_is_in_any_file(written: tuple[str, Path]) -> None:
    texts, out = written
    found = set()
    names = {path.name for path in out.iterdir()}
    assert names >= {"audit.json", "arrays.safetensors", "run.json", "report.html", "report.zh.html", "report.txt"}
    for path in out.iterdir():
        content = path.read_bytes()
        shown = content.decode("utf-8", "replace").casefold()
        if path.suffix == ".json":
            shown += " ".join(strings(json.loads(content))).casefold()
        found |= {word for word in SECRET if word in shown or word.encode("unicode_escape").decode() in shown}
    # The same search finds every one of them where texts are kept.
    assert found == (set(SECRET) if texts == "full" else set())


def test_no_array_holds_the_texts_in_another_alphabet(written: tuple[str, Path]) -> None:
    texts, out = written
    lm = interpret.load(ROOT / "interpret" / "demo" / "tuned", device="cpu")
    ids = {i for row in rows() for i in lm.handle.tokenizer(row["text"], add_special_tokens=False)["input_ids"]}
    audit = Audit.load(out)
    stored = [case.attribution.token_ids for case in audit.cases]
    held = set(np.concatenate(stored).tolist())
    if texts == "full":
        assert len(held & ids) > 10
    else:
        assert held <= {-1}
        integers = load_file(out / "arrays.safetensors").get("int64", np.zeros(0, dtype=np.int64)).tolist()
        # What is left are places and word numbers, all small, in their own order.
        assert max(integers, default=0) < 500
    pieces = {token for case in audit.cases for token in case.attribution.tokens}
    if texts == "masked":
        assert pieces == {MASK, "[CLS]", "[SEP]"}
    if texts == "ids":
        assert pieces == set()


def test_private_parts_of_paths_never_appear(written: tuple[str, Path]) -> None:
    _, out = written
    for path in out.iterdir():
        content = path.read_bytes()
        for secret in (b"PRIVATE", str(out.parent).encode(), str(Path.home()).encode() + b"/"):
            assert secret not in content, path.name


def test_the_choice_is_printed_in_section_3(written: tuple[str, Path]) -> None:
    texts, out = written
    audit = Audit.load(out)
    assert audit.data.texts == audit.config["texts"] == texts
    said = {"full": "kept as they are", "masked": "masked: the same", "ids": "left out: cases are told"}[texts]
    section = (out / "report.txt").read_text(encoding="utf-8").split("\n3. Data")[1].split("\n4. ")[0]
    assert f"Texts in this audit {said}" in " ".join(section.split())


def test_the_numbers_are_those_of_the_audit_with_texts(tmp_path: Path) -> None:
    lm = interpret.load(ROOT / "interpret" / "demo" / "tuned", device="cpu")
    whole, hidden, bare = (
        interpret.audit(lm, rows(), config=SMALL | {"texts": texts}, progress=False)
        for texts in ("full", "masked", "ids")
    )
    for other in (hidden, bare):
        assert other.performance is not None
        assert whole.performance is not None
        assert other.performance.to_dict() == whole.performance.to_dict()
        assert other.explanation_quality is not None
        assert whole.explanation_quality is not None
        assert other.explanation_quality.to_dict() == whole.explanation_quality.to_dict()
        assert [c.row for c in other.cases] == [c.row for c in whole.cases]
        assert [w.mean_score for w in other.global_attribution] == [w.mean_score for w in whole.global_attribution]
        assert whole.global_attribution
        assert all(w.word.startswith(MASK) for w in other.global_attribution)
    for case, same in zip(hidden.cases, whole.cases, strict=True):
        assert [w.score for w in case.attribution.words()] == [w.score for w in same.attribution.words()]
        assert {w.word for w in case.attribution.words()} == {MASK}
        # Words are not told apart by their length, nor the text by its spaces and marks.
        assert set(case.attribution.text) <= {MASK[0], " "}


@pytest.mark.parametrize("texts", ["masked", "ids"])
def test_the_answers_of_a_language_model_are_text_too(texts: str, tmp_path: Path) -> None:
    lm = interpret.attach(*tiny("gpt2", "causal-lm"))
    config = SMALL | {"compared_methods": "", "explained": 8, "texts": texts}
    audit = interpret.audit(lm, [{"text": text} for text in TEXTS], config=config, progress=False)
    assert audit.cases
    for case in audit.cases:
        assert case.prediction == MASK
        assert case.attribution.target.index is None
        assert case.attribution.target.label in (None, MASK)
    for word in audit.global_attribution:
        assert word.label.startswith(MASK)
    reports.render(audit, tmp_path / "r.html")


def test_both_texts_of_a_pair_are_masked() -> None:
    text = "a first text\nand a second"
    example = replace(sample.example(text), pair_start=text.index("and"))
    found = masked(example)
    assert found.text == f"{MASK} {MASK} {MASK}\n{MASK} {MASK} {MASK}"
    assert found.pair_start == found.text.index("\n") + 1
    assert [w.word for w in found.words()] == [MASK] * 6


def test_every_field_of_an_audit_was_looked_at() -> None:
    """Whoever adds a field to `Audit` decides what becomes of the texts in it, in `interpret/auditing/privacy.py`."""
    assert {field.name for field in fields(Audit)} == REVIEWED


def test_an_unknown_choice_is_refused_and_full_changes_nothing() -> None:
    lm = interpret.attach(*tiny("bert"))
    with pytest.raises(UsageError, match="config texts must be one of full, masked, ids, found 'none'"):
        interpret.audit(lm, [{"text": "good"}], config={"texts": "none"})
    whole = sample.full()
    assert withhold(whole, "full").to_dict() == whole.to_dict()
