"""`AttachedModel`: what a user holds; every method hands over to the part of the package that does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from interpret.analyzers.attribution import attribute, attribute_capture
from interpret.analyzers.attribution.context_cite import cite
from interpret.analyzers.attribution.each import targets_of_each
from interpret.analyzers.faithfulness import quality_auto, with_quality
from interpret.capture.attention import Mode
from interpret.capture.capture import MAX_BYTES, Capture, capture_batches, capture_texts, sites_frame
from interpret.capture.capture import capturing as capturing_sites
from interpret.capture.edits import Edit
from interpret.capture.generation import capture_generated
from interpret.capture.proof import Proof
from interpret.capture.reduction import Summary
from interpret.capture.store import Store
from interpret.capture.store import capture_to as capture_to_store
from interpret.errors import UsageError
from interpret.facade.attributing import AttributionFiles
from interpret.facade.attributing import attribute_to as attribute_to_files
from interpret.models.adapters import without_adapter
from interpret.models.chats import split_answers
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, LongText, Text, encode, encode_targets
from interpret.models.processors import batches_of
from interpret.models.units import Segmenter, Unit, UnitSpans
from interpret.readers.chats import Chat, is_chat
from interpret.readers.texts import read_texts
from interpret.results.matrices import AttributionMatrix

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.explanations import Attribution


class Kept(TypedDict, total=False):
    """What is kept of attention, and what is changed while the model runs.

    mode: how attention patterns are had: "auto" beside the model's own implementation; "eager" changes the numerics
        and is recorded.
    edits: `interpret.Edit`s, made in the order given before anything is read.
    heads: keep only these heads of attention patterns and scores.
    queries: keep only these query positions, counted among the tokens of each example; -1 is the last.
    summary: instead of each row of a pattern its "entropy" in nats, its "top_k" largest weights, or the "mean" over
        heads; a long text then never needs its whole pattern in memory.
    k: how many weights "top_k" keeps.
    """

    mode: Mode
    edits: Sequence[Edit]
    heads: Sequence[int] | None
    queries: Sequence[int] | None
    summary: Summary | None
    k: int


class Capturing(Kept, total=False):
    """As `Kept`, and what makes sense for forwards of one's own only.

    grad: keep captured tensors in the graph; pads are then not blanked and one forward is captured.
    stop: end the forward after the last site, and with it the block.
    """

    grad: bool
    stop: bool


class AttachedModel:
    """A model somebody already holds, with its sites known and proven. It is never changed.

    Attributes:
        handle: the resolved model (internal, may change between versions).
        proof: what was checked when the model was attached.
    """

    def __init__(self, handle: Handle, proof: Proof) -> None:
        self.handle = handle
        self.proof = proof

    def __repr__(self) -> str:
        h = self.handle
        return (
            f"AttachedModel({h.name!r}: {type(h.model).__name__}, {h.roles.family}, {h.task}, "
            f"{h.n_layers} layers, {h.n_heads} heads, {h.n_parameters:,} parameters)"
        )

    def sites(self) -> pd.DataFrame:
        """Columns: site, layer, axes, shape, available, reason."""
        return sites_frame(self.handle, self.proof.refused)

    def info(self) -> dict[str, Any]:
        """Family, task, sizes, attention implementation, dtypes and labels as plain values."""
        h = self.handle
        return {
            "name": h.name,
            "family": h.roles.family,
            "architecture": type(h.model).__name__,
            "task": h.task,
            "labels": list(h.labels),
            "layers": h.n_layers,
            "heads": h.n_heads,
            "key_value_heads": h.n_kv_heads,
            "d_model": h.d_model,
            "d_head": h.d_head,
            "parameters": h.n_parameters,
            "max_length": h.max_length,
            "attention": h.attn_implementation,
            "stacks": {prefix: layers for prefix, layers in h.layers.items() if prefix},
            "saved_dtype": h.saved_dtype,
            "run_dtype": h.run_dtype,
            "adapter": h.adapter,
        }

    @contextmanager
    def capturing(self, *sites: str, **options: Unpack[Capturing]) -> Iterator[Capture]:
        """Capture from any forward run inside the block; two forwards append. Logits stay the same to the bit.

        Args:
            sites: for example `"attn_pattern.0-3"`, `"resid_post"`, `"decoder.z.2"`; `sites()` lists them.
            options: see `Capturing`: how attention is had and what of it is kept, edits, gradients, early stop.
        """
        with capturing_sites(self.handle, *sites, **options) as capture:
            yield capture

    def capture(
        self,
        inputs: Any,
        sites: Sequence[str] | str = ("resid_post",),
        *,
        targets: str | Sequence[str] | None = None,
        max_bytes: int = MAX_BYTES,
        batch_size: int | None = None,
        **options: Unpack[Kept],
    ) -> Capture:
        """Run inputs in batches and keep the sites asked for, in the order of the inputs.

        Args:
            inputs: one text or several; images or sound for a model that was attached with its processor; or a list
                of dicts of tensors, each the arguments of one forward.
            sites: as for `capturing`.
            targets: what the decoder of an encoder-decoder reads, one text for each text.
            max_bytes: refuse a capture that would be larger; the size is known before anything runs.
            batch_size: inputs in one batch at most.
            options: see `Kept`. No graph is kept, so there is no `grad`: for gradients run the forward inside
                `capturing`.
        """
        wanted = [sites] if isinstance(sites, str) else list(sites)
        _refuse_graph("capture", wanted, options)
        ready = batches_of(self.handle, inputs, batch_size or 8)
        if ready is not None:
            return capture_batches(self.handle, ready, wanted, **options)
        read = None if targets is None else encode_targets(self.handle, _listed(targets))
        return capture_texts(
            self.handle,
            self._encode(inputs),
            wanted,
            targets=read,
            max_bytes=max_bytes,
            max_batch=batch_size,
            **options,
        )

    def capture_generated(
        self,
        prompts: str | Sequence[str],
        sites: Sequence[str] | str = ("resid_post",),
        *,
        max_new_tokens: int = 20,
        live: bool = False,
        seed: int = 0,
        generation: dict[str, Any] | None = None,
        **options: Unpack[Kept],
    ) -> Capture:
        """Let the model go on from prompts and capture it: the finished texts, or with `live` each step as it runs.

        Args:
            prompts: one text or several.
            sites: as for `capturing`.
            max_new_tokens: written at most.
            live: one row for each prompt and step (`capture.example`, `capture.step`) instead of one for each prompt.
            seed: of words drawn at random.
            generation: options of transformers' `generate`, such as `{"num_beams": 4}` (not with `live`).
            options: see `Kept`.
        """
        _refuse_graph("capture_generated", [sites] if isinstance(sites, str) else list(sites), options)
        return capture_generated(
            self.handle,
            self._encode(prompts),
            sites,
            max_new_tokens=max_new_tokens,
            live=live,
            seed=seed,
            generation=generation,
            **options,
        )

    def capture_to(
        self,
        path: str | Path,
        dataset: Any,
        sites: Sequence[str] | str = ("resid_post",),
        *,
        text: str | None = None,
        label: str | None = None,
        id: str | None = None,
        pool: Literal["mean", "cls", "last"] | None = None,
        dtype: Literal["float16", "bfloat16", "float32"] | None = None,
        max_bytes: int | None = 10 * 10**9,
        shard_bytes: int = 64 * 10**6,
        limit: int | None = None,
        token_budget: int | None = None,
        overwrite: bool = False,
        header: bool = True,
        columns: Sequence[str] | None = None,
        skip_bad_rows: bool = False,
        progress: bool | None = None,
    ) -> Store:
        """Write what the sites hold on a whole data set to the folder `path`; what is there already is kept.

        The store is ragged (no padding), checked by checksums and read without the model. Killed at any moment,
        the same call goes on at the last whole shard, and the folder is then byte for byte the one of a run that
        was never interrupted; on a finished store it verifies every file and redoes those that are damaged.

        Args:
            path: folder, made if absent.
            dataset: path (`.csv .tsv .jsonl .parquet .conllu` or a saved `datasets` folder), DataFrame,
                `datasets.Dataset`, list of dicts, or list of strings.
            sites: for example `["resid_post", "attn_pattern.0-3"]`.
            text: text column; None guesses by name.
            label: label column, kept as written; None guesses by name.
            id: column that names the rows; None numbers them from 0.
            pool: None keeps every token; `"mean"` (over all tokens, special ones included), `"cls"` (the first) and
                `"last"` keep one row per example.
            dtype: stored dtype; None stores the dtype the model runs in. A value that `"float16"` cannot hold is
                an error, never infinity.
            max_bytes: refuse a larger store, before anything runs; None only looks at the free disk space.
            shard_bytes: values in one shard, which is held in memory; a killed run loses at most one shard.
            limit: the first so many rows only.
            token_budget: tokens per batch, pads included; part of the request, since batches decide the last bits.
            overwrite: replace another store that stands there.
            header: whether a csv or tsv has a header line.
            columns: names for the columns of a file without header.
            skip_bad_rows: leave out rows that cannot be read or hold no text, instead of stopping at the first.
            progress: show a bar on stderr; None does so on a terminal.

        Returns:
            The store, opened.

        Raises:
            DataError: a row that cannot be read or holds no text, with file and line, before anything runs.
            UsageError: too large, or the folder holds another request; nothing has been changed then.
            StoreError: the disk is full; what is there stays, and the same call goes on.
        """
        texts = read_texts(
            dataset,
            text=text,
            label=label,
            id=id,
            header=header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
        )
        return capture_to_store(
            self.handle,
            path,
            texts,
            sites,
            pool=pool,
            dtype=dtype,
            max_bytes=max_bytes,
            shard_bytes=shard_bytes,
            token_budget=token_budget,
            overwrite=overwrite,
            progress=progress,
        )

    @contextmanager
    def without_adapter(self) -> Iterator[AttachedModel]:
        """The base of a PEFT model while the block is open, from the one copy in memory.

        Raises:
            UsageError: there is no adapter, or it is merged into the weights.
        """
        with without_adapter(self.handle.model):
            yield self

    def attribute(
        self,
        texts: str | Chat | Sequence[Text] | Capture,
        target: Any = None,
        method: str = "auto",
        unit: Unit | UnitSpans = "word",
        quality: Literal["auto", False] = "auto",
        *,
        gold: Sequence[int | str] | None = None,
        at: int | Sequence[int] | None = None,
        response: str | Sequence[str] | bool | None = None,
        segmenter: Segmenter | None = None,
        long_text: LongText = "truncate",
        doc_stride: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Attribution:
        """Signed attributions towards a logit, with measured faithfulness unless `quality=False`.

        A text longer than the model reads at once is cut there (`n_truncated`), or with `long_text="windows"` read in
        windows that overlap: what is explained is then the mean of the logit over the windows, a word's score the
        mean over the windows that hold it, and the quality is measured on the mean of the windows' probabilities;
        `windows` of each example says how many there are, and `contributions` are what sums to the output. The windows
        that count are those that hold what is explained: all for the class of a text and for what an encoder-decoder
        writes of a long source (greedily, by the mean of the logits over its windows, where no response is given);
        those with the mask, the answer or the whole word (else its first token; your own word or span is one) for what
        stands there. What a causal model writes hangs on the end of the text alone, as much of it as fits beside the
        response (beside `max_new_tokens`, if it is written now): the one window that ends with the text. What stands in
        no window that counts is not read (`example.read`).

        Args:
            texts: one text, several, or a `Capture` that holds what the method needs: rollout, and where
                `capturing` made it with `grad=True` gradient attention and gradient x input; no forward is run then. A
                pair that is read together (premise and hypothesis, question and context) is a tuple in the list:
                `[("who?", "the cat")]`. A chat is a list of messages, `[{"role": "user", "content": "Who?"}]`, for a
                causal language model with a chat template (Jinja, which transformers runs in its sandbox): the
                template's own tokens stay and have no score, as special tokens; see `example.chat` and
                `example.message_index`. Of a chat that ends with the assistant's message that message is the response.
            target: None for the predicted class (or next token, or answer); a class name or index; a pair of classes
                (this rather than that); or `"gold"` together with `gold`. Of an answer `"start"`, `"end"`, `"span"`
                or its text. Or a function of your own, which is given what the model's forward returns and gives a
                tensor [row], such as `lambda output: output.logits.logsumexp(-1)`; it is given rows of one length,
                so that none is padded, and its scores are in its own units. Of a text in windows, which then only
                classifiers of texts and models that write read, it is given each window that counts.
            method: a key of `interpret.methods()`, or `"auto"`, which records what it picked.
            unit: `"word"`, `"token"`, `"sentence"`, `"segment"` (each text of a pair), `"message"` (of chats), or your
                own units, for each text but no chat a list of (start, end) pairs of characters, in order, the end
                excluded (of a pair in both texts joined by a line break). A token that a span cuts belongs to the span
                with most of it, and what lies between two spans is a unit too.
            quality: `"auto"` measures cheaply; False skips it and every view says so.
            gold: class of each text, for `target="gold"`.
            at: which word's class, which mask or which written token is explained, counted from 0.
            response: what a model that writes has written, as it follows the text, its leading space included; True
                lets it write (`max_new_tokens=20`). Without `at` the log probability of all of it is explained, but for
                a token it is made to write first, as translators are the language: the tokenizer's `tgt_lang`, or the
                model's generation settings name that.
            segmenter: finds the words of writing without spaces, a function from a text to its words such as
                `jieba.lcut`.
            long_text: of texts longer than the model reads at once: `"truncate"` or `"windows"`, for every task with
                logits to explain; of pairs only for answers in a context. Chats are neither: one that is too long is
                refused.
            doc_stride: tokens that neighbouring windows share; None takes half a window, and at most 128.
            seed: of random rankings and of sampling methods.
            options: passed to the method, for example `n_steps=64`.
        """
        if isinstance(texts, Capture):
            asked = (gold, at, response, segmenter, doc_stride)
            if any(one is not None for one in asked) or (unit, long_text) != ("word", "truncate") or options:
                raise UsageError(
                    "an attribution from a Capture reads what was captured: it takes target=, method= and quality=, "
                    "but no gold=, at=, response=, segmenter=, unit=, long_text=, doc_stride= or options; give the "
                    "texts instead"
                )
            result = attribute_capture(texts, method, handle=self.handle, target=target)
        else:
            listed, response = split_answers(self.handle, _listed(texts, chats=True), response)
            result = attribute(
                self.handle,
                encode(
                    self.handle,
                    listed,
                    unit=unit,
                    segmenter=segmenter,
                    long_text=long_text,
                    doc_stride=doc_stride,
                ),
                target=target,
                gold=gold,
                at=at,
                response=response,
                method=method,
                unit=unit if isinstance(unit, str) else "span",
                seed=seed,
                **options,
            )
        if quality is False:
            return result
        function = target if callable(target) else None
        return with_quality(result, quality_auto(self.handle, result, seed=seed, function=function))

    def attribute_each(
        self,
        texts: str | Chat | Sequence[Text],
        method: str = "auto",
        unit: Unit | UnitSpans = "word",
        *,
        response: str | Sequence[str] | bool | None = None,
        max_new_tokens: int | None = None,
        long_text: LongText = "truncate",
        doc_stride: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> list[AttributionMatrix]:
        """For each text, scores of its words [output, input] for every output: each word's class, each written token.

        Args:
            texts: one text or several, for a model that gives classes to words, or one that writes; chats as for
                `attribute`.
            method: a key of `interpret.methods()`, or `"auto"`.
            unit: of the inputs, as for `attribute`.
            response: what was written, as for `attribute`; None and True let the model write.
            max_new_tokens: of a response that the model writes; None is 20.
            long_text: as for `attribute`.
            doc_stride: as for `attribute`.
            seed: of sampling methods.
            options: passed to the method.
        """
        listed, response = split_answers(self.handle, _listed(texts, chats=True), response)
        encoded = encode(self.handle, listed, unit=unit, long_text=long_text, doc_stride=doc_stride)
        targets = targets_of_each(self.handle, encoded, response=response, max_new_tokens=max_new_tokens)
        flat = [e for e, those in zip(encoded, targets, strict=True) for _ in those]
        every = [target for those in targets for target in those]
        counted: Unit = unit if isinstance(unit, str) else "span"
        found = attribute(self.handle, flat, target=every, method=method, unit=counted, seed=seed, **options)
        rows = iter(found)
        return [AttributionMatrix.from_attributions([next(rows) for _ in those]) for those in targets]

    def cite(
        self,
        query: str | Chat,
        *,
        context: str | None = None,
        sources: Sequence[str] | None = None,
        response: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Attribution:
        """Which sources of its context made a causal language model write its response (ContextCite).

        Args:
            query: what is asked of the context; or a chat, whose last message asks it.
            context: a text, whose sentences are the sources; or give `sources`.
            sources: the sources one by one.
            response: what is explained; None lets the model write it.
            seed: of the masks.
            options: `n_masks=64`, `max_new_tokens=64`, `template=` and others of `context_cite.cite`.

        Returns:
            Scores of the sources with their measured quality: `options["lds"]`, `options["top_1_drop"]`.
        """
        return cite(self.handle, query, context=context, sources=sources, response=response, seed=seed, **options)

    def attribute_to(
        self,
        path: str | Path,
        dataset: Any,
        target: Any = None,
        method: str = "auto",
        unit: Unit = "word",
        quality: Literal["auto", False] = "auto",
        *,
        text: str | None = None,
        label: str | None = None,
        id: str | None = None,
        label_map: str | Mapping[str, object] | None = None,
        long_text: LongText = "truncate",
        doc_stride: int | None = None,
        seed: int = 0,
        limit: int | None = None,
        overwrite: bool = False,
        header: bool = True,
        columns: Sequence[str] | None = None,
        skip_bad_rows: bool = False,
        progress: bool | None = None,
        **options: Any,
    ) -> AttributionFiles:
        """Explain a whole data set into two parquet tables: `path` (tokens) and `*.examples.parquet` (texts).

        Memory does not grow with the number of texts beyond the texts themselves. Killed at any moment, the same
        call goes on after the last lot of 64 texts that is whole, and the tables are then byte for byte those of a
        call that was never interrupted; on finished tables it checks them and runs nothing.

        Args:
            path: file that ends in `.parquet`; folders are made if absent.
            dataset: path (`.csv .tsv .jsonl .parquet .conllu` or a saved `datasets` folder), DataFrame,
                `datasets.Dataset`, list of dicts, or list of strings; a column `messages` holds chats.
            target: as for `attribute`; `"gold"` reads the labels of the data.
            method: as for `attribute`.
            unit: `"word"`, `"token"`, `"sentence"` or, of chats, `"message"`.
            quality: `"auto"` compares each text with 20 random rankings of its words; False measures nothing.
            text: text column; None guesses by name.
            label: label column; None guesses by name.
            id: column that names the rows; None numbers them from 0.
            label_map: `"0=negative,1=positive"` where names and ids do not decide, for `target="gold"`.
            long_text: as for `attribute`.
            doc_stride: as for `attribute`.
            seed: of random rankings and of sampling methods.
            limit: the first so many rows only.
            overwrite: replace another attribution that stands there.
            header: whether a csv or tsv has a header line.
            columns: names for the columns of a file without header.
            skip_bad_rows: leave out rows that cannot be read or hold no text, instead of stopping at the first.
            progress: show a bar on stderr; None does so on a terminal.
            options: passed to the method, for example `n_steps=64`.

        Raises:
            DataError: a row that cannot be read or holds no text, with file and line, before anything runs.
            UsageError: a request that cannot be met, or another one than that whose tables stand there.
            StoreError: the disk takes no more; what is there stays, and the same call goes on.
        """
        texts = read_texts(
            dataset,
            text=text,
            label=label,
            id=id,
            header=header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
            chats=True,
        )
        return attribute_to_files(
            self.handle,
            path,
            texts,
            target=target,
            method=method,
            unit=unit,
            quality=quality,
            label_map=label_map,
            long_text=long_text,
            doc_stride=doc_stride,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
            **options,
        )

    def _encode(self, texts: str | Sequence[Text]) -> list[Encoded]:
        return encode(self.handle, _listed(texts))


def _refuse_graph(verb: str, sites: Sequence[str], options: Mapping[str, Any]) -> None:
    """Say where gradients are had, instead of a capture that has none."""
    if not options.get("grad"):
        return
    eager = ", mode='eager'" if any("attn_pattern" in site for site in sites) else ""
    raise UsageError(
        f"grad=True was given to lm.{verb}, which runs the model without gradients and keeps no graph; run the forward "
        f"yourself: with lm.capturing({', '.join(map(repr, sites))}, grad=True{eager}) as capture: "
        "lm.handle.model(**batch)"
    )


def _listed(texts: str | Chat | Sequence[Text], *, chats: bool = False) -> list[Any]:
    """The texts as a list; a chat, which is a list itself, is one text."""
    if not isinstance(texts, str) and (isinstance(texts, bytes) or not isinstance(texts, Iterable)):
        raise UsageError(f"the texts are a {type(texts).__name__}; give one text or a list of texts")
    listed = [texts] if isinstance(texts, str) or (chats and is_chat(texts)) else list(texts)
    if not listed:
        raise UsageError("asked to run on no texts: give at least one")
    for i, text in enumerate(listed):
        if not isinstance(text, str | tuple) and not (chats and is_chat(text)):
            raise UsageError(f"texts must be strings; text {i} is a {type(text).__name__}: {str(text)[:60]!r}")
    return listed
