from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import SettingsError
from everlearn.settings import Settings, load
from everlearn.settings.layers import setting_names
from everlearn.settings.reference import settings_page


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with different root directories are not equal."""
    monkeypatch.chdir(tmp_path)


def test_without_a_file_the_defaults_apply(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml", environ={}) == Settings()


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert load(path, environ={}) == Settings()


def test_environment_wins_over_profile_over_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "learn: {seed: 1}\nthreads: 1\ngate: {alpha: 0.01}\nprofiles: {nightly: {learn: {seed: 2}, threads: 2}}",
        encoding="utf-8",
    )
    assert load(path, environ={}).learn.seed == 1
    night = load(path, profile="nightly", environ={"EVERLEARN_THREADS": "3", "PATH": "/bin"})
    assert (night.profile, night.learn.seed, night.threads, night.gate.alpha) == ("nightly", 2, 3, 0.01)


def test_profile_from_argument_wins_over_environment(tmp_path: Path) -> None:
    environ = {"EVERLEARN_PROFILE": "nightly"}
    assert load(tmp_path / "none", environ=environ).profile == "nightly"
    assert load(tmp_path / "none", profile="quick", environ=environ).profile == "quick"


def test_secrets_in_the_environment_are_not_settings(tmp_path: Path) -> None:
    assert (
        load(tmp_path / "none", environ={"EVERLEARN_SIGNING_KEY": "pem", "EVERLEARN_DIRECTORY": "/srv"}) == Settings()
    )


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERLEARN_STORE__BUCKET", "elsewhere")
    assert load(tmp_path / "none").store.bucket == "elsewhere"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"EVERLEARN_LEARN__SED": "1"}, "unknown setting learn.sed; did you mean learn.seed?"),
        ({"EVERLEARN_ZZZZZZZZ": "1"}, "unknown setting zzzzzzzz; the settings are domain"),
        ({"EVERLEARN_GATE__ALPHA": "much"}, "setting gate.alpha"),
        ({"EVERLEARN_GATE": ""}, "setting gate"),
        ({"EVERLEARN_PROFILE": "qick"}, "unknown profile 'qick': use one of nightly, quick"),
        ({"EVERLEARN_THREADS": "[1"}, "EVERLEARN_THREADS='[1' is not a YAML value"),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(tmp_path / "none", environ=environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"learn: {sed: 1}", "did you mean learn.seed?"),
        (b"- a list", "expected `name: value` lines, found list"),
        (b"profiles: 7", "profiles: expected `name: value` lines, found int"),
        (b"profiles: {quick: 7}", "profiles.quick: expected `name: value` lines"),
        (b"profile: qick\nprofiles: {laptop: {}}", "unknown profile 'qick': use one of laptop, nightly, quick"),
        (b"profiles: {quick: {threads: 0}}", "setting threads"),
        (b"learn: {importance: sequence}", "it needs loss: grpo"),
        (b"rollouts: {engine: vllm, servers: ['http://one']}", "set adapters"),
        (b"rollouts: {servers: ['http://one'], adapters: /a}", "set engine: vllm"),
        (
            b"{compute: {quantization: nf4}, rollouts: {engine: vllm}}",
            "settings: Value error, compute.quantization: nf4 trains on",
        ),
        (
            b"format: {template: {tokenize: true}}",
            "template: tokenize is no argument of a chat template but of the rendering",
        ),
        (b"format: {template: {enable thinking: false}}", "setting format.template"),
        (b"format: {template: {effort: [low]}}", "setting format.template.effort"),
        (b"format: {template: {effort: .inf}}", "setting format.template.effort"),
        (b"store: {bucket: A B C}", "setting store.bucket"),
        (b"retention: {lease_seconds: 50000}", "at least twice lease_seconds"),
        (b"a: [", "is not readable as YAML"),
        (b"\xff\xfe\x00", "is not readable as YAML"),
    ],
)
def test_a_bad_file_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(path, environ={})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threads = 2  # type: ignore[misc]


def test_setting_names_are_dotted() -> None:
    assert "learn.seed" in setting_names()
    assert all("." in name or name in Settings.model_fields for name in setting_names())


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
    assert settings.rollout_backend.program == path.parent / ".vllm" / "bin" / "vllm"


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


# Equal on revision 9353ed6, before the settings were split into modules, and on 05bc9bb. The gate's settings decide
# about no weights and enter no key: they may get new members and defaults.
ADDED_LATER: dict[str, Any] = {
    "base": {"model", "revision", "commit"},
    "certification": True,
    "compute": True,
    "context": True,
    "format": True,
    "learn": {"checkpoint_minutes", "start", "grow_rank", "anchor_kl", "anchors", "pseudo_labels", "updates"},
    "prices": True,
    "rollouts": {"engine", "servers", "program", "gpu_share"},
    "supervised": True,
}
DIGEST = "f84231333ff2af0295d5733266e5257c87abf8711249c1d39416c0507104de65"


def test_no_setting_of_an_earlier_release_has_changed() -> None:
    """The frozen settings of open nights and the keys of cycles rest on this."""
    dumped = Settings().model_dump(mode="json", exclude={"data": True, "gate": True, **ADDED_LATER})
    dumped["learn"]["memory_gib"] = 4.0  # what null means on a CPU, and in the key of a cycle
    dumped["rollouts"]["replicas"] = []  # now called servers; the test below reads it
    assert digest_of(canonical(dumped)) == DIGEST


@pytest.mark.parametrize(("servers", "engine"), [((), "local"), (("http://gpu-1:8000",), "vllm")])
def test_rollouts_that_release_0_1_0_froze_are_read(servers: tuple[str, ...], engine: str) -> None:
    frozen = {"rollouts": {"replicas": servers, "adapters": "/shared" if servers else None, "dtype": "float32"}}
    read = Settings.model_validate(frozen).rollouts
    assert (read.servers, read.engine, read.dtype) == (servers, engine, "float32")


LAYERED = {
    "ladder.rungs": st.integers(1, 9),
    "ladder.depth": st.integers(1, 9),
    "learn.seed": st.integers(0, 9),
    "threads": st.integers(1, 9),
    "learn.bf16": st.sampled_from([True, False, None]),
    "rollouts.adapters": st.sampled_from(["here", "there", None]),
    "signing.trusted": st.lists(st.sampled_from("abc"), max_size=2),
}
layers = st.fixed_dictionaries({}, optional=LAYERED)


def nested(layer: dict[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for dotted, value in layer.items():
        *section, name = dotted.split(".")
        inner: dict[str, object] = tree.setdefault(section[0], {}) if section else tree  # type: ignore[assignment]
        inner[name] = value
    return tree


@given(in_file=layers, in_profile=layers, in_environment=layers)
def test_the_upper_layer_wins_setting_by_setting(
    in_file: dict[str, object], in_profile: dict[str, object], in_environment: dict[str, object]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(json.dumps(nested(in_file) | {"profiles": {"nightly": nested(in_profile)}}), encoding="utf-8")
        environ = {
            f"EVERLEARN_{dotted.replace('.', '__').upper()}": json.dumps(value)
            for dotted, value in in_environment.items()
        }
        settings = load(path, profile="nightly", environ=environ)
        expected = nested(in_file | in_profile | in_environment) | {"profile": "nightly"}
        assert settings == Settings.model_validate(expected, context={"root": Path(folder)})


@pytest.mark.parametrize(
    ("variable", "value", "section", "name", "expected"),
    [
        ("LEARN__STALENESS", "1", "learn", "staleness", 1),
        ("LEARN__BF16", "yes", "learn", "bf16", True),
        ("LEARN__BF16", "~", "learn", "bf16", None),
        ("LEARN__BF16", "", "learn", "bf16", None),
        ("ROLLOUTS__ADAPTERS", "/shared/adapters", "rollouts", "adapters", Path("/shared/adapters")),
        ("SIGNING__TRUSTED", "[a, b]", "signing", "trusted", ("a", "b")),
        ("LEARN", "{seed: 4, steps: 2}", "learn", "seed", 4),
        ("learn__seed", "4", "learn", "seed", 4),
    ],
)
def test_values_of_variables_are_yaml(variable: str, value: str, section: str, name: str, expected: object) -> None:
    settings = load(environ={f"EVERLEARN_{variable}": value})
    assert getattr(getattr(settings, section), name) == expected


def test_names_in_a_file_are_case_sensitive(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("Learn: {seed: 1}", encoding="utf-8")
    with pytest.raises(SettingsError, match="unknown setting Learn"):
        load(environ={})


def test_frozen_settings_do_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Settings().model_dump_json()
    monkeypatch.setenv("EVERLEARN_LEARN__SEED", "7")
    assert Settings.model_validate_json(frozen).learn.seed == 0
    assert type(load()) is Settings


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({}, (Path("data/base"), None, "main")),
        ({"path": "here"}, (Path("here"), None, "main")),
        ({"model": "a/b"}, (None, "a/b", "main")),
        ({"model": "a/b", "path": None, "revision": "v1"}, (None, "a/b", "v1")),
    ],
)
def test_the_base_model_is_a_folder_or_a_name(base: dict[str, object], expected: tuple[object, ...]) -> None:
    settings = Settings.model_validate({"base": base})
    assert (settings.base.path, settings.base.model, settings.base.revision) == expected
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"path": "here", "model": "a/b"}, "set exactly one of base.path"),
        ({"path": None}, "set exactly one of base.path"),
        ({"revision": "v1"}, "belong to base.model"),
        ({"path": "here", "commit": "a" * 40}, "belong to base.model"),
        ({"model": "a/b", "commit": "main"}, "base.commit"),
        ({"model": "a/b/c"}, "base.model"),
        ({"model": "a/b", "revision": ""}, "base.revision"),
    ],
    ids=str,
)
def test_another_way_to_name_the_base_is_refused(base: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps({"base": base}), encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        load(tmp_path / "params.yaml", environ={})


@pytest.mark.parametrize(
    ("in_file", "in_profile", "in_environment", "expected"),
    [
        ({"path": "here"}, {"model": "a/b"}, {}, (None, "a/b", "main")),
        ({"path": "here"}, {}, {"MODEL": "a/b", "REVISION": "v1"}, (None, "a/b", "v1")),
        ({"model": "a/b", "revision": "v1"}, {"path": "here"}, {}, (Path("here"), None, "main")),
        ({"model": "a/b", "revision": "v1"}, {"model": "c/d"}, {}, (None, "c/d", "v1")),
        ({"model": "a/b"}, {"revision": "v1"}, {}, (None, "a/b", "v1")),
        ({"path": "here"}, {"model": "a/b"}, {"PATH": "there"}, (Path("there"), None, "main")),
    ],
)
def test_a_later_layer_names_the_base_in_another_way(
    in_file: dict[str, str],
    in_profile: dict[str, str],
    in_environment: dict[str, str],
    expected: tuple[object, ...],
    tmp_path: Path,
) -> None:
    profiles = {"quick": {"base": in_profile}}
    (tmp_path / "params.yaml").write_text(json.dumps({"base": in_file, "profiles": profiles}), encoding="utf-8")
    environ = {f"EVERLEARN_BASE__{name}": value for name, value in in_environment.items()}
    base = load(tmp_path / "params.yaml", environ=environ).base
    assert (base.path, base.model, base.revision) == expected


def test_a_model_by_name_has_no_folder_of_its_own() -> None:
    with pytest.raises(SettingsError, match="it has a folder only after it was downloaded"):
        _ = Settings.model_validate({"base": {"model": "a/b"}}).base_directory


def test_every_setting_is_described() -> None:
    page = settings_page()
    assert "| None |" not in page
    for name in setting_names():
        assert f"| `{name}` |" in page
        assert f"| `EVERLEARN_{name.replace('.', '__').upper()}` |" in page


def test_the_settings_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def test_importing_the_settings_does_not_import_pydantic_settings() -> None:
    code = "import everlearn.settings, sys; sys.exit('pydantic_settings' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("changes", [{"device": "cuda"}, {"device": "cuda:1"}, {"dtype": "bfloat16"}], ids=str)
def test_the_fast_policy_is_refused_off_its_ground(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="policy: fast computes in float32 on a CPU"):
        Settings.model_validate({"compute": {"policy": "fast", **changes}})


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Settings.model_validate({"compute": {"device": "tpu"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learn: {seed: 3}\ngate: {alpha: 0.1}\nlearn: {rank: 4}\n", "line 3: 'learn' is named twice"),
        ("profiles:\n  quick:\n    learn:\n      seed: 3\n      seed: 4\n", "line 5: 'seed' is named twice"),
        ("learn:\n\tseed: 3\n", "line 2: while scanning for the next token, found character that cannot start"),
        ("base: {model: a/b, revision: 2026-02-30}\n", "day is out of range for month"),
        ("on: 3\n", "YAML reads the name True as bool; put it in quotes"),
        ("profiles: {2024: {learn: {seed: 3}}}\n", "YAML reads the name 2024 as int; put it in quotes"),
        ("gate: {approval_hours: .inf}\n", "setting gate.approval_hours: Input should be a finite number"),
    ],
)
def test_a_file_that_does_not_mean_what_it_says_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load(path, environ={})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_anchor_may_be_used_twice_but_not_hide_a_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("learn: &few {steps: 3}\nprofiles: {a: {learn: *few}, b: {learn: *few}}\n", encoding="utf-8")
    assert load(path, profile="b", environ={}).learn.steps == 3


@pytest.mark.parametrize("line", ["2024", "on", "1.5", "2026-11-30"])
def test_a_text_in_the_environment_may_look_like_a_number(line: str, tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml", environ={"EVERLEARN_STORE__LINE": line}).store.line == line


def test_what_watch_tells_its_command_is_no_setting(tmp_path: Path) -> None:
    told = {"EVERLEARN_VERSION": "v0001", "EVERLEARN_PATH": "/srv/adapters/v0001"}
    assert load(tmp_path / "none.yaml", environ=told) == Settings()


def test_a_password_in_the_address_of_the_store_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as refused:
        load(tmp_path / "none", environ={"EVERLEARN_STORE__ENDPOINT_URL": "http://key:s3cret@127.0.0.1:9000"})
    assert "s3cret" not in str(refused.value)
