"""Honest programs, each with statements about them: true ones, false ones, and some that raise.

What each statement deserves is not written down: real pytest says it, in the program's own
interpreter, and the grader must say the same.
"""

from tests.grading.proxy_cases import below, data, objects, operators, programs, running

FAMILIES = {
    family.__name__.rpartition(".")[2]: (family.PROGRAM, family.SAID)
    for family in (operators, data, objects, running, below, programs)
}
