from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from interpret.errors import MissingFileError, StoreError, UsageError
from interpret.results import audits
from interpret.results.audits import Audit, RunInfo
from interpret.results.explanations import Attribution, ExampleAttribution, TargetRecord
from interpret.results.record import Estimate, Message, Record, Scalar
from interpret.results.store import load_record, save_record, to_plain


class Point(NamedTuple):
    name: str
    at: tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Inner:
    text: str
    value: float | None
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sample(Record):
    kind: Literal["a", "b"]
    inner: tuple[Inner, ...]
    options: Mapping[str, Scalar]
    by_id: Mapping[int, str]
    points: tuple[Point, ...]
    flags: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    best: Point | None = None
    why: Message | None = None
    extra: tuple[int, ...] = field(default=())


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
floats64 = hnp.arrays(np.float64, shapes, elements=finite)
points = st.builds(Point, texts, st.tuples(st.integers(), finite))
samples = st.builds(
    Sample,
    kind=st.sampled_from(["a", "b"]),
    inner=st.lists(st.builds(Inner, text=texts, value=st.none() | finite, weights=floats64), max_size=3).map(tuple),
    options=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | finite | texts, max_size=3),
    by_id=st.dictionaries(st.integers(), texts, max_size=3),
    points=st.lists(points, max_size=2).map(tuple),
    flags=hnp.arrays(np.bool_, shapes),
    counts=hnp.arrays(np.int64, shapes),
    best=st.none() | points,
    why=st.none() | st.builds(Message, code=texts, params=st.dictionaries(texts, finite, max_size=2)),
    extra=st.lists(st.integers(), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=samples)
def test_round_trip_gives_the_same_record_and_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, record: Sample
) -> None:
    first = tmp_path_factory.mktemp("first")
    second = tmp_path_factory.mktemp("second")
    record.save(first)
    back = Sample.load(first)
    assert equal(record, back)
    back.save(second)
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def sample(**changes: Any) -> Sample:
    plain: dict[str, Any] = {
        "kind": "a",
        "inner": (Inner(text="好 \u2028 <b>", value=0.1, weights=np.arange(6.0).reshape(2, 3)),),
        "options": {"steps": 50, "exact": True, "name": None},
        "by_id": {1: "one", -2: "two"},
        "points": (Point("p", (1, 2.0)),),
        "flags": np.array([True, False]),
        "counts": np.array([[1, 2]], dtype=np.int64),
    }
    return Sample(**{**plain, **changes})


def attribution() -> Attribution:
    example = ExampleAttribution(
        text="很好 good",
        tokens=("[CLS]", "很", "好", "good"),
        token_ids=np.array([101, 5, 6, 7]),
        scores=np.array([0.0, 0.25, -1.5, 3.0]),
        word_index=np.array([-1, 0, 1, 2]),
        char_spans=np.array([[0, 0], [0, 1], [1, 2], [3, 7]]),
        special=np.array([True, False, False, False]),
        target=TargetRecord(kind="class", index=1, label="pos"),
        method="gradient_x_input",
    )
    return Attribution(examples=(example,), method="gradient_x_input", options={"n": 3})


def audit(**changes: Any) -> Audit:
    identity = audits.Identity(
        name="m",
        revision=None,
        adapter=None,
        family="bert",
        architecture="BertForSequenceClassification",
        task="text-classification",
        labels=("neg", "pos"),
        n_parameters=1,
        n_layers=1,
        n_heads=1,
        d_model=8,
        max_length=16,
        attn_implementation="sdpa",
        saved_dtype="float32",
        run_dtype="float32",
        device="cpu",
        weights_sha256_before="0" * 64,
        weights_sha256_after="0" * 64,
        capture_logit_difference=0.0,
        config_sha256="1" * 64,
        tokenizer_sha256="2" * 64,
        config_sha256_after="1" * 64,
        tokenizer_sha256_after="2" * 64,
        remote_code=False,
        quantisation=None,
        base_name=None,
        base_weights_sha256=None,
        versions={"torch": "2"},
    )
    data = audits.DataSummary(
        name="d.csv",
        sha256="3" * 64,
        n_rows=2,
        n_used=2,
        sampled=False,
        sampling_seed=None,
        text_column="text",
        label_column="label",
        mapping=audits.LabelMapping(rule="name", pairs={"neg": 0}, names={"neg": "neg"}),
        label_counts={"neg": 2},
        slice_counts={},
        n_truncated=0,
        n_empty=0,
        n_duplicates=0,
        bad_rows=(),
        length_quantiles={"50": 3},
        scripts={"latin": 1.0},
    )
    performance = audits.Performance(
        metrics=(Estimate(name="accuracy", value=0.5, ci_low=0.1, ci_high=0.9, n=2, interval="wilson"),),
        calibration_error=Estimate(name="ece", value=None, why=Message(code="too_few")),
        confusion=np.array([[1, 1], [0, 0]]),
        labels=("neg", "pos"),
        majority_rate=1.0,
    )
    case = audits.Case(
        row=0,
        rule="random",
        label="neg",
        prediction="pos",
        confidence=0.7,
        slice=None,
        attribution=attribution()[0],
    )
    values: dict[str, Any] = {
        "title": "T",
        "identity": identity,
        "data": data,
        "performance": performance,
        "comparison": None,
        "global_attribution": (),
        "explanation_quality": None,
        "cases": (case,),
        "attention": None,
        "probes": None,
        "check_rows": (),
        "coverage": (audits.Coverage(section="probes", status="not_run"),),
        "config": {"n_random": 200, "标题": "审"},
        "seed": 0,
        "command": "interpret audit m d.csv",
        "run": RunInfo(started="2024-01-01", seconds={"all": 1.5}, machine="here"),
    }
    return Audit(**{**values, **changes})


