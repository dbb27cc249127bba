"""The fixtures that pytest itself brings: captured output, folders, patches, logs, warnings."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import pathlib
import sys
import tempfile
import types
from collections import namedtuple

import pytest

Captured = namedtuple("CaptureResult", "out err")


class CaptureFixture:
    """``capsys`` and its like: what was printed since the last look."""

    __class_getitem__ = classmethod(types.GenericAlias)

    def __init__(self, binary=False):
        self.binary = binary
        self.before = sys.stdout, sys.stderr
        self.streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
        sys.stdout, sys.stderr = self.streams

    def readouterr(self):
        texts = []
        for stream in self.streams:
            stream.flush()
            data = stream.buffer.getvalue()
            stream.buffer.seek(0)
            stream.buffer.truncate()
            texts.append(data if self.binary else data.decode("utf-8", "replace"))
        return Captured(*texts)

    @contextlib.contextmanager
    def disabled(self):
        sys.stdout, sys.stderr = self.before
        try:
            yield
        finally:
            sys.stdout, sys.stderr = self.streams

    def close(self):
        sys.stdout, sys.stderr = self.before


class TempPathFactory:
    """``tmp_path_factory``."""

    def __init__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(dir=os.getcwd()))

    def getbasetemp(self):
        return self.base

    def mktemp(self, basename, numbered=True):
        if not numbered:
            (self.base / basename).mkdir()
            return self.base / basename
        return pathlib.Path(tempfile.mkdtemp(prefix=basename, dir=self.base))


class LogCaptureFixture(logging.Handler):
    """``caplog``."""

    def __init__(self):
        super().__init__(0)
        self.records, self.levels = [], {}
        logging.getLogger().addHandler(self)

    def emit(self, record):
        self.records.append(record)

    @property
    def handler(self):
        return self

    @property
    def messages(self):
        return [record.getMessage() for record in self.records]

    @property
    def record_tuples(self):
        return [(r.name, r.levelno, r.getMessage()) for r in self.records]

    @property
    def text(self):
        style = logging.Formatter("%(levelname)-8s %(name)s:%(filename)s:%(lineno)d %(message)s")
        return "".join(style.format(record) + "\n" for record in self.records)

    def clear(self):
        self.records.clear()

    def get_records(self, _when):
        return self.records

    def set_level(self, level, logger=None):
        named = logging.getLogger(logger)
        self.levels.setdefault(logger, named.level)
        named.setLevel(level)

    @contextlib.contextmanager
    def at_level(self, level, logger=None):
        named = logging.getLogger(logger)
        old = named.level
        named.setLevel(level)
        try:
            yield
        finally:
            named.setLevel(old)

    def close_down(self):
        logging.getLogger().removeHandler(self)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


# -- by name ------------------------------------------------------------------------------------
def _capture(binary):
    def make(_request):
        capture = CaptureFixture(binary)
        return capture, capture.close

    return make


def _monkeypatch(_request):
    patch = pytest.MonkeyPatch()
    return patch, patch.undo


def _caplog(_request):
    log = LogCaptureFixture()
    return log, log.close_down


def _recwarn(_request):
    recorder = pytest.WarningsRecorder(_ispytest=True)
    recorder.__enter__()
    return recorder, lambda: recorder.__exit__(None, None, None)


def _local_path(path):
    return importlib.import_module("py").path.local(path)


def _folder(kind):
    return lambda _request: (kind(tempfile.mkdtemp(dir=os.getcwd())), None)


# What each makes: the value, and how to end it. The scope is a test's own unless noted.
BUILTIN = {
    "capsys": _capture(False), "capfd": _capture(False),
    "capsysbinary": _capture(True), "capfdbinary": _capture(True),
    "monkeypatch": _monkeypatch, "caplog": _caplog, "recwarn": _recwarn,
    "tmp_path": _folder(pathlib.Path), "tmpdir": _folder(_local_path),
    "tmp_path_factory": lambda _request: (TempPathFactory(), None),
    "request": lambda request: (request, None),
    "record_property": lambda _request: (lambda *_: None, None),
    "anyio_backend": lambda _request: ("asyncio", None),
    "anyio_backend_name": lambda _request: ("asyncio", None),
}  # fmt: skip
SESSION_WIDE = {"tmp_path_factory", "anyio_backend", "anyio_backend_name"}
