"""The paper: its numbers, and for each figure and table one module with its claims and its drawing.

``published.py`` loads the printed and digitised numbers; README.md beside the data says how the
figures were read and how far to trust each reading.
"""
