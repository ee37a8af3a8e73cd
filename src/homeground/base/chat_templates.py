"""Bounds on the rendering of chat templates that come with a model.

A chat template is a program that comes with a model. Jinja's sandbox isolates it from the machine, but does not bound
its time or memory: nested loops, a text that is doubled, `'a' * 10**10`. Here each loop step, each call and each new
text is counted *before* it is made, in the rendering thread, and a template that exceeds the budget is refused. Within
the budget the output is, to the byte, that of the unbounded environment.

:func:`bound_chat_templates` replaces transformers' environment by this one, for the whole process.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinMethodType
from typing import Any, cast

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

SECONDS = 2.0
"""Limit on this thread's CPU time for one conversation; the longest conversations take a hundredth of it."""
UNITS, UNITS_OF_INPUT = 20_000_000, 50
"""Budget of steps and characters, and the additional budget for each character of the conversation."""
_SOURCE = 500_000
_STEP, _CHUNK = 10, 2_000
_DIGITS = 4096
"""Bits of the largest number a template may make."""
# Filters that chat templates do not use and whose cost is hard to estimate in advance.
_NONE_OF = frozenset({"wordwrap", "urlize", "xmlattr", "pprint", "translate", "expandtabs", "to_bytes", "format_map"})
_WIDE = frozenset({"center", "ljust", "rjust", "zfill", "batch", "slice", "round"})
_FORMAT = re.compile(r"\d{4}|\*|\{[^}]*\{")


class _Meter:
    """Remaining budget of one rendering. The clock is read once a chunk: reading it takes longer than a step."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._rest = UNITS
        self._until = time.thread_time() + SECONDS
        # References keep the objects alive, so that no other object gets the same id.
        self._weights: dict[int, tuple[Any, int]] = {}
        self.left = _CHUNK
        # Until the template builds a list itself, every list belongs to the conversation, which holds each part once.
        self.built = False

    def spend(self, units: int) -> None:
        self.left -= units + _STEP
        if self.left < 0:
            self.refill()

    def refill(self) -> None:
        """Take another chunk from the total budget, or raise if it is spent."""
        self._rest += self.left - _CHUNK
        self.left = _CHUNK
        if self._rest < 0 and self._given:
            self._rest += UNITS_OF_INPUT * sum(map(self.weight, self._given.values()))
            self._given = {}
        if self._rest < 0:
            raise TemplateRuntimeError("it makes more text or steps than any conversation needs")
        if time.thread_time() > self._until:
            raise TemplateRuntimeError(f"it computes for more than {SECONDS:.0f} s")

    def weight(self, value: Any) -> int:
        """Count the characters of a value's text; a part that occurs twice counts twice."""
        kind = type(value)
        if kind not in (list, tuple, dict):
            return len(value) if isinstance(value, str) else _STEP
        if (known := self._weights.get(id(value))) is not None:
            return known[1]
        weight = _STEP + 2 * len(value)
        for part in (*value, *value.values()) if kind is dict else value:
            weight += len(part) if type(part) is str else self.weight(part)
        self._weights[id(value)] = value, weight
        return weight


class _MeteredContext(Context):
    def __init__(self, environment: Any, parent: dict[str, Any], *args: Any, **named: Any) -> None:
        super().__init__(environment, parent, *args, **named)
        self.meter = _Meter(parent)

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 (the name that jinja gave it)
        context = cast("_MeteredContext", super().derived(locals))
        context.meter = self.meter
        return context


@pass_context
def _step(context: _MeteredContext, literal: int) -> bool:
    context.meter.spend(literal)
    return True


@pass_context
def _joined(context: _MeteredContext, *values: Any) -> str:
    context.meter.spend(sum(map(context.meter.weight, values)))
    return "".join(map(str, values))


@pass_context
def _built(context: _MeteredContext, value: Any) -> Any:
    context.meter.built = True
    if context.meter.weight(value) > UNITS:
        raise TemplateRuntimeError("it makes a list larger than any conversation needs")
    return value


