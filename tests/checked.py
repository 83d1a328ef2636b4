"""Checks the types and shapes of every call in the package, as jaxtyping's own import hook does, at a third of the cost.

That one checks arguments twice, to say more of what is wrong, which makes tracing a rule half as slow again; and it binds the
names of axes for functions that are handed no arrays.
"""

import ast
import functools
import importlib.machinery
import inspect
import sys
import typing

import jaxtyping
from beartype import beartype


def check(defined):
    """Decorate a function, or the constructor of a dataclass."""
    if isinstance(defined, type):
        if "__dataclass_fields__" in vars(defined) and inspect.isfunction(defined.__init__):
            defined.__init__ = check(defined.__init__)
        return defined
    annotations = inspect.get_annotations(defined).values()
    if any(_holds(annotation, _is_name) for annotation in annotations):  # which jaxtyping alone knows to look up
        return jaxtyping.jaxtyped(typechecker=beartype)(defined)
    checked = beartype(defined)
    return (
        _with_axes(defined, checked)
        if any(_holds(annotation, _has_axes) for annotation in annotations)
        else _switched(defined, checked)
    )


def _with_axes(defined, checked):
    """The same function, the names of its axes bound anew at each call."""

    @functools.wraps(defined)
    def call(*arguments, **named):
        if jaxtyping.config.jaxtyping_disable:
            return defined(*arguments, **named)
        with jaxtyping.jaxtyped("context"):
            return checked(*arguments, **named)

    return call


def _switched(defined, checked):
    """The same function, checked unless checks are off (`test_misuse.py`)."""

    @functools.wraps(defined)
    def call(*arguments, **named):
        return (defined if jaxtyping.config.jaxtyping_disable else checked)(*arguments, **named)

    return call


def _holds(annotation, kind):
    """Whether an annotation is of that kind, or a part of it."""
    return kind(annotation) or any(_holds(part, kind) for part in typing.get_args(annotation))


def _is_name(annotation):
    return isinstance(annotation, str | typing.ForwardRef)


def _has_axes(annotation):
    return getattr(annotation, "__module__", None) == "jaxtyping"


class Loader(importlib.machinery.SourceFileLoader):
    """Decorates all functions and classes of a module; never reads or writes bytecode, which would be that of another hook."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in list(ast.walk(tree)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                decorator = ast.copy_location(ast.parse("__import__('checked').check", mode="eval").body, node)
                # nearest to a function, which others may wrap without its annotations; after @dataclass, which makes __init__
                node.decorator_list.insert(0 if isinstance(node, ast.ClassDef) else len(node.decorator_list), decorator)
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class Finder:
    """Finds the package's modules, to be loaded as above."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] != "jaxrnn":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Check what is imported from now on."""
    sys.meta_path.insert(0, Finder)
