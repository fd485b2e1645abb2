"""Linear layers redirected to another kernel: the same numbers, or the usual way."""

from __future__ import annotations

from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from interpret.analyzers.attribution import attribute
from interpret.models import kernels
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests.tiny import TEXTS, wordpiece

linear = nn.functional.linear
has_one_dnn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN, so nothing is redirected"
)


class Counted:
    """A kernel that counts its calls and may be wrong on purpose."""

    def __init__(self, factor: float = 1.0) -> None:
        self.calls, self.factor = 0, factor

    def __call__(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        self.calls += 1
        return kernels._linear(inputs, weight, bias) * self.factor


def operands(rows: int = 40, d_in: int = 192, d_out: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    made = [torch.randn(*size, generator=generator) for size in ((2, rows // 2, d_in), (d_out, d_in), (d_out,))]
    return made[0], made[1], made[2]


@has_one_dnn
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_the_product_in_double_precision(with_bias: bool) -> None:
    inputs, weight, bias = operands()
    given = bias if with_bias else None
    exact = inputs.double() @ weight.double().T + (bias.double() if with_bias else 0)
    kernel = Counted()
    with kernels._Redirected(kernel):
        for _ in range(3):
            torch.testing.assert_close(linear(inputs, weight, given).double(), exact, rtol=1e-5, atol=1e-4)
    assert kernel.calls == 3


@has_one_dnn
def test_weights_are_laid_out_from_the_second_call_on_anew_when_changed_and_as_far_as_there_is_room() -> None:
    inputs, weight, bias = operands()
    with kernels._Redirected(Counted()) as redirected:
        linear(inputs, weight, bias)
        for _ in range(4):
            found = linear(inputs, weight, bias)
        assert redirected.room == kernels._LAID_OUT - weight.nbytes
        torch.testing.assert_close(found.double(), inputs.double() @ weight.double().T + bias, rtol=1e-5, atol=1e-4)
        weight.mul_(3)
        for _ in range(4):
            found = linear(inputs, weight, bias)
            torch.testing.assert_close(found.double(), inputs.double() @ weight.double().T + bias, rtol=1e-5, atol=1e-4)
        redirected.room = 0
        other = weight.clone()
        for _ in range(4):
            linear(inputs, other, bias)
        assert redirected.room == 0
        with torch.inference_mode():
            other = weight.clone()
            for _ in range(4):
                assert torch.equal(linear(inputs, other, bias), found)


@has_one_dnn
def test_weights_that_are_made_anew_at_each_call_are_not_held() -> None:
    inputs, weight, bias = operands()
    made = []
    with kernels._Redirected(Counted()) as redirected:
        for scale in range(1, 9):
            scaled = weight * scale
            made.append(ref(scaled))
            found = linear(inputs, scaled, bias)
            exact = inputs.double() @ (scale * weight.double()).T + bias
            torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)
            del scaled
        assert [one() for one in made] == [None] * 8
        assert redirected.room == kernels._LAID_OUT


@has_one_dnn
def test_gradient_of_the_inputs_equals_the_product_in_double_precision() -> None:
    inputs, weight, bias = operands()
    inputs.requires_grad_()
    with kernels._Redirected(Counted()):
        for _ in range(2):
            (found,) = torch.autograd.grad(linear(inputs, weight, bias).pow(2).sum(), inputs)
    y = inputs.detach().double() @ weight.double().T + bias.double()
    torch.testing.assert_close(found.double(), 2 * y @ weight.double(), rtol=1e-4, atol=1e-2)


@has_one_dnn
@pytest.mark.parametrize("n", [16, 31, 32, 255, 256, 257, 300, 511, 513, 1000])
def test_in_blocks_of_rows_the_result_is_the_same(n: int) -> None:
    inputs, weight, bias = operands(rows=2 * n)
    whole = kernels._one_block(inputs.reshape(-1, inputs.shape[-1]), weight, bias)
    torch.testing.assert_close(kernels._one_dnn(inputs, weight, bias), whole.view(2, n, -1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kernels._one_dnn(inputs[0], weight, bias), whole[:n], rtol=1e-5, atol=1e-5)
    # As a backward calls it: the weight transposed, no bias, and a gradient that is one number spread out.
    spread = torch.ones(()).expand(2, n, len(weight))
    expected = kernels._one_block(torch.ones(2 * n, len(weight)), weight.t(), None)
    torch.testing.assert_close(
        kernels._one_dnn(spread, weight.t(), None), expected.view(2, n, -1), rtol=1e-5, atol=1e-5
    )


@has_one_dnn
@pytest.mark.parametrize(("threads", "shapes"), [(1, 8), (2, 16), (16, 40)])
def test_few_numbers_of_rows_reach_the_kernel(threads: int, shapes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, int] = {}
    real = kernels._one_block

    def one_block(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen[len(rows)] = seen.get(len(rows), 0) + 1
        return real(rows, weight, bias)

    monkeypatch.setattr(kernels, "_one_block", one_block)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inputs, weight, bias = operands(rows=4000, d_in=16, d_out=16)
    reached: set[int] = set()
    whole = real(inputs[0], weight, bias)
    for n in range(16, 2000, 11):
        torch.testing.assert_close(kernels._one_dnn(inputs[0, :n], weight, bias), whole[:n], rtol=1e-5, atol=1e-5)
        n_run = sum(size * times for size, times in seen.items())
        assert n <= n_run <= max(n + kernels._LEAST_STEP, n * 9 / 8 + 1)
        reached |= set(seen)
        seen.clear()
    assert len(reached) <= shapes


@has_one_dnn
def test_a_kernel_that_is_wrong_is_found_at_its_first_call_and_not_used() -> None:
    inputs, weight, bias = operands()
    wrong = Counted(factor=1.01)
    plain = linear(inputs, weight, bias)
    with kernels._Redirected(wrong):
        for _ in range(3):
            assert torch.equal(linear(inputs, weight, bias), plain)
    assert wrong.calls == 1


def cases() -> dict[str, tuple[Any, ...]]:
    inputs, weight, bias = operands()
    return {
        "double": (inputs.double(), weight.double(), bias.double()),
        "half": (inputs.bfloat16(), weight.bfloat16(), bias.bfloat16()),
        "small": (inputs[..., :8].contiguous(), weight[:8, :8].contiguous(), bias[:8]),
        "few rows": (inputs[:1, :3].contiguous(), weight, bias),
        "no rows": (inputs[:, :0], weight, bias),
        "strided": (inputs.transpose(0, 1), weight, bias),
        "trained weight": (inputs, nn.Parameter(weight), bias),
        "one vector": (inputs[0, 0], weight, bias),
    }


@pytest.mark.parametrize("case", cases())
def test_everything_else_goes_the_usual_way(case: str) -> None:
    given = cases()[case]
    kernel = Counted()
    plain = linear(*given)
    with kernels._Redirected(kernel):
        assert torch.equal(linear(*given), plain)
    assert kernel.calls == 0


def test_other_processors_devices_and_compiled_models_keep_the_usual_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_made_by_amd", lambda: False)
    kernels._kernel.cache_clear()
    try:
        assert kernels._kernel() is None
    finally:
        kernels._kernel.cache_clear()
    used = Counted()
    monkeypatch.setattr(kernels, "_kernel", lambda: used)
    handle = wide_bert()
    handle.model.bert._compiled_call_impl = lambda *a, **k: None
    with kernels.fast_linear(handle):
        linear(*operands())
    assert used.calls == 0


@has_one_dnn
def test_within_another_block_a_wrong_kernel_is_found_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, given = wide_bert(), operands()
    plain = linear(*given)
    wrong = Counted(factor=1.01)
    monkeypatch.setattr(kernels, "_kernel", lambda: wrong)
    with kernels.fast_linear(handle), kernels.fast_linear(handle):
        assert torch.equal(linear(*given), plain)
        assert torch.equal(linear(*given), plain)
    assert wrong.calls == 1
    right = Counted()
    monkeypatch.setattr(kernels, "_kernel", lambda: right)
    with pytest.raises(ZeroDivisionError), kernels.fast_linear(handle):
        raise ZeroDivisionError
    with kernels.fast_linear(handle):
        linear(*given)
    assert right.calls == 1


def wide_bert() -> Any:
    torch.manual_seed(0)
    tokenizer = wordpiece()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        pad_token_id=tokenizer.pad_token_id,
    )
    return attach_handle(BertForSequenceClassification(config), tokenizer)


@has_one_dnn
@pytest.mark.parametrize("method", ["shap", "leave_one_out", "integrated_gradients", "gradient_x_input"])
def test_attributions_are_those_of_the_usual_kernel(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = wide_bert()
    before = {name: tensor.clone() for name, tensor in handle.model.state_dict().items()}
    encoded = encode(handle, TEXTS)
    monkeypatch.setattr(kernels, "_kernel", lambda: None)
    plain = attribute(handle, encoded, method=method)
    kernel = Counted()
    monkeypatch.setattr(kernels, "_kernel", lambda: kernel)
    fast = attribute(handle, encoded, method=method)
    assert kernel.calls > 4
    for one, other in zip(plain.examples, fast.examples, strict=True):
        scale = abs(one.scores).max()
        assert abs(one.scores - other.scores).max() <= 1e-3 * scale
    assert all(torch.equal(tensor, before[name]) for name, tensor in handle.model.state_dict().items())
