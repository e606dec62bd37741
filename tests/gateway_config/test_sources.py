"""Which files a configuration is made of, and what counts as a change of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openai_gateway import config
from openai_gateway.config.sources import files_of_content, files_of_environment, marks


def test_a_mark_stays_until_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a")
    before = marks([str(path)])
    assert marks([str(path)]) == before
    path.write_text("ab")
    assert marks([str(path)]) != before


def test_other_rights_are_a_change(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch(0o644)
    before = marks([str(path)])
    path.chmod(0o600)
    assert marks([str(path)]) != before


def test_a_file_that_another_takes_the_place_of_has_another_mark_though_it_is_as_old_and_as_long(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "f", tmp_path / "g"
    for one in (path, other):
        one.write_text("a")
        os.utime(one, (0, 0))
    before = marks([str(path)])
    other.replace(path)
    assert marks([str(path)]) != before


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("a")
    (tmp_path / "now").symlink_to("one")
    before = marks([str(tmp_path / "now" / "f")])
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert marks([str(tmp_path / "now" / "f")]) != before


@pytest.mark.parametrize("path", ["/no/such/file", "~nobody-of-this-name/f", "\0"])
def test_a_file_that_is_not_there_has_no_mark(path: str) -> None:
    assert marks([path, path]) == {path: None}


def test_the_files_of_the_content_are_found_before_anything_is_checked() -> None:
    content = {
        "providers": {
            "a": {"api_key": {"file": "~/key"}, "ca_bundle": "ca.pem", "client_cert": 5},
            "b": {"api_key": {"env": "B_KEY"}},
            "c": {"api_key": "literal"},
            "d": 5,
        }
    }
    found = list(files_of_content(content, {"B_KEY_FILE": "b.key", "C_KEY_FILE": "c.key"}))
    assert found == ["ca.pem", str(Path("~/key").expanduser()), "b.key"]
    assert list(files_of_content({"providers": 5}, {})) == []


def test_the_files_of_the_environment_are_those_of_keys_and_certificates() -> None:
    environ = {"OPENAI_API_KEY_FILE": "k", "GATEWAY_API_KEY_FILE": " ", "SSL_CERT_FILE": "ca", "LOG_FILE": "l"}
    assert list(files_of_environment(environ)) == ["k", "ca"]


def test_the_settings_name_their_files_and_the_providers_their_certificates(tmp_path: Path) -> None:
    key, bundle, path = tmp_path / "key", tmp_path / "ca.pem", tmp_path / "gateway.toml"
    for one in (key, bundle):
        one.write_text("a-key-of-some-length")
        one.chmod(0o600)
    path.write_text(
        f'[providers.p]\nkind = "openai"\napi_key = {{ file = "{key}" }}\nca_bundle = "{bundle}"\n'
        '[providers.q]\nkind = "echo"\n'
    )
    settings = config.load({}, config_path=str(path))

    assert list(settings.files) == [str(path), str(bundle), str(key)]
    providers = settings.table.providers
    assert providers["p"].certificates == settings.files[str(bundle)]
    assert providers["q"].certificates == ""


def test_settings_that_differ_in_nothing_but_the_age_of_a_file_are_equal(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[providers.p]\nkind = "echo"\n')
    before = config.load({}, config_path=str(path))
    os.utime(path, (0, 0))
    after = config.load({}, config_path=str(path))
    assert (before == after, before.files == after.files) == (True, False)


def test_a_remote_gateways_key_file_is_one_of_its_files(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key-of-some-length")
    key.chmod(0o600)
    environ = {"GATEWAY_URL": "https://gateway.example", "GATEWAY_API_KEY_FILE": str(key)}
    assert list(config.remote(environ).files) == [str(key)]
    assert list(config.embedded({"OPENAI_API_KEY_FILE": str(key)}).files) == [str(key)]
