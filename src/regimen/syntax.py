"""Python source as a syntax tree, also where several threads read some at once."""

from __future__ import annotations

import ast
import threading

_LOCK = threading.RLock()


def syntax_tree(source: str, name: str = "<unknown>") -> ast.Module:
    """`ast.parse`, one thread at a time. `name` is the file that a `SyntaxError` names.

    Python 3.11 counts how deep a tree is in one place for all threads: two that parse at once, where a garbage
    collection lets one of them wait, end in `SystemError: AST constructor recursion depth mismatch`
    (python/cpython#106905).
    """
    with _LOCK:
        return ast.parse(source, name)
