"""Figures: tidy frame + Axes in, Axes out."""
