from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from everlearn.errors import SettingsError
from everlearn.registry.signing import VARIABLE, create_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.everlearn.cli.conftest import Ended


def test_keys_new_prints_only_the_public_key(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    file = tmp_path / "mine" / "signing.pem"
    ended = everlearn("keys", "new", str(file))
    assert ended.out == f"{create_key(file).key}\n"
    assert "signing.key_file" in ended.err
    assert "signing.trusted" in ended.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in ended.out + ended.err


def test_keys_new_overwrites_nothing(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    facts = everlearn("keys", "new", str(file), "--json").facts
    ended = everlearn("keys", "new", str(file))
    assert ended.code == SettingsError.exit_code
    assert f"{file} exists and is not overwritten" in ended.err
    assert facts == {"file": str(file), "public": create_key(file).key}


def test_keys_show_lists_signing_and_trusted_keys(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = create_key(tmp_path / "old.pem"), create_key(tmp_path / "new.pem")
    params.write_text(f"signing: {{key_file: {tmp_path / 'new.pem'}, trusted: ['{old.key}']}}", encoding="utf-8")
    facts = everlearn("keys", "show", "--json").facts
    both = [old.key, new.key]
    assert facts == {"signs": new.key, "from": str(tmp_path / "new.pem"), "trusted": both, "unsigned": False}
    shown = " ".join(everlearn("keys", "show").out.split())
    assert shown == f"public key {old.key} trusted {new.key} signs here"
    monkeypatch.setenv(VARIABLE, (tmp_path / "old.pem").read_text())
    facts = everlearn("keys", "show", "--json").facts
    assert (facts["signs"], facts["from"], facts["trusted"]) == (old.key, VARIABLE, [old.key])


def test_keys_show_without_a_private_key_or_unsigned(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path
) -> None:
    other = create_key(tmp_path / "other.pem").key
    params.write_text(f"signing: {{key_file: none, trusted: ['{other}']}}", encoding="utf-8")
    ended = everlearn("keys", "show")
    assert other in ended.out
    assert "versions can be read, not published" in ended.err
    params.write_text("signing: {unsigned: true}", encoding="utf-8")
    ended = everlearn("keys", "show")
    assert "nothing is signed, and nothing verified" in ended.out
    assert ended.err == ""
    params.write_text("signing: {key_file: none}", encoding="utf-8")
    ended = everlearn("keys", "show")
    assert ended.code == SettingsError.exit_code
    assert f"everlearn keys new {params.parent / 'none'}" in ended.err