def test_arrays_lie_in_safetensors_and_json_holds_references(tmp_path: Path) -> None:
    sample().save(tmp_path)
    stored = json.loads((tmp_path / "sample.json").read_text("utf-8"))
    assert stored["kind"] == "sample"
    assert stored["schema"] == 1
    assert stored["record"]["inner"][0]["weights"] == {"$array": ["float64", 0, [2, 3]]}
    text = (tmp_path / "sample.json").read_bytes()
    assert "好".encode() in text
    assert text.endswith(b"}\n")
    assert b"\r" not in text
    header = (tmp_path / "sample.safetensors").read_bytes()
    assert b"__metadata__" not in header


def test_to_plain_is_json_with_nested_lists() -> None:
    plain = sample().to_dict()
    assert plain["counts"] == [[1, 2]]
    assert plain["points"] == [["p", [1, 2.0]]]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"options": {"lr": float("nan")}}, "Sample.options['lr']"),
        ({"inner": (Inner(text="", value=float("inf"), weights=np.zeros(1)),)}, "Sample.inner[0].value"),
        ({"inner": (Inner(text="", value=0.0, weights=np.array([np.nan])),)}, "Sample.inner[0].weights"),
        ({"flags": np.array(["text"])}, "Sample.flags"),
        ({"options": {"lr": {1, 2}}}, "Sample.options['lr']"),
    ],
)
def test_what_has_no_stored_form_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(StoreError) as caught:
        sample(**changes).save(tmp_path)
    assert str(caught.value).startswith(where)
    with pytest.raises(StoreError):
        to_plain(sample(**changes))
    assert list(tmp_path.iterdir()) == []


def test_lone_surrogates_are_replaced_and_counted(tmp_path: Path) -> None:
    record = sample(options={"a\ud800": "b\udfff\udfff"})
    record.save(tmp_path)
    assert Sample.load(tmp_path).options == {"a\ufffd": "b\ufffd\ufffd"}
    assert json.loads((tmp_path / "sample.json").read_text("utf-8"))["n_replaced_surrogates"] == 3


def test_keys_that_become_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="two keys"):
        sample(options=dict.fromkeys(map(chr, (0xD800, 0xD801)), 1)).save(tmp_path)


