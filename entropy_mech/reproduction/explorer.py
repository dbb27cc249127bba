"""A picture with controls that move it; without a front end, the picture alone."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entropy_mech.runs.handle import has_front_end

_DPI = 100


class Explorer:
    """What a cell shows: controls above a figure or a page, drawn anew when one is moved.

    Where there is no front end (papermill, a viewer of saved notebooks) the cell shows what was
    drawn last, so that a notebook says something everywhere.

    Attributes:
        content: what is drawn now: a Matplotlib figure, or HTML.
        values: the controls' values, by name.

    """

    def __init__(
        self,
        draw: Callable[..., Figure | str],
        values: Mapping[str, Any],
        controls: Callable[[], dict[str, Any]] = dict,
    ):
        """Draw once.

        Args:
            draw: takes the values as keywords and returns a figure or HTML.
            values: what to draw first, by control.
            controls: makes the ipywidgets, by name; called when somebody is to see them.

        """
        self._draw, self._controls = draw, controls
        self.values = dict(values)
        self.content = draw(**self.values)
        self._rendered: bytes | None = None

    @cached_property
    def controls(self) -> dict[str, Any]:
        """The ipywidgets by name; moving one draws anew."""
        found = self._controls()
        for name, control in found.items():
            control.observe(lambda change, name=name: self._moved(name, change["new"]), "value")
        return found

    @cached_property
    def widget(self):
        """The controls above the picture, as one ipywidget."""
        import ipywidgets

        # Two sliders a row on a wide screen too, so that pairs stay pairs.
        rows = ipywidgets.Layout(flex_flow="row wrap", max_width="700px")
        return ipywidgets.VBox(
            [ipywidgets.Box(list(self.controls.values()), layout=rows), self.picture]
        )

    @cached_property
    def picture(self):
        """The picture as an ipywidget: an image, or a page."""
        import ipywidgets

        if isinstance(self.content, Figure):
            return ipywidgets.Image(value=self._png(), format="png", layout={"max_width": "100%"})
        return ipywidgets.HTML(value=self.content)

    def save(self, name: str, *, profile: str = "toy", out_dir: str = "") -> Explorer:
        """Write what is drawn now under ``figures/``, as PNG or HTML, and return self.

        ``out_dir`` empty: ``out/<profile>`` in the project folder, as every notebook has it.
        """
        from entropy_mech.runs.store import atomic_write, project_root

        folder = (Path(out_dir) if out_dir else project_root() / "out" / profile) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        drawn = isinstance(self.content, Figure)
        path = folder / (name + (".png" if drawn else ".html"))
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._png() if drawn else self.content.encode())
        return self

    def _moved(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.content, self._rendered = self._draw(**self.values), None
        self.picture.value = self._png() if isinstance(self.content, Figure) else self.content

    def _png(self) -> bytes:
        if self._rendered is None:  # once: it takes time, and constrained layout shifts at each
            buffer = io.BytesIO()
            self.content.savefig(buffer, format="png", dpi=_DPI)
            self._rendered = buffer.getvalue()
        return self._rendered

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if isinstance(self.content, Figure):
            bundle["image/png"] = self._png()
        else:
            bundle["text/html"] = self.content
        if self.values and has_front_end():
            bundle |= self.widget._repr_mimebundle_() | {"text/plain": repr(self)}
        return bundle

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        return f"Explorer({shown})" if self.values else str(self.content)


def only_words(text: str) -> Explorer:
    """Return an explorer that has nothing to move and says why; code in `backquotes`."""
    page = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return Explorer(lambda: f"<p>{page}</p>", {})
