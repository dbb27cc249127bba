# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Ways to read standard input and to print, and which outputs are the same."""

import pytest

from entropy_mech.grading.code import grade_program, same_output
from entropy_mech.grading.sandbox import Limits

# Each prints the sum of the two numbers in its input, which are 5 and 7.
PROGRAMS = {
    "mode": 'import sys\nassert sys.stdin.mode=="r" and sys.stdout.mode=="w" and sys.stdin.name=="<stdin>" and sys.stdout.name=="<stdout>" and sys.stderr.mode=="w"\nprint(sum(map(int,sys.stdin.read().split())))',
    "buffer": "import sys\nprint(sum(map(int,sys.stdin.buffer.read().split())))",
    "buffer.readline": "import sys\na=int(sys.stdin.buffer.readline());print(a+int(sys.stdin.buffer.readline()))",
    "fileno": "import sys,os\nprint(sum(map(int,os.read(sys.stdin.fileno(),1000).split())))",
    "open0": "print(sum(map(int,open(0).read().split())))",
    "open0 rb": 'print(sum(map(int,open(0,"rb").read().split())))',
    "devstdin": 'print(sum(map(int,open("/dev/stdin").read().split())))',
    "procfd": 'print(sum(map(int,open("/proc/self/fd/0").read().split())))',
    "devfd": 'print(sum(map(int,open("/dev/fd/0").read().split())))',
    "osread": "import os\nprint(sum(map(int,os.read(0,os.fstat(0).st_size or 9999).split())))",
    "fileinput": "import fileinput\nprint(sum(int(l) for l in fileinput.input()))",
    "fdopen": "import os\nprint(sum(map(int,os.fdopen(0).read().split())))",
    "eof": "s=0\nwhile True:\n try: s+=int(input())\n except EOFError: break\nprint(s)",
    "for": "import sys\nprint(sum(int(l) for l in sys.stdin))",
    "readlines": "import sys\nprint(sum(map(int,sys.stdin.readlines())))",
    "select": "import select,sys\nselect.select([sys.stdin],[],[])\nprint(sum(map(int,sys.stdin.read().split())))",
    "reconf": 'import sys\nsys.stdin.reconfigure(encoding="latin-1")\nsys.stdout.reconfigure(line_buffering=True)\nprint(sum(map(int,sys.stdin.read().split())))',
    "isatty": 'import sys\nassert not sys.stdin.isatty() and sys.stdin.encoding.lower()=="utf-8"\nprint(int(input())+int(input()))',
    "out buffer": "import sys\nsys.stdout.buffer.write(str(int(input())+int(input())).encode())",
    "oswrite": "import os\nos.write(1,str(int(input())+int(input())).encode())",
    "writelines": 'import sys\nsys.stdout.writelines([str(int(input())+int(input())),"\\n"])',
    "open1": 'open(1,"w").write(str(int(input())+int(input())))',
    "stdout=open": 'import sys\nsys.stdin=open(0)\nsys.stdout=open(1,"w")\nprint(int(input())+int(input()))',
    "devstdout": 'open("/dev/stdout","w").write(str(int(input())+int(input())))',
    "iowrapper": "import sys,io\nsys.stdin=io.TextIOWrapper(sys.stdin.buffer)\nprint(int(input())+int(input()))",
    "input=readline": "import sys\ninput=sys.stdin.readline\nprint(int(input())+int(input()))",
    "fastio": """import os, sys
from io import BytesIO, IOBase
BUFSIZE = 8192
class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
        self.write = self.buffer.write if self.writable else None
    def read(self):
        while True:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            if not b: break
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines = 0
        return self.buffer.read()
    def readline(self):
        while self.newlines == 0:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            self.newlines = b.count(b"\\n") + (not b)
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines -= 1
        return self.buffer.readline()
    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)
class IOWrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode("ascii"))
        self.read = lambda: self.buffer.read().decode("ascii")
        self.readline = lambda: self.buffer.readline().decode("ascii")
sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip("\\r\\n")
print(int(input())+int(input()))
""",
    "mmap": "import mmap\nm=mmap.mmap(0,0,prot=mmap.PROT_READ)\nprint(sum(map(int,m[:].split())))",
    "subprocess": 'import subprocess\nprint(sum(map(int,subprocess.run(["/bin/cat"],capture_output=True).stdout.split())))',
    "exit()": "print(int(input())+int(input()))\nexit()",
    "quit": "print(int(input())+int(input()))\nquit(0)",
    "sys.exit none": "import sys\nprint(int(input())+int(input()))\nsys.exit()",
    "os._exit": "import os,sys\nprint(int(input())+int(input()))\nsys.stdout.flush()\nos._exit(0)",
    "thread": "import threading,sys\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1<<26)\ndef main(): print(int(input())+int(input()))\nt=threading.Thread(target=main);t.start();t.join()",
    "np": "import sys,numpy as np\nprint(np.loadtxt(sys.stdin,dtype=int).sum())",
    "main guard": 'def main():\n print(int(input())+int(input()))\nif __name__=="__main__": main()',
    "seek": "import sys\nsys.stdin.read();sys.stdin.seek(0);print(sum(map(int,sys.stdin.read().split())))",
    "tty": 'import sys\nfor line in iter(sys.stdin.readline,""): pass\nprint(12)',
    "asyncio": "import asyncio\nasync def main(): print(int(input())+int(input()))\nasyncio.run(main())",
    "argv": "import sys\nassert len(sys.argv)==1\nprint(12)",
    "file": "assert __file__\nprint(12)",
    "stdin.close": "import sys\na=sys.stdin.read().split();sys.stdin.close();print(sum(map(int,a)))",
    "ostream": 'import sys\nsys.stderr.write("x");print(12,file=sys.stdout,flush=True)',
    "hook": 'import builtins\nprint(int(builtins.input())+int(builtins.input("prompt" and "")))',
    "readinto": "import sys\nb=bytearray(100)\nn=sys.stdin.buffer.readinto(b)\nprint(sum(map(int,bytes(b[:n]).split())))",
    "peek": "import sys\nassert sys.stdin.buffer.peek(1)\nprint(sum(map(int,sys.stdin.buffer.raw.readall().split())) or 12)",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_ways_to_read_and_print(sandbox, name):
    if name.startswith("np"):
        pytest.importorskip("numpy")
    tests = {"inputs": ["5\n7\n"], "outputs": ["12"]}
    verdict = grade_program(PROGRAMS[name], tests, sandbox, Limits(timeout_s=20))
    assert verdict.name == "correct", verdict


def test_no_input_is_an_empty_input(sandbox):
    program = "import sys\ntry:\n    input()\nexcept EOFError:\n    print(repr(sys.stdin.read()))"
    tests = {"inputs": [""], "outputs": ["''"]}
    assert grade_program(program, tests, sandbox, Limits()).reward


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [("3\n", "\n3", True), ("\n3\n", "3", True), ("\n\n3", "\n3\n\n", True), ("1\n\n2", "1\n2", False), ("1\n2", "1\n\n2", False),
     ("1\r\n2\r\n", "1\n2", True), ("1\n2", "1\r\n2\r\n", True), ("1 \t2", "1 2  ", True), ("  1\n", "1", True), ("", "", True), ("\n", "", True),
     ("", "0", False), ("0", "", False), ("a\u2028b", "a\u2028b", True), ("a\u2028b", "a\nb", False), ("a\nb", "a\x85b", False), ("a\x85b", "a b", False),
     ("a\xa0b", "a b", False), ("a\x0cb\nc", "a\x0cb\nc", True), ("a\x0cb", "a\nb", False), ("a\x00b", "a\x00b", True), ("a\x00b", "ab", False), ("a", "a\x00", False),
     ("1_0.0", "10.0", False), ("１.０", "1.0", False), ("inf", "1e400", False), ("1e999", "1e400", False), ("1e400", "1e400", True), ("0.3", "0.30", True),
     (".5", "0.5", True), ("5.", "5.0", True), ("+5.0", "5.0", True), ("-0.0", "0.0", True), ("1.0", "1", False), ("1", "1.0", True), ("1e3", "1000", False),
     ("1000", "1e3", True), ("0x10", "16.0", False), ("True", "1.0", False), ("nan", "nan", True), ("yes", "YES", False), ("\ud800", "\ud800", True)],
)  # fmt: skip
def test_outputs_that_are_the_same(printed, expected, same):
    assert same_output(printed, expected) is same
