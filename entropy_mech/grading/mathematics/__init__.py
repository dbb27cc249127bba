"""How answers to maths problems are found, read and compared; see ``grading/maths.py``."""
