import subprocess
import sys


def test_theory_loads_neither_torch_nor_matplotlib():
    code = "import sys, entropy_mech.theory; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