@pass_context
def _sliced(context: _MeteredContext, value: Any) -> Any:
    context.meter.spend(len(value) if isinstance(value, (str, list, tuple)) else 0)
    return value


@pass_context
def _written(context: _MeteredContext, value: Any) -> Any:
    context.meter.spend(len(value) if type(value) is str else context.meter.weight(value))
    return value


def _check(meter: _Meter, name: str, subject: Any, given: tuple[Any, ...]) -> None:
    """Charge the budget for the output that a filter or a method is about to make.

    Args:
        meter: of this rendering.
        name: of the filter or method.
        subject: the value that is filtered, or whose method it is.
        given: its arguments.
    """
    if name in _NONE_OF:
        raise TemplateRuntimeError(f"it uses '{name}', which is not available in chat templates here")
    size = len(subject) if isinstance(subject, str) else meter.weight(subject) if meter.built else _STEP
    if not given:
        meter.spend(size)
        return
    texts = [value for value in given if isinstance(value, str)]
    if name == "replace" and len(texts) > 1:
        size += str(subject).count(texts[0]) * len(texts[1])
    elif name == "join":
        parts: Any = given[0] if isinstance(subject, str) and isinstance(given[0], (list, tuple, str)) else subject
        mark = max(map(len, [*texts, *([subject] if parts is not subject else [])]), default=0)
        size += meter.weight(parts) + (mark + 1) * len(parts)
    elif name in ("format", "%"):
        if _FORMAT.search(str(subject)):
            raise TemplateRuntimeError("it formats a text with a width that no conversation needs")
        size += (str(subject).count("{") + 1) * sum(map(meter.weight, given))
    elif name in ("indent", "tojson"):
        size *= 1 + max(map(_width, given))
    elif name in _WIDE:
        width = max(map(_width, given))
        if name == "round" and width > 100:
            raise TemplateRuntimeError("it rounds to more digits than there are")
        meter.built = True
        size += width
    meter.spend(size)


def _width(value: Any) -> int:
    return abs(value) if isinstance(value, int) else len(value) if isinstance(value, str) else 0


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    wanted = getattr(function, "jinja_pass_arg", None)
    plain = wanted is None and name not in _NONE_OF

    @functools.wraps(function)
    def bounded(context: _MeteredContext, value: Any, *args: Any, **named: Any) -> Any:
        meter = context.meter
        if plain and not args and not named and type(value) is str:
            meter.spend(len(value))
            return function(value)
        if isinstance(value, Iterator):
            value = _listed(meter, cast("Iterator[Any]", value))
        if name == "join" and not isinstance(value, (str, list, tuple)):
            value = list(value)
        if name == "sum" and (args or named):
            raise TemplateRuntimeError("it adds up what are no plain numbers")
        _check(meter, name, value, (*args, *named.values()) if named else args)
        if wanted is None:
            return function(value, *args, **named)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        return function(first[wanted.name], value, *args, **named)

    return pass_context(bounded)


