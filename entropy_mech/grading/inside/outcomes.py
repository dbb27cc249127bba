"""How a test can end, apart from passing. No program can raise these: their classes stay here."""


class BadTests(BaseException):
    """The tests themselves cannot be run; no program could pass or fail them."""


class Failed(BaseException):
    """``pytest.fail``."""


class XFailed(Failed):
    """``pytest.xfail``."""


class Skipped(BaseException):
    """``pytest.skip``."""
