"""The names that the judges of LeetCode problems provide, as builtins of the program.

Run in the program's process, before the program: what it defines itself wins, and its own
namespace holds nothing but its own names. Arguments are JSON: the two node classes are here for
the annotations of starter codes.
"""

import builtins
import importlib
import importlib.util
import sys

_MODULES = """
string re datetime collections heapq bisect copy math random statistics itertools functools
operator io sys json typing
""".split()  # noqa: SIM905 (a list of names is easier to read this way)


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right


def _given() -> dict:
    given = {"ListNode": ListNode, "TreeNode": TreeNode}
    for name in _MODULES:
        exec(f"from {name} import *", given)
    given.update({name: importlib.import_module(name) for name in _MODULES})
    if importlib.util.find_spec("sortedcontainers"):
        exec("from sortedcontainers import SortedDict, SortedList, SortedSet", given)
    return {name: value for name, value in given.items() if not hasattr(builtins, name)}


GIVEN = _given()  # once, before the first fork


def provide() -> None:
    """Make the names builtins of this process, for good."""
    vars(builtins).update(GIVEN)
    sys.setrecursionlimit(50_000)