def _listed(meter: _Meter, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        meter.spend(0)
        yield value


class _Count(NodeTransformer):
    """Insert the counting into a template's syntax tree."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (jinja's)
        literal = _literal(node)
        self.generic_visit(node)
        node.body.insert(0, _statement(node, literal))
        if node.test is not None:
            node.test = nodes.And(_call(node, _step.__name__, nodes.Const(0)), node.test, lineno=node.lineno)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802 (jinja's)
        literal = _literal(node)
        self.generic_visit(node)
        node.body.insert(0, _statement(node, literal))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (jinja's)
        self.generic_visit(node)
        return _call(node, _joined.__name__, *node.nodes)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 (jinja's)
        self.generic_visit(node)
        return _call(node, _sliced.__name__, node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 (jinja's)
        self.generic_visit(node)
        return _call(node, _built.__name__, node) if _varies(node) else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802 (jinja's)
        return self.visit_List(cast("Any", node))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 (jinja's)
        return self.visit_List(cast("Any", node)) if node.ctx == "load" else node


def _varies(node: nodes.Node) -> bool:
    return any(not isinstance(part, (nodes.Const, nodes.Pair)) for part in node.iter_child_nodes()) or any(
        not isinstance(part, nodes.Const) for pair in node.find_all(nodes.Pair) for part in pair.iter_child_nodes()
    )


def _literal(node: nodes.Node) -> int:
    return sum(len(data.data) for data in node.find_all(nodes.TemplateData))


def _call(at: nodes.Node, name: str, first: nodes.Expr, *others: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(first, name, list(others), [], None, None, lineno=at.lineno)


def _statement(at: nodes.Node, literal: int) -> nodes.Node:
    return nodes.ExprStmt(_call(at, _step.__name__, nodes.Const(literal)), lineno=at.lineno)


class _BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Transformers' environment for chat templates, with counting."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    context_class = _MeteredContext

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        counted = _Count().visit(source)
        counted.set_environment(self)
        return super()._generate(counted, name, filename, defer_init)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (jinja's)
        meter = cast("_MeteredContext", __context).meter
        # A method, or the sandbox's wrapper of `format`.
        method: Any = __obj if isinstance(__obj, BuiltinMethodType) else getattr(__obj, "__wrapped__", None)
        subject = getattr(method, "__self__", None)
        if isinstance(subject, (str, bytes, int)):
            _check(meter, method.__name__, subject, (*args, *kwargs.values()))
        else:
            meter.built |= subject is None
            meter.spend(0)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = cast("_MeteredContext", context).meter
        if type(left) is str and type(right) is str and operator == "+":
            meter.spend(len(left) + len(right))
            return left + right
        meter.built = True
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "+" and not numbers:
            meter.spend(_length(left) + _length(right))
        elif operator == "%" and isinstance(left, (str, bytes)):
            _check(meter, "%", left, (right,))
        elif operator in ("*", "**") and numbers:
            bits = [max(value.bit_length(), 1) for value in (left, right) if isinstance(value, int)]
            if len(bits) == 2 and (sum(bits) if operator == "*" else bits[0] * abs(int(right))) > _DIGITS:
                raise TemplateRuntimeError("it computes a number larger than any conversation needs")
        elif operator == "*":
            times = right if isinstance(right, int) else left if isinstance(left, int) else 1
            meter.spend((_length(left) + _length(right)) * max(times, 1))
        return super().call_binop(context, operator, left, right)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple)) else 0


@functools.lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    if len(source) > _SOURCE:
        raise TemplateRuntimeError(f"it is {len(source)} characters long; no chat template is")
    return _environment().from_string(source)


@functools.cache
def _environment() -> _BoundedEnvironment:
    theirs: Any = _of_transformers()._cached_compile_jinja_template("").environment
    ours: Any = _BoundedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[type(one) for one in theirs.extensions.values()],
        finalize=_written,
    )
    ours.filters = {name: _bounded_filter(name, function) for name, function in theirs.filters.items()}
    ours.filters |= {one.__name__: one for one in (_step, _joined, _built, _sliced)}
    # Printing two namespaces that hold one another would never end.
    quiet = type("Namespace", (theirs.globals["namespace"],), {"__repr__": lambda _: "<Namespace>"})
    ours.globals = {**theirs.globals, "namespace": quiet}
    del ours.globals["lipsum"]
    return ours


def bound_chat_templates() -> None:
    """Bound the rendering of every chat template that transformers renders in this process."""
    _of_transformers()._compile_jinja_template = _compiled


def _of_transformers() -> Any:
    # transformers accepts no environment, so the one function that compiles every template is replaced.
    from transformers.utils import chat_template_utils

    return chat_template_utils
