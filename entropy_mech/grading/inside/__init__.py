"""What runs inside the sandbox: standard library only, never imported by the package itself.

``server.py`` is started by :mod:`entropy_mech.grading.sandbox` and forks one process a program.
"""
