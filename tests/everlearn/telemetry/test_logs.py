from __future__ import annotations

import io
import json
import logging

import pytest

from everlearn import counters
from everlearn.cli.output import log_to_stderr
from everlearn.errors import SettingsError
from everlearn.telemetry import logs

LOG = logging.getLogger("everlearn.test")
SECRET = "a-secret-of-40-characters"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a handler writes that somebody else has set up."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(LOG, "handlers", [handler, logging.NullHandler()])
    monkeypatch.setattr(LOG, "propagate", False)
    monkeypatch.setattr(LOG, "level", logging.INFO)
    return stream


def test_every_line_is_an_object_that_knows_line_cycle_and_run(
    heard: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    logs.apply_format("everlearn.test")
    with logs.log_context(line="math", run="7c0e"):
        with logs.log_context(cycle="abc"):
            LOG.info("ladder: %d rungs, größer", 480)
        LOG.info("done")
    LOG.warning("outside")
    first, second, third = (json.loads(line) for line in heard.getvalue().splitlines())
    assert {
        "message": "ladder: 480 rungs, größer",
        "level": "INFO",
        "logger": "everlearn.test",
    }.items() <= first.items()
    assert (first["line"], first["cycle"], first["run"]) == ("math", "abc", "7c0e")
    assert (second["line"], second["cycle"]) == ("math", None)
    assert (third["line"], third["run"]) == (None, None)
    assert logs.context_fields() == {}


def test_an_error_is_one_object_too(heard: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    logs.apply_format("everlearn.test")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        LOG.exception("a bug")
    [line] = heard.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_text_is_left_to_whoever_set_it_up(heard: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERLEARN_LOG", raising=False)
    logs.apply_format("everlearn.test")
    LOG.info("as it was")
    assert heard.getvalue() == "as it was\n"


@pytest.mark.parametrize(("terminal", "told"), [(True, "hello\nworld"), (False, "hello line=math cycle=abc\nworld")])
def test_in_text_the_fields_stand_behind_the_line_unless_somebody_looks_on(terminal: bool, told: str) -> None:  # noqa: FBT001
    record = LOG.makeRecord("x", logging.INFO, "", 1, "hello\nworld", (), None)
    with logs.log_context(line="math", cycle="abc"):
        assert logs.TextFormatter("%(message)s", terminal=terminal).format(record) == told


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_value_of_a_secret_variable_is_never_shown(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", form)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("EVERLEARN_SIGNING_KEY", "-----BEGIN\nKEY-----\n")
    monkeypatch.setenv("PREFECT_API_KEY", "short")
    chosen = logs.formatter("%(message)s")
    told = f"keys {SECRET} and -----BEGIN\nKEY----- in short"
    shown = chosen.format(LOG.makeRecord("x", logging.INFO, "", 1, told, (), None))
    assert "keys *** and *** in short" in shown


def test_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "xml")
    with pytest.raises(SettingsError, match="json or text"):
        logs.is_json()


def test_a_command_narrates_in_the_form_that_is_asked_for(
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


def test_what_is_done_is_counted_and_never_taken_back() -> None:
    before = counters.snapshot()
    counters.increment("rollouts", by=8)
    counters.increment("verdicts")
    after = counters.snapshot()
    assert {what: after[what] - before[what] for what in after} == {"rollouts": 8, "verdicts": 1}
