from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import SettingsError
from everlearn.settings import Settings, load, merge, names

trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with different root directories are not equal."""
    monkeypatch.chdir(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml", environ={}) == Settings()


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert load(path, environ={}) == Settings()


def test_a_profile_wins_over_the_file_and_the_environment_over_both(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "learn: {seed: 1}\nthreads: 1\ngate: {alpha: 0.01}\nprofiles: {nightly: {learn: {seed: 2}, threads: 2}}",
        encoding="utf-8",
    )
    assert load(path, environ={}).learn.seed == 1
    night = load(path, profile="nightly", environ={"EVERLEARN_THREADS": "3", "PATH": "/bin"})
    assert (night.profile, night.learn.seed, night.threads, night.gate.alpha) == ("nightly", 2, 3, 0.01)


def test_the_environment_can_choose_the_profile_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    environ = {"EVERLEARN_PROFILE": "nightly"}
    assert load(tmp_path / "none", environ=environ).profile == "nightly"
    assert load(tmp_path / "none", profile="quick", environ=environ).profile == "quick"


def test_a_secret_in_the_environment_is_no_setting(tmp_path: Path) -> None:
    assert (
        load(tmp_path / "none", environ={"EVERLEARN_SIGNING_KEY": "pem", "EVERLEARN_DIRECTORY": "/srv"}) == Settings()
    )


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERLEARN_STORE__BUCKET", "elsewhere")
    assert load(tmp_path / "none").store.bucket == "elsewhere"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"EVERLEARN_LEARN__SED": "1"}, "no setting is called learn.sed; did you mean learn.seed?"),
        ({"EVERLEARN_ZZZZZZZZ": "1"}, "no setting is called zzzzzzzz; the settings are domain"),
        ({"EVERLEARN_GATE__ALPHA": "much"}, "setting gate.alpha"),
        ({"EVERLEARN_GATE": ""}, "setting gate"),
        ({"EVERLEARN_PROFILE": "qick"}, "setting profile"),
        ({"EVERLEARN_THREADS": "[1"}, "EVERLEARN_THREADS='[1' is no YAML value"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(tmp_path / "none", environ=environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"learn: {sed: 1}", "did you mean learn.seed?"),
        (b"- a list", "expected `name: value` lines, found list"),
        (b"profiles: 7", "profiles: expected `name: value` lines, found int"),
        (b"profiles: {quick: 7}", "profiles.quick: expected `name: value` lines"),
        (b"profiles: {qick: {}}", "no profile is called 'qick'"),
        (b"profiles: {quick: {threads: 0}}", "setting threads"),
        (b"learn: {importance: sequence}", "it needs loss: grpo"),
        (b"rollouts: {replicas: ['http://one']}", "set adapters"),
        (
            b"rollouts: {replicas: ['http://one'], adapters: /a}\nlearn: {processes: 2}",
            "sampled by rollouts.replicas or by learn.processes",
        ),
        (b"a: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_a_bad_file_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(path, environ={})


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threads = 2  # type: ignore[misc]


def test_all_sections_refuse_names_they_do_not_know() -> None:
    assert "learn.seed" in names(Settings)
    assert all("." in name or name in Settings.model_fields for name in names(Settings))


def test_relative_paths_start_at_the_directory_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "project" / "params.yaml"
    path.parent.mkdir()
    path.write_text("store: {line: math}\nrollouts: {adapters: shared}\nbase: {path: /models/base}", encoding="utf-8")
    settings = load(Path("project/params.yaml"), environ={})
    monkeypatch.chdir("/")
    assert settings.root == path.parent
    assert settings.base_directory == Path("/models/base")
    assert settings.suites_directory == path.parent / "data" / "suites"
    assert settings.inbox_directory == path.parent / ".everlearn" / "inbox" / "math"
    assert settings.key_file == path.parent / ".everlearn" / "signing.pem"
    assert settings.rollout_backend.adapters == path.parent / "shared"
    assert Settings().rollout_backend == Settings().rollouts


def test_without_a_file_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path / "elsewhere" / "none.yaml", environ={})
    monkeypatch.chdir("/")
    assert settings.root == tmp_path


def test_the_root_is_copied_but_not_dumped(tmp_path: Path) -> None:
    settings = Settings.model_validate({}, context={"root": tmp_path / "there"})
    assert settings.model_copy(update={"threads": 2}).root == tmp_path / "there"
    assert pickle.loads(pickle.dumps(settings)).root == tmp_path / "there"
    assert settings.model_dump() == Settings().model_dump()
    assert Settings.model_validate_json(settings.model_dump_json()).root == tmp_path


# Computed on revision 9353ed6, before the settings were split into modules.
DIGEST = "a27120b61150786a8f059ab6cacd1821899ad4bd6eeb6e7edd1015a015cc2d6f"


def test_no_setting_of_an_earlier_release_has_changed() -> None:
    """The frozen settings of open nights and the keys of cycles rest on this."""
    dumped = Settings().model_dump(mode="json", exclude={"data"})
    assert digest_of(canonical(dumped)) == DIGEST


@given(below=mappings, above=mappings)
def test_merging_keeps_every_name_and_lets_the_upper_value_win(
    below: dict[str, object], above: dict[str, object]
) -> None:
    merged = merge(below, above)
    assert merged.keys() == below.keys() | above.keys()
    assert merge(merged, above) == merged
    assert all(merged[name] == value for name, value in above.items() if not isinstance(value, dict))
