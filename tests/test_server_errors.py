import socket
import time

import pytest

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.server_errors import accepts_connections, error_class, is_retryable, one_line


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 529, 599])
def test_a_temporary_status_is_worth_a_retry(status):
    assert is_retryable(status)
    assert error_class(status) is RetryableError


@pytest.mark.parametrize("status", [0, 301, 308, 400, 401, 403, 404, 405, 409, 410, 412, 413, 422, 451, 501, 505])
def test_a_permanent_status_is_the_users_to_solve(status):
    assert not is_retryable(status)
    assert error_class(status) is UserError


def test_line_breaks_become_spaces():
    assert one_line(ValueError("first\r\n  second\tthird\n")) == "first second third"


def test_an_error_without_text_is_printed_as_its_class():
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line("") == ""


def test_a_long_text_is_cut_and_says_so():
    assert one_line("x" * 301) == "x" * 300 + "..."
    assert one_line("x" * 300) == "x" * 300
    assert one_line("abcdef", limit=3) == "abc..."


def test_control_characters_are_escaped():
    line = one_line("a\x1b[2Jb\x00c\u202ed\x9b")

    assert line == "a\\x1b[2Jb\\x00c\\u202ed\\x9b"
    assert line.isprintable()


def test_a_text_of_control_characters_is_not_longer_than_the_limit():
    assert len(one_line("\x00" * 10_000)) == 303


def test_letters_of_any_language_stay():
    assert one_line("größer 図 é") == "größer 図 é"


def test_a_server_that_listens_accepts_connections():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert accepts_connections(f"http://127.0.0.1:{server.getsockname()[1]}/models")


@pytest.mark.slow
def test_a_server_that_drops_connections_is_given_up_within_seconds():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # the queue holds one connection: the kernel drops what follows
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            start = time.monotonic()
            assert not accepts_connections(f"http://127.0.0.1:{port}")

    assert time.monotonic() - start < 30
