from __future__ import annotations

import io
import json
import logging

import pytest

from everlearn.cli.output import log_to_stderr
from everlearn.errors import SettingsError
from everlearn.telemetry import logs

LOG = logging.getLogger("everlearn.test")
SECRET = "a-secret-of-40-characters"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the output of a handler that was configured elsewhere."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(LOG, "handlers", [handler, logging.NullHandler()])
    monkeypatch.setattr(LOG, "propagate", False)
    monkeypatch.setattr(LOG, "level", logging.INFO)
    return stream


def test_json_records_have_line_cycle_and_run(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    logs.apply_format("everlearn.test")
    with logs.log_context(line="math", run="7c0e"):
        with logs.log_context(cycle="abc"):
            LOG.info("ladder: %d rungs, größer", 480)
        LOG.info("done")
    LOG.warning("outside")
    first, second, third = (json.loads(line) for line in output.getvalue().splitlines())
    assert {
        "message": "ladder: 480 rungs, größer",
        "level": "INFO",
        "logger": "everlearn.test",
    }.items() <= first.items()
    assert (first["line"], first["cycle"], first["run"]) == ("math", "abc", "7c0e")
    assert (second["line"], second["cycle"]) == ("math", None)
    assert (third["line"], third["run"]) == (None, None)
    assert logs.context_fields() == {}


def test_json_error_is_one_object_with_traceback(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    logs.apply_format("everlearn.test")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        LOG.exception("a bug")
    [line] = output.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_text_format_keeps_existing_formatters(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERLEARN_LOG", raising=False)
    logs.apply_format("everlearn.test")
    LOG.info("as it was")
    assert output.getvalue() == "as it was\n"


@pytest.mark.parametrize(
    ("terminal", "expected"), [(True, "hello\nworld"), (False, "hello line=math cycle=abc\nworld")]
)
def test_text_fields_follow_the_line_except_at_a_terminal(terminal: bool, expected: str) -> None:  # noqa: FBT001
    record = LOG.makeRecord("x", logging.INFO, "", 1, "hello\nworld", (), None)
    with logs.log_context(line="math", cycle="abc"):
        assert logs.TextFormatter("%(message)s", terminal=terminal).format(record) == expected


@pytest.mark.parametrize("form", ["json", "text"])
def test_secret_values_are_redacted(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", form)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("EVERLEARN_SIGNING_KEY", "-----BEGIN\nKEY-----\n")
    monkeypatch.setenv("PREFECT_API_KEY", "short")
    formatter = logs.formatter("%(message)s")
    message = f"keys {SECRET} and -----BEGIN\nKEY----- in short"
    shown = formatter.format(LOG.makeRecord("x", logging.INFO, "", 1, message, (), None))
    assert "keys *** and *** in short" in shown


def test_unknown_format_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "xml")
    with pytest.raises(SettingsError, match="json or text"):
        logs.is_json()


def test_command_logs_in_the_selected_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("everlearn")
    before = (logger.handlers, logger.level, logger.propagate)
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    try:
        log_to_stderr()
        logging.getLogger("everlearn.night").info("hello")
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
    assert json.loads(capsys.readouterr().err)["message"] == "hello"


def test_a_record_does_not_control_the_terminal_that_shows_it() -> None:
    record = logging.LogRecord("everlearn.site", logging.INFO, __file__, 1, "/%s", ("\x1b[2J\x9b1m",), None)
    assert logs.TextFormatter("%(message)s").format(record) == "/[2J1m"
