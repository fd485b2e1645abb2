"""The one place that registers hooks: read and edit sites during a forward, and leave nothing behind.

    with hooks(handle, {("resid_post", 3): seen.append}, edits={("z", 0): lambda z: z * keep}):
        model(**batch)

Only our own hooks are removed, also after an exception; those of other libraries stay where they were. They see the
forwards of the thread that opened them: a model that another thread uses meanwhile runs there as if they were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from interpret.capture.attention import Mode, ResolvedMode, Seen, Want, observed
from interpret.capture.points import Key, Point, name_of, point
from interpret.capture.reduction import Reduction
from interpret.capture.threads import here
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.parts import is_compiled
from interpret.sites import split_site

#: Receives the tensor of one site, shaped as `interpret.sites.AXES` says; it must not change it in place.
Read = Callable[[Tensor], None]
#: Receives the tensor of one site and returns what stands there instead, of the same shape.
Edit = Callable[[Tensor], Tensor]


class Around(NamedTuple):
    """Told of every forward: of the base model with its arguments and when it is over, and of each of its stacks."""

    begin: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]
    end: Callable[[nn.Module], None]
    stack: Callable[[str, tuple[Any, ...], dict[str, Any]], None]


class Partial(NamedTuple):
    """How attention is read where not all of it is wanted: see `Reduction` and `Want.rows`."""

    reduction: Reduction | None = None
    rows: Callable[[Key], Tensor | None] | None = None
    #: Takes the place of the reads of attention; told which keys the values belong to.
    seen: Callable[[Key, Seen], None] | None = None


class _Turns:
    """Which pass is on through modules that serve several layers."""

    def __init__(self) -> None:
        self.counts: dict[nn.Module, int] = {}

    def watch(self, stack: ExitStack, starts: set[nn.Module], modules: list[nn.Module]) -> None:
        self.counts = dict.fromkeys(modules, -1)
        if not modules:
            return

        def restart(*_: Any) -> None:
            self.counts = dict.fromkeys(self.counts, -1)

        def count(module: nn.Module, *_: Any) -> None:
            self.counts[module] += 1

        for start in starts:
            stack.callback(start.register_forward_pre_hook(here(restart), prepend=True).remove)
        for module in self.counts:
            stack.callback(module.register_forward_pre_hook(here(count), prepend=True).remove)

    def of(self, module: nn.Module) -> int:
        return self.counts.get(module, 0)


@contextmanager
def hooks(
    handle: Handle,
    reads: Mapping[Key, Read],
    edits: Mapping[Key, Edit] | None = None,
    *,
    mode: Mode = "auto",
    grad: bool = False,
    around: Around | None = None,
    partial: Partial | None = None,
) -> Iterator[ResolvedMode | None]:
    """Call `reads` and apply `edits` during every forward in this thread while the context is open.

    Edits come first: a read of an edited site sees the edit. Without `grad` the tensors handed to a read are
    detached but share the model's memory, so a read that keeps one must copy it.

    Args:
        handle: the attached model.
        reads: (site, layer) to a function of the site's tensor; layer is None for a site without layers.
        edits: (site, layer) to a function that returns the new value of the site. An edit of `attn_pattern` or
            `attn_scores` makes this layer, and no other, take its output from the edited pattern.
        mode: how attention patterns are obtained, see `interpret.capture.attention`.
        grad: hand out the tensors of the graph, so that gradients with respect to them can be taken.
        around: told when a forward of the base model (without its head) begins and ends.
        partial: how attention is read where not all of it is wanted.

    Yields:
        How attention patterns are obtained, None when none were asked for.

    Raises:
        UnknownSiteError: a site or layer this model does not have; nothing has been registered then.
        UsageError: the model is compiled, an edit of a pattern that the module forms itself, or an impossible mode.

    """
    refuse_compiled(handle.model)
    # Everything is looked up before the first registration, so that a wrong name leaves no hook behind.
    editing = [(point(handle, *key), key, edit) for key, edit in (edits or {}).items()]
    reading = [(point(handle, *key), key, read) for key, read in reads.items()]
    turns = _Turns()
    wants = _wants(editing, reading, grad, partial or Partial())
    with ExitStack() as stack:
        base = handle.roles.base
        if around is not None:
            _surround(stack, base, around)
            if base is handle.core is not handle.model:
                # PEFT calls `forward` of the model inside it, past that model's own hooks.
                _surround(stack, handle.model, around)
            if len(handle.stacks) == 1 and handle.roles.stack is not base:
                # Some heads call the stack past the base model.
                _surround(stack, handle.roles.stack, around)
            for roles in handle.stacks:
                _announce(stack, roles.stack, roles.prefix, around)
        for place, key, read in reading:
            if not _of_attention(key):
                _add_read(stack, place, key, read, grad, turns)
        # Prepended one by one, so the last registered runs first: edits after reads.
        for place, key, edit in editing:
            if not _of_attention(key):
                _add_edit(stack, place, key, edit, turns)
        # Last, and so first to run: whoever reads or edits must know which pass it is.
        turns.watch(
            stack,
            {base, handle.roles.stack},
            [place.module for place, *_ in (*editing, *reading) if place.turn is not None],
        )
        resolved: ResolvedMode | None = None
        if wants:
            configs = [base.config, *(roles.config for roles in handle.stacks)]
            resolved = stack.enter_context(observed(configs, wants, mode=mode, turn_of=turns.of))
        yield resolved


def _of_attention(key: Key) -> bool:
    """Whether a site is seen inside the attention function instead of at a module."""
    return split_site(key[0])[1] in ("attn_pattern", "attn_scores")


def _wants(
    editing: list[tuple[Point, Key, Edit]], reading: list[tuple[Point, Key, Read]], grad: bool, partial: Partial
) -> list[Want]:
    """Everything that is asked of each pass through each attention module; edits are wants of their own.

    They are made before anybody looks. Pattern and scores of one pass are one want, so that both come of one product.
    """
    edits: dict[tuple[nn.Module, int | None], Want] = {}
    reads: dict[tuple[nn.Module, int | None], Want] = {}
    for place, key, edit in editing:
        if _of_attention(key):
            want = edits.setdefault((place.module, place.turn), Want(place.module, place.turn, grad=grad))
            setattr(want, "edit_scores" if key[0].endswith("scores") else "edit_pattern", _checked(key, edit))
    for place, key, read in reading:
        if _of_attention(key):
            want = reads.setdefault((place.module, place.turn), Want(place.module, place.turn, grad=grad))
            want.reduction = partial.reduction
            if partial.rows is not None:
                want.rows = _rows_of(partial.rows, key)
            setattr(want, "scores" if key[0].endswith("scores") else "pattern", _handing(key, read, partial))
    return [*edits.values(), *reads.values()]


def _rows_of(rows: Callable[[Key], Tensor | None], key: Key) -> Callable[[], Tensor | None]:
    return lambda: rows(key)


def _handing(key: Key, read: Read, partial: Partial) -> Callable[[Seen], None]:
    if partial.seen is None:
        return lambda seen: read(seen.tensor)
    hand = partial.seen
    return lambda seen: hand(key, seen)


def _checked(key: Key, edit: Edit) -> Edit:
    return lambda before: same_shape(key, before, edit(before))


def same_shape(key: Key, before: Tensor, after: Tensor) -> Tensor:
    """What an edit returned, if it fits the site.

    Raises:
        UsageError: it has another shape.

    """
    if after.shape != before.shape:
        raise UsageError(
            f"the edit of {name_of(key)} returned shape {tuple(after.shape)}, but the site has shape "
            f"{tuple(before.shape)}; return a tensor of the same shape"
        )
    return after


def refuse_compiled(model: nn.Module) -> None:
    """Refuse a compiled model: hooks added to it never run, which would look like an empty capture.

    Raises:
        UsageError: the model, or a part of it, is compiled.

    """
    if is_compiled(model):
        raise UsageError(
            "the model is compiled with torch.compile, and hooks added to a compiled model do not run; "
            "attach the model as it was before torch.compile"
        )


def _surround(stack: ExitStack, base: nn.Module, around: Around) -> None:
    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        around.begin(module, args, kwargs)

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        around.end(module)

    stack.callback(base.register_forward_pre_hook(here(begin), with_kwargs=True, prepend=True).remove)
    stack.callback(base.register_forward_hook(here(end)).remove)


def _announce(stack: ExitStack, module: nn.Module, prefix: str, around: Around) -> None:
    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        around.stack(prefix, args, kwargs)

    # Not prepended: the base model may be the stack, and its forward is announced first.
    stack.callback(module.register_forward_pre_hook(here(begin), with_kwargs=True).remove)


def _add_read(stack: ExitStack, place: Point, key: Key, read: Read, grad: bool, turns: _Turns) -> None:
    def visit(raw: Tensor) -> Tensor | None:
        if place.turn is not None and turns.of(place.module) != place.turn:
            return None
        if not grad:
            read(place.read(raw.detach()))
            return None
        value = place.read(raw)
        read(value)
        # A view that nothing computes from has no gradient: the model goes on from the view itself.
        return None if value is raw or place.write is None else place.write(raw, value)

    _register(stack, place, key, visit, prepend=False)


def _add_edit(stack: ExitStack, place: Point, key: Key, edit: Edit, turns: _Turns) -> None:
    write, change = place.write, _checked(key, edit)
    assert write is not None

    def visit(raw: Tensor) -> Tensor | None:
        if place.turn is not None and turns.of(place.module) != place.turn:
            return None
        return write(raw, change(place.read(raw)))

    _register(stack, place, key, visit, prepend=True)


def _register(
    stack: ExitStack, place: Point, key: Key, visit: Callable[[Tensor], Tensor | None], *, prepend: bool
) -> None:
    if place.side == "input":

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs), "")
            raw = args[0] if args else kwargs.get(name)
            if not isinstance(raw, Tensor):
                raise _not_a_tensor(key, module)
            new = visit(raw)
            if new is None:
                return None
            return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, name: new})

        handle = place.module.register_forward_pre_hook(here(before), with_kwargs=True, prepend=prepend)
    else:

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if key[0] == "logits":
                raw = logits_in(output)
            else:
                raw = output[0] if isinstance(output, tuple) else output
            if not isinstance(raw, Tensor):
                raise _not_a_tensor(key, module)
            new = visit(raw)
            if new is None:
                return None
            if key[0] == "logits":
                return _with_logits(output, new)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = place.module.register_forward_hook(here(after), prepend=prepend)
    stack.callback(handle.remove)


def logits_in(output: Any) -> Any:
    """Find the logits in a model's output, also in a bare tuple, in which the loss may stand first.

    Start and end of an answer are put side by side, [example, position, 2].
    """
    if isinstance(output, tuple):
        return next((item for item in output if isinstance(item, Tensor) and item.ndim > 1), None)
    if isinstance(getattr(output, "start_logits", None), Tensor):
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return getattr(output, "logits", None)


def _with_logits(output: Any, new: Tensor) -> Any:
    """Put other logits into an output of the same form; the output of one forward is nobody else's."""
    if isinstance(output, tuple):
        at = next(index for index, item in enumerate(output) if isinstance(item, Tensor) and item.ndim > 1)
        return (*output[:at], new, *output[at + 1 :])
    if isinstance(getattr(output, "start_logits", None), Tensor):
        output.start_logits, output.end_logits = new.unbind(-1)
    else:
        output.logits = new
    return output


def _not_a_tensor(key: Key, module: nn.Module) -> UsageError:
    return UsageError(
        f"{name_of(key)} should be a tensor that passes through {type(module).__name__}, but this forward "
        "passed none; run the model the way transformers runs it or ask for other sites"
    )
