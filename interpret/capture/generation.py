"""Captures of text that the model writes: of the finished text by default, or step by step while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from interpret.capture.capture import MAX_BYTES, capture_texts, capturing
from interpret.capture.tensors import Capture
from interpret.errors import RunError, UsageError
from interpret.models.batching import Row, collate, out_of_memory, run_batches
from interpret.models.handle import Handle, Task
from interpret.models.inputs import Encoded, continued
from interpret.models.state import untouched

_WRITES: Final[tuple[Task, ...]] = ("causal-lm", "seq2seq-lm")
#: Options of `generate` that this module answers for itself.
_OURS: Final = ("input_ids", "attention_mask", "num_return_sequences", "return_dict_in_generate", "pad_token_id")


def capture_generated(
    handle: Handle,
    prompts: Sequence[Encoded],
    sites: Sequence[str] | str,
    *,
    max_new_tokens: int = 20,
    live: bool = False,
    seed: int = 0,
    generation: dict[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
    progress: str | None = None,
    **options: Any,
) -> Capture:
    """Let the model go on from prompts, and capture what it did.

    By default the finished texts are run once more without a cache: one row for each prompt, all positions, as any
    other text. That equals what the steps computed up to rounding, and works with every way to choose words, beams
    included. With `live` each step is captured as it runs, one row for each prompt and step (`capture.example`,
    `capture.step`), the queries of that step against all keys so far; all prompts run in one batch.

    Args:
        handle: the attached model, a causal one or an encoder-decoder that reads text.
        prompts: what it goes on from; of encoder-decoders what the encoder reads.
        sites: written as for `capturing`.
        max_new_tokens: written at most.
        live: capture the steps.
        seed: of the words drawn, where `generation` asks for sampling; the user's random stream is left alone.
        generation: further options of transformers' `generate`.
        max_bytes: as for `capture_texts`.
        progress: label of a progress bar on stderr.
        options: `mode`, `edits`, `heads`, `queries`, `summary` and `k`, as for `capturing`. Edits act on the capture,
            not on the choice of words, unless `live`.

    Returns:
        The capture. `encoded` holds prompt and continuation (of encoder-decoders the prompt), `n_prompt` how many
        tokens of each example are the prompt.

    Raises:
        UsageError: a model that writes no text, beams with `live`, or an option that is answered here.
    """
    generation = dict(generation or {})
    _check(handle, generation, live)
    if not prompts:
        raise UsageError("there is no prompt to go on from; give at least one")
    generation = {"do_sample": False, **generation, "max_new_tokens": max_new_tokens}
    rows = [Row(prompt.ids, prompt.type_ids) for prompt in prompts]
    if live:
        return _live(handle, prompts, rows, sites, seed, generation, options)
    written = write(handle, rows, seed=seed, generation=generation, progress=progress)
    if handle.task == "seq2seq-lm":
        targets = [continued(handle, None, ids) for ids in written]
        capture = capture_texts(handle, prompts, sites, targets=targets, max_bytes=max_bytes, **options)
        capture.n_prompt = (1,) * len(prompts)
        return capture
    texts = [continued(handle, prompt, ids) for prompt, ids in zip(prompts, written, strict=True)]
    capture = capture_texts(handle, texts, sites, max_bytes=max_bytes, **options)
    capture.n_prompt = tuple(len(prompt.ids) for prompt in prompts)
    return capture


def write(
    handle: Handle, rows: Sequence[Row], *, seed: int, generation: dict[str, Any], progress: str | None = None
) -> list[tuple[int, ...]]:
    """What the model writes after each prompt, up to the end token; of an encoder-decoder all its decoder read.

    Raises:
        UsageError: a model that writes no text, or an option that is answered here.
    """
    _check(handle, generation, False)
    written: list[tuple[int, ...]] = [()] * len(rows)

    def step(batch: dict[str, torch.Tensor], indices: list[int]) -> list[tuple[int, ...]]:
        return _written(handle, [rows[index] for index in indices], seed, generation)

    for indices, found in run_batches(handle, rows, step, progress=progress):
        for index, ids in zip(indices, found, strict=True):
            written[index] = ids
    return written


def write_together(handle: Handle, rows: Sequence[Row], *, seed: int, generation: dict[str, Any]) -> tuple[int, ...]:
    """What an encoder-decoder writes of several windows of one text: at each step by the mean of their logits.

    All windows run in one batch, since each step needs them all: it cannot be halved. What is returned is as for
    `write`.

    Raises:
        UsageError: a model that writes no text, or an option that is answered here.
        RunError: the windows do not fit into memory together.
    """
    _check(handle, generation, False)
    both = LogitsProcessorList([_MeanOverRows()])
    try:
        with untouched(handle.model, handle.tokenizer):
            found = _written(handle, rows, seed, {**generation, "logits_processor": both})
    except RuntimeError as err:
        if not out_of_memory(err):
            raise
        raise RunError(
            f"{len(rows)} windows of one text do not fit into the memory of {handle.device} together, and each token "
            "that is written is chosen over all of them; give what was written (response=), fewer windows (a smaller "
            "doc_stride or a shorter text), or use another device"
        ) from err
    return found[0]


class _MeanOverRows(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Every row chooses by the mean of all, so that all write the same; last in line, behind the model's own."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.mean(dim=0, keepdim=True).expand_as(scores)


def _check(handle: Handle, generation: dict[str, Any], live: bool) -> None:
    generates = getattr(handle.core, "can_generate", lambda: False)()
    if handle.task not in _WRITES or not generates or handle.stacks[0].layout.modality != "text":
        raise UsageError(
            f"{handle.name} ({handle.architecture}) does not go on from texts; causal language models do, "
            "and encoder-decoders that read text, others are captured with capturing() around their own call"
        )
    ours = [name for name in _OURS if name in generation]
    if ours:
        raise UsageError(f"{', '.join(ours)} of generate is set here, one continuation for each prompt; leave it out")
    defaults = getattr(handle.core, "generation_config", None)
    beams = generation.get("num_beams", getattr(defaults, "num_beams", None)) or 1
    if live and beams > 1:
        raise UsageError(
            f"num_beams={beams} runs each prompt {beams} times and reorders the batch between steps, so a step belongs "
            "to no prompt; leave out live=True to capture the finished text, or use num_beams=1"
        )


def _written(handle: Handle, rows: Sequence[Row], seed: int, generation: dict[str, Any]) -> list[tuple[int, ...]]:
    """The tokens that were written after each prompt, up to the end token; of a decoder all it read."""
    model: Any = handle.model
    batch = collate(handle, rows, side="left" if handle.task == "causal-lm" else "right")
    batch.pop("token_type_ids", None)
    if handle.task == "seq2seq-lm":
        # What only the tokenizer says, such as the language to write.
        opening = handle.opening
        told = {"decoder_start_token_id": opening.start, "forced_bos_token_id": opening.forced}
        generation = {**{name: told[name] for name in opening.from_tokenizer}, **generation}
    torch.manual_seed(seed)
    with torch.no_grad():
        found = model.generate(**batch, **generation, pad_token_id=handle.pad_id or 0)
    start = batch["input_ids"].shape[1] if handle.task == "causal-lm" else 0
    return [_until_end(handle, row[start:].tolist()) for row in found.cpu()]


def _until_end(handle: Handle, ids: list[int]) -> tuple[int, ...]:
    """Without the pads that fill up what ended early."""
    ends = _ends(handle)
    # The first token of a decoder may be the end token of another use.
    first = 1 if handle.task == "seq2seq-lm" else 0
    last = next((at for at, token in enumerate(ids) if at >= first and token in ends), len(ids) - 1)
    return tuple(ids[: last + 1])


def ended(handle: Handle, written: Sequence[int]) -> bool:
    """Whether the model ended there, so that it would write no more."""
    return written[-1] in _ends(handle)


def _ends(handle: Handle) -> set[int]:
    end: Any = getattr(getattr(handle.core, "generation_config", None), "eos_token_id", None)
    return set(end) if isinstance(end, list) else {end} - {None}


def _live(
    handle: Handle,
    prompts: Sequence[Encoded],
    rows: Sequence[Row],
    sites: Sequence[str] | str,
    seed: int,
    generation: dict[str, Any],
    options: dict[str, Any],
) -> Capture:
    written = [sites] if isinstance(sites, str) else list(sites)
    with untouched(handle.model, handle.tokenizer), capturing(handle, *written, **options) as capture:
        _written(handle, rows, seed, generation)
    capture.n_prompt = tuple(len(prompts[example].ids) for example in capture.example)
    return capture