def test_a_record_without_arrays_leaves_no_arrays_behind(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Sample:
        x: int

    sample().save(tmp_path)
    save_record(Sample(1), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample.json"]
    assert load_record(Sample, tmp_path) == Sample(1)


def test_records_of_two_kinds_live_in_one_folder(tmp_path: Path) -> None:
    sample().save(tmp_path)
    attribution().save(tmp_path)
    sample().save(tmp_path)
    assert equal(Sample.load(tmp_path), sample())
    assert equal(Attribution.load(tmp_path), attribution())


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="name a folder"):
        sample().save(tmp_path / "file")
    with pytest.raises(MissingFileError, match="name its folder"):
        Sample.load(tmp_path / "file")


def test_missing_folder_and_missing_kind_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        Sample.load(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="no record"):
        Sample.load(tmp_path)
    attribution().save(tmp_path)
    with pytest.raises(MissingFileError, match=r"holds attribution\.json"):
        Sample.load(tmp_path)


def edit(path: Path, change: Any) -> None:
    stored = json.loads(path.read_text("utf-8"))
    change(stored)
    path.write_text(json.dumps(stored), "utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(schema=99), "schema 99"),
        (lambda s: s.update(kind="audit"), "kind 'audit'"),
        (lambda s: s.pop("record"), "lacks schema, kind or record"),
        (lambda s: s["record"].pop("kind"), "lacks the field 'kind'"),
        (lambda s: s["record"].update(new=1), "unknown field 'new'"),
        (lambda s: s["record"].update(kind="c"), "expected one of 'a', 'b'"),
        (lambda s: s["record"].update(points=3), "expected a list"),
        (lambda s: s["record"].update(points=[["p", [1, "2"]]]), r"Sample.points\[0\].at\[1\] is str"),
        (lambda s: s["record"].update(points=[["p"]]), "has 1 entries, expected 2"),
        (lambda s: s["record"].update(counts=[1]), "not a reference to an array"),
        (lambda s: s["record"].update(counts={"$array": ["int64", 1, [5]]}), "lies outside"),
        (lambda s: s["record"].update(counts={"$array": ["int64", 0, [-1]]}), "impossible shape"),
        (lambda s: s["record"].update(counts={"$array": ["int8", 0, [1]]}), "of which"),
        (lambda s: s["record"].update(by_id={"x": "y"}), "expected an integer"),
        (
            lambda s: s["record"]["inner"][0].update(text=None),
            "Sample.inner.0..text is NoneType, expected str",
        ),
        (lambda s: s["record"].update(extra=[True]), "is bool, expected int"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Any, said: str) -> None:
    sample().save(tmp_path)
    edit(tmp_path / "sample.json", change)
    with pytest.raises(StoreError, match=said):
        Sample.load(tmp_path)


def test_inconsistent_values_are_a_store_error(tmp_path: Path) -> None:
    attribution().save(tmp_path)
    edit(tmp_path / "attribution.json", lambda s: s["record"]["examples"][0]["tokens"].pop())
    with pytest.raises(StoreError, match="not consistent"):
        Attribution.load(tmp_path)


def test_damaged_bytes_are_named(tmp_path: Path) -> None:
    sample().save(tmp_path)
    arrays = tmp_path / "sample.safetensors"
    good = arrays.read_bytes()
    arrays.write_bytes(good[:-1] + b"\x07")
    with pytest.raises(StoreError, match="SHA-256"):
        Sample.load(tmp_path)
    arrays.unlink()
    with pytest.raises(StoreError, match="missing"):
        Sample.load(tmp_path)
    (tmp_path / "sample.json").write_bytes(b'{"kind": ')
    with pytest.raises(StoreError, match="damaged"):
        Sample.load(tmp_path)


def test_audit_round_trip_and_its_files(tmp_path: Path) -> None:
    audit().save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["audit.json", "arrays.safetensors", "audit.resolved.yaml", "run.json", "SHA256SUMS"]
    )
    assert equal(Audit.load(tmp_path), audit())
    assert b"2024-01-01" not in (tmp_path / "audit.json").read_bytes()
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line[66:] for line in lines] == ["arrays.safetensors", "audit.json", "audit.resolved.yaml"]
    for line in lines:
        assert hashlib.sha256((tmp_path / line[66:]).read_bytes()).hexdigest() == line[:64]
    assert "标题: 审" in (tmp_path / "audit.resolved.yaml").read_text("utf-8")


def test_time_and_place_do_not_change_the_digest(tmp_path: Path) -> None:
    audit().save(tmp_path / "a")
    audit(run=RunInfo(started="later", machine="there")).save(tmp_path / "b")
    assert (tmp_path / "a" / "SHA256SUMS").read_bytes() == (tmp_path / "b" / "SHA256SUMS").read_bytes()


def test_a_changed_audit_is_found_and_a_missing_run_is_not_missed(tmp_path: Path) -> None:
    audit().save(tmp_path)
    (tmp_path / "run.json").unlink()
    assert Audit.load(tmp_path).run == RunInfo()
    edit(tmp_path / "audit.json", lambda s: s["record"].update(title="Better"))
    with pytest.raises(StoreError, match=r"audit\.json is damaged or was changed"):
        Audit.load(tmp_path)


def test_verification_cannot_be_switched_off_by_removing_checksums(tmp_path: Path) -> None:
    audit().save(tmp_path)
    whole = (tmp_path / "SHA256SUMS").read_text()
    shorter = "".join(line for line in whole.splitlines(keepends=True) if "resolved" not in line)
    (tmp_path / "SHA256SUMS").write_text(shorter)
    with pytest.raises(StoreError, match="but a saved audit lists"):
        Audit.load(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(StoreError, match="is missing"):
        Audit.load(tmp_path)


def test_a_failed_save_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample().save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    real = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        if ".safetensors" in self.name:
            raise OSError("no space left")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        sample(kind="b").save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_only_records_are_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only records"):
        save_record({"a": 1}, tmp_path)
