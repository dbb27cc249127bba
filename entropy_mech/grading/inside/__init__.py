"""What runs inside the sandbox; it imports nothing but the standard library.

``server.py`` is started by :mod:`entropy_mech.grading.sandbox` and forks one process a program.
"""
