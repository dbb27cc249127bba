# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Classes of the tests below classes of the program, and what the program reads."""

from tests.grading.proxy_cases.objects import PROGRAM as OBJECTS

PROGRAM = (
    OBJECTS
    + """
class Greeter(abc.ABC):
    def __init__(self, name): self.name = name
    @abc.abstractmethod
    def word(self): ...
    @property
    @abc.abstractmethod
    def mark(self): ...
    def greet(self): return f"{self.word()}, {self.name}{self.mark}"
class Plug:
    registry = []
    def __init_subclass__(cls, **k): Plug.registry.append(cls.__name__); super().__init_subclass__(**k)
class Oops(Exception):
    def __init__(self, code): super().__init__(f"code {code}"); self.code = code
def ask(): return int(input("n? ")) * 2
def ask_all():
    import sys
    return [line.strip() for line in sys.stdin]
def raise_it(e): raise e
"""
)

SAID = [
    "class Mine(Account):\n    def deposit(self, n): return 'mine'\nassert Mine(3).deposit(1)=='mine' and Mine(3).balance == 3 and isinstance(Mine(1), Account) and issubclass(Mine, Account) and Mine.__name__ == 'Mine'",
    "class Mine(Account):\n    def __init__(self):\n        super().__init__(7)\n        self.extra = [1]\n    def deposit(self, n):\n        super().deposit(n * 10)\n        return self\nm=Mine()\nassert m.balance==7 and m.deposit(1).balance==17 and m.extra==[1] and m.history==[10]",
    "class Bad(Greeter): pass\nBad('x')",
    "class En(Greeter):\n    def word(self): return 'hi'\n    @property\n    def mark(self): return '!'\nassert En('bob').greet()=='hi, bob!'",
    "class En(Greeter):\n    def word(self): return 'hi'\n    @property\n    def mark(self): return '?'\nassert En('bob').greet()=='hi, bob!'",
    "class A1(Plug): pass\nassert Plug.registry==['A1']",
    "class E(Oops): pass\nimport pytest\nwith pytest.raises(Oops) as e: raise E(4)\nassert e.value.code==4 and str(e.value)=='code 4' and type(e.value) is E",
    "class E(Oops):\n    def __init__(self): super().__init__(9)\nimport pytest\nwith pytest.raises(E) as e: raise_it(E())\nassert e.value.code==9",
    "class S2(Shape):\n    def area(self): return 4\n    @staticmethod\n    def st(x): return x+1\n    @classmethod\n    def cm(cls): return cls.__name__\nassert S2().describe()=='S2 4' and S2.st(1)==2 and S2.cm()=='S2'",
    "def test(monkeypatch=None):\n    pass\nfrom unittest import mock\nwith mock.patch('builtins.input', return_value='21'): assert ask()==42",
    "from unittest import mock\nwith mock.patch('builtins.input', side_effect=['1','2']): assert ask()+ask()==6",
    "import io, sys\nfrom unittest import mock\nwith mock.patch('sys.stdin', io.StringIO('a\\nb\\n')): assert ask_all()==['a','b']",
    "ask()",
    "import pytest\nclass V2(Item):\n    def total(self, n=2): return -1\nassert V2('a').total()==-1 and V2('a')==V2('a') and repr(V2('a')).startswith('V2(')",
    "class Box2(Box):\n    def get(self): return [super().get()]\nassert Box2(3).get()==[3]",
    "class L(Account):\n    def __len__(self): return 5\n    def __add__(self, o): return 'sum'\nassert len(L())==5 and L()+1=='sum'",
]
