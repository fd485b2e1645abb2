"""The one place that registers hooks: read and edit sites during a forward, and leave nothing behind.

    with hooks(handle, {("resid_post", 3): seen.append}, edits={("z", 0): lambda z: z * keep}):
        model(**batch)

Only our own hooks are removed, also after an exception; those of other libraries stay where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from interpret.capture.attention import Mode, ResolvedMode, patterns
from interpret.capture.points import Key, Point, name_of, point
from interpret.errors import UsageError
from interpret.models.handle import Handle

#: Receives the tensor of one site, shaped as `interpret.sites.AXES` says; it must not change it in place.
Read = Callable[[Tensor], None]
#: Receives the tensor of one site and returns what stands there instead, of the same shape.
Edit = Callable[[Tensor], Tensor]


class Around(NamedTuple):
    """Called with the arguments of the base model before every forward, and with nothing after it."""

    begin: Callable[[tuple[Any, ...], dict[str, Any]], None]
    end: Callable[[], None]


@contextmanager
def hooks(
    handle: Handle,
    reads: Mapping[Key, Read],
    edits: Mapping[Key, Edit] | None = None,
    *,
    mode: Mode = "auto",
    grad: bool = False,
    around: Around | None = None,
) -> Iterator[ResolvedMode | None]:
    """Call `reads` and apply `edits` during every forward of the model while the context is open.

    Edits come first: a read of an edited site sees the edit. Without `grad` the tensors handed to a read are
    detached but share the model's memory, so a read that keeps one must copy it.

    Args:
        handle: the attached model.
        reads: (site, layer) to a function of the site's tensor; layer is None for a site without layers.
        edits: (site, layer) to a function that returns the new value of the site.
        mode: how attention patterns are obtained, see `interpret.capture.attention`.
        grad: hand out the tensors of the graph, so that gradients with respect to them can be taken.
        around: told when a forward of the base model (without its head) begins and ends.

    Yields:
        How attention patterns are obtained, None when none were asked for.

    Raises:
        UnknownSiteError: a site or layer this model does not have; nothing has been registered then.
        UsageError: the model is compiled, an edit of a site that can only be read, or an impossible mode.

    """
    refuse_compiled(handle.model)
    edits = edits or {}
    # Everything is looked up before the first registration, so that a wrong name leaves no hook behind.
    editing = [(point(handle, *key), key, edit) for key, edit in edits.items()]
    for place, key, _ in editing:
        if place.write is None:
            raise UsageError(f"{name_of(key)} can be read but not edited; edit z, q, k, v or a residual site instead")
    reading = [(point(handle, *key), key, read) for key, read in reads.items()]
    wanted = {key[1]: read for _, key, read in reading if key[0] == "attn_pattern" and key[1] is not None}
    with ExitStack() as stack:
        if around is not None:
            _surround(stack, handle.roles.base, around)
            if handle.roles.base is handle.core is not handle.model:
                # PEFT calls `forward` of the model inside it, past that model's own hooks.
                _surround(stack, handle.model, around)
        for place, key, read in reading:
            if key[0] != "attn_pattern":
                _add_read(stack, place, key, read, grad)
        # Prepended one by one, so the last registered runs first: edits after reads.
        for place, key, edit in editing:
            _add_edit(stack, place, key, edit)
        resolved: ResolvedMode | None = None
        if wanted:
            resolved = stack.enter_context(
                patterns(
                    handle.roles.base,
                    {layer: handle.roles.attention[layer] for layer in wanted},
                    lambda layer, weights: wanted[layer](weights),
                    mode=mode,
                    grad=grad,
                )
            )
        yield resolved


def refuse_compiled(model: nn.Module) -> None:
    """Refuse a compiled model: hooks added to it never run, which would look like an empty capture.

    Raises:
        UsageError: the model, or a part of it, is compiled.

    """
    if hasattr(model, "_orig_mod") or any(module._compiled_call_impl is not None for module in model.modules()):
        raise UsageError(
            "the model is compiled with torch.compile, and hooks added to a compiled model do not run; "
            "attach the model as it was before torch.compile"
        )


def _surround(stack: ExitStack, base: nn.Module, around: Around) -> None:
    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        around.begin(args, kwargs)

    def end(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        around.end()

    stack.callback(base.register_forward_pre_hook(begin, with_kwargs=True, prepend=True).remove)
    stack.callback(base.register_forward_hook(end).remove)


def _add_read(stack: ExitStack, place: Point, key: Key, read: Read, grad: bool) -> None:
    def visit(raw: Tensor) -> Tensor | None:
        if not grad:
            read(place.read(raw.detach()))
            return None
        value = place.read(raw)
        read(value)
        # A view that nothing computes from has no gradient: the model goes on from the view itself.
        return None if value is raw or place.write is None else place.write(raw, value)

    _register(stack, place, key, visit, prepend=False)


def _add_edit(stack: ExitStack, place: Point, key: Key, edit: Edit) -> None:
    write = place.write
    assert write is not None

    def visit(raw: Tensor) -> Tensor:
        before = place.read(raw)
        after = edit(before)
        if after.shape != before.shape:
            raise UsageError(
                f"the edit of {name_of(key)} returned shape {tuple(after.shape)}, but the site has shape "
                f"{tuple(before.shape)}; return a tensor of the same shape"
            )
        return write(raw, after)

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

        handle = place.module.register_forward_pre_hook(before, with_kwargs=True, prepend=prepend)
    else:

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            raw = _logits(output) if key[0] == "logits" else output[0] if isinstance(output, tuple) else output
            if not isinstance(raw, Tensor):
                raise _not_a_tensor(key, module)
            new = visit(raw)
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = place.module.register_forward_hook(after, prepend=prepend)
    stack.callback(handle.remove)


def _logits(output: Any) -> Any:
    """Find the logits in a model's output, also in a bare tuple, in which the loss may stand first."""
    if isinstance(output, tuple):
        return next((item for item in output if isinstance(item, Tensor) and item.ndim > 1), None)
    return getattr(output, "logits", None)


def _not_a_tensor(key: Key, module: nn.Module) -> UsageError:
    return UsageError(
        f"{name_of(key)} should be a tensor that passes through {type(module).__name__}, but this forward "
        "passed none; run the model the way transformers runs it or ask for other sites"
    )
