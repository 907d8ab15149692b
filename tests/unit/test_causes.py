"""What a worker tells of a chain of exceptions: outermost first, the innermost last."""

import pytest

from sdbench.worker.job import _causes_of


def raised(explicit: bool, suppressed: bool = False) -> BaseException:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            if explicit:
                raise RuntimeError("outer") from error
            if suppressed:
                raise RuntimeError("outer") from None
            raise RuntimeError("outer")  # noqa: B904 - the case in question
    except RuntimeError as error:
        return error


def test_chains_are_followed_and_end() -> None:
    assert _causes_of(raised(True)) == ["RuntimeError: outer", "KeyError: 'inner'"]
    assert _causes_of(raised(False)) == ["RuntimeError: outer", "KeyError: 'inner'"]
    assert _causes_of(raised(False, suppressed=True)) == ["RuntimeError: outer"]


def test_an_import_made_up_for_by_another_is_not_the_cause() -> None:
    with pytest.raises(ImportError) as caught:
        try:
            raise ModuleNotFoundError("No module named 'tomllib'")
        except ModuleNotFoundError:
            raise ModuleNotFoundError("No module named 'tomli'")  # noqa: B904
    assert _causes_of(caught.value) == ["ModuleNotFoundError: No module named 'tomli'"]


def test_a_circle_ends() -> None:
    error = RuntimeError("round")
    error.__cause__ = error
    assert _causes_of(error) == ["RuntimeError: round"]
