"""Puts the meter into a parsed chat template: wherever it makes a value, reads a whole one, or goes round."""
# ruff: noqa: N802, N815 - Jinja finds a method by the name of the node's class

from collections.abc import Callable
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from iikata.templates import meter

PAID = (" total", " joined")


class Metered(NodeTransformer):
    """Puts the meter into a parsed template: wherever it makes a value, reads a whole one, or goes round."""

    def visit_For(self, node: Any) -> nodes.Node:
        node = self.generic_visit(node)
        cost = meter.STEP + 4 * sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        turn = _through(meter.turn, nodes.Const(cost, lineno=node.lineno))
        node.body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        if node.test:
            node.test = nodes.And(turn, node.test, lineno=node.lineno)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        node.nodes = [self._output(part) for part in node.nodes]
        return node

    def _output(self, node: Any) -> nodes.Expr:
        node = self.visit(node)
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            return nodes.TemplateData(node.value, lineno=node.lineno)
        paid = isinstance(node, nodes.TemplateData) or (isinstance(node, nodes.Filter) and node.name in PAID)
        return node if paid else _through(meter.written, node)

    def visit_Compare(self, node: Any) -> nodes.Node:
        node = self.generic_visit(node)
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        if len(sides) > 2 or node.ops[0].op not in ("eq", "ne") or not any(map(_constant, sides)):
            node.expr = _through(meter.read, node.expr)
            for operand in node.ops:
                operand.expr = _through(meter.read, operand.expr)
        return node

    def visit_Getitem(self, node: Any) -> nodes.Expr:
        node = self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _through(meter.made, node)
        node.arg = _through(meter.read, node.arg)
        return node

    def _held(self, node: Any) -> nodes.Expr:
        node = self.generic_visit(node)
        return node if _constant(node) or getattr(node, "ctx", "load") != "load" else _through(meter.made, node)

    visit_List = visit_Tuple = visit_Dict = _held

    def visit_Concat(self, node: Any) -> nodes.Expr:
        node = self.generic_visit(node)
        return _through(meter.joined, *node.nodes)

    def visit_Add(self, node: Any) -> nodes.Expr:
        node = self.generic_visit(node)
        if isinstance(node.left, nodes.Filter) and node.left.name == " total":  # a + b + c is one sum
            node.left.args.append(node.right)
            return node.left
        return _through(meter.total, node.left, node.right)

    def _two(self, node: Any) -> nodes.Expr:
        node = self.generic_visit(node)
        operations = {"*": meter.product, "**": meter.power, "%": meter.remainder}
        return _through(operations[node.operator], node.left, node.right)

    visit_Mul = visit_Pow = visit_Mod = _two

    def _elsewhere(self, node: nodes.Node) -> nodes.Node:
        raise TemplateSyntaxError(
            "it reads another template (include, import, extends). A chat template is one text: write the other's in.",
            node.lineno,
        )

    visit_Include = visit_Import = visit_FromImport = visit_Extends = _elsewhere

    def visit_ScopedEvalContextModifier(self, node: nodes.Node) -> nodes.Node:
        raise TemplateSyntaxError(
            "it escapes for HTML (autoescape), which no chat template does. Take it out.", node.lineno
        )


def _through(part: Callable[..., Any], node: nodes.Expr, *more: nodes.Expr) -> nodes.Expr:
    if part is meter.read and (_constant(node) or isinstance(node, nodes.Compare | nodes.Test | nodes.Not)):
        return node
    return nodes.Filter(node, f" {part.__name__}", list(more), [], None, None, lineno=node.lineno)


def _constant(node: nodes.Node) -> bool:
    """Return whether the node is written out in the template, and so no larger than it."""
    inner = list(node.iter_child_nodes())
    return isinstance(node, nodes.Const) or (
        isinstance(node, nodes.List | nodes.Tuple | nodes.Dict | nodes.Pair) and all(map(_constant, inner))
    )
