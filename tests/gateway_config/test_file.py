"""The TOML file: what it may say, and how a fault in it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openai_gateway import config
from openai_gateway.config import Overrides
from openai_gateway.errors import ConfigError
from openai_gateway.routing.plan import Price
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Breaking, Cache, Settings

CANARY = "sk-canary-0123456789abcdefghij"

FULL = """
[providers.openai]
kind = "openai"
base_url = "https://api.openai.com"
api_key = { env = "OPENAI_API_KEY" }
organization = "org-1"
project = "proj-1"
headers = { x-team = "blue" }
proxy = "http://proxy.example:3128"

[providers.built-in]
kind = "echo"

[[models]]
name = "gpt-5"
provider = "openai"
weight = 2
order = 1
rpm = 60
tpm = 100_000
max_parallel = 16
max_output_tokens = 8192
prefill = true
first_byte = 120
fallbacks = ["echo"]
context_fallbacks = ["long"]
price = { input = 1.25, output = 10.0, cached_input = 0.125 }

[[models]]
name = "echo"
provider = "built-in"

[[models]]
name = "long"
provider = "openai"
model = "gpt-long"

[timeouts]
connect = 2
first_byte = 10
idle = 11
total = 60

[retries]
max_retries = 1
max_attempts = 4

[cache]
enabled = true
ttl = 60
max_bytes = 2_097_152
"""


def load(directory: Path, text: str, *, mode: int = 0o644, **environ: str) -> Settings:
    path = directory / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return config.load(environ, config_path=str(path))


def fault(directory: Path, text: str, *, mode: int = 0o600, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, mode=mode, **environ)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_a_full_file_becomes_its_values(tmp_path: Path) -> None:
    settings = load(tmp_path, FULL, OPENAI_API_KEY=CANARY)

    openai = settings.table.providers["openai"]
    assert (openai.base_url, openai.organization, openai.project) == ("https://api.openai.com/v1", "org-1", "proj-1")
    assert (openai.headers, openai.proxy) == ({"x-team": "blue"}, "http://proxy.example:3128")
    assert (openai.url_set_by, openai.key_set_by) == ("base_url of openai", "api_key of openai")
    assert openai.api_key is not None
    assert openai.api_key.reveal() == CANARY
    first, echo, long = settings.table.rows
    assert (first.model, first.weight, first.order, first.rpm, first.tpm) == ("gpt-5", 2, 1, 60, 100_000)
    assert (first.max_parallel, first.max_output_tokens) == (16, 8192)
    assert (first.prefill, first.first_byte) == (Prefill.MESSAGE, 120)
    assert (first.fallbacks, first.context_fallbacks) == (("echo",), ("long",))
    assert first.price == Price(input=1.25, output=10.0, cached_input=0.125)
    assert (echo.provider, long.model, long.weight) == ("built-in", "gpt-long", 1)
    timeouts = settings.timeouts
    assert (timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total) == (2, 10, 11, 60)
    assert (settings.retries.max_retries, settings.retries.max_attempts) == (1, 4)
    assert settings.cache == Cache(enabled=True, ttl=60, max_bytes=2 * 2**20)
    assert settings.warnings == ()
    assert [secret.reveal() for secret in settings.secrets] == [CANARY]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("false", None),
        ("true", Prefill.MESSAGE),
        ('"continue_final_message"', Prefill.CONTINUE_FINAL_MESSAGE),
        ('"prefix"', Prefill.PREFIX),
    ],
)
def test_a_row_says_how_its_target_goes_on_from_a_message(tmp_path: Path, written: str, read: Prefill | None) -> None:
    (row,) = load(tmp_path, f"{ROW}prefill = {written}\n").table.rows
    assert row.prefill is read


def test_breakers_have_their_table(tmp_path: Path) -> None:
    assert load(tmp_path, f"{ROW}[breakers]\nfailures = 2\nrest = 1.5\n").breakers == Breaking(failures=2, rest=1.5)
    assert load(tmp_path, ROW).breakers == Breaking()


def test_flag_then_environment_then_file_then_default(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[providers.p]\nkind = "echo"\n[[models]]\nname = "m"\nprovider = "p"\n[timeouts]\nidle = 9\n')
    of_file = config.load({}, config_path=str(path))
    of_environment = config.load({"TIMEOUT": "8"}, config_path=str(path))
    of_flag = config.embedded({"TIMEOUT": "8"}, config_path=str(path), overrides=Overrides(timeout=7))

    assert (of_file.timeouts.idle, of_file.timeouts.first_byte) == (9, 30)
    assert (of_environment.timeouts.idle, of_environment.timeouts.first_byte) == (8, 8)
    assert (of_flag.timeouts.idle, of_flag.timeouts.first_byte) == (7, 7)


ECHO = '[providers.p]\nkind = "echo"\n'
ROW = f'{ECHO}[[models]]\nname = "m"\nprovider = "p"\n'
OPENAI = '[providers.p]\nkind = "openai"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[provider.p]\nkind = "echo"\n', 1, "unknown key 'provider' in the file. Did you mean 'providers'?"),
        (f'{OPENAI}url_set_by = "x"\n', 3, "unknown key 'url_set_by' in [providers.p]."),
        (f'{OPENAI}base-url = "x"\n', 3, "unknown key 'base-url' in [providers.p]. Did you mean 'base_url'?"),
        (f"{OPENAI}\nzzz = 1\n", 4, "Known are allow_insecure"),
        (f"{ROW}wieght = 2\n", 6, "unknown key 'wieght' in [[models]]. Did you mean 'weight'?"),
        (f"{ROW}\n[[models]]\nnmae = 1\n", 8, "unknown key 'nmae'"),
        (f"{ROW}price = {{ input = 1, outptu = 2 }}\n", 6, "unknown key 'outptu' in [models.price]"),
        (f"{ROW}[timeouts]\nfirst = 1\n", 7, "unknown key 'first' in [timeouts]"),
        (f"{ROW}[breakers]\nfailure = 1\n", 7, "Did you mean 'failures'?"),
        (f"{ROW}[breakers]\nfailures = 0\n", 7, "a whole number from 1 to 1000"),
        (f"{ROW}[breakers]\nrate = 2\n", 7, "at least 0.01 and at most 1"),
        (f"{ROW}[retries]\nretries = 1\n", 7, "Did you mean 'max_retries'?"),
        (f"{ROW}[cache]\nenable = true\n", 7, "unknown key 'enable' in [cache]. Did you mean 'enabled'?"),
        (f"{ROW}[cache]\nttl = 0\n", 7, "ttl in [cache] is 0; allowed is a number, more than 0"),
        (f"{ROW}[cache]\nmax_bytes = 5\n", 7, "a whole number from 1048576"),
        (f"{ROW}max_output_tokens = 0\n", 6, "a whole number from 1"),
        (f"{ROW}[cache]\nttl = {2**63}\n", 7, "a whole number here has more than 64 bits, which TOML does not allow."),
        (f"{ROW}[cache]\nmax_bytes = 0x{'f' * 9000}\n", 7, "more than 64 bits"),
        (f"{ROW}weight = -{'9' * 400}\n", 6, "more than 64 bits"),
        (f"{ROW}fallbacks = [{'9' * 400}]\n", 6, "more than 64 bits"),
        ('[providers.p]\nkind = "azure"\n', 1, "has no 'base_url'"),
        ('[providers.p]\nkind = "azure"\napi_version = "?"\n', 3, "allowed is a version such as 2024-10-21"),
        ('[providers.p]\nkind = "opnai"\n', 2, "allowed is one of openai, azure, anthropic, echo"),
        ("[providers.p]\n", 1, "has no 'kind'"),
        ("providers = 5\n", 1, "providers in the file is 5; allowed is a table"),
        ("[providers]\np = 5\n", 2, "p in [providers] is 5; allowed is a table"),
        (f"{ROW}weight = true\n", 6, "weight in [[models]] is True; allowed is a number, more than 0"),
        (f"{ROW}weight = 0\n", 6, "more than 0"),
        (f"{ROW}weight = nan\n", 6, "allowed is a number"),
        (f'{ROW}weight = "2"\n', 6, "is of type text"),
        (f"{ROW}weight = 2000-01-01\n", 6, "is of type date"),
        (f"{ROW}rpm = 0\n", 6, "a whole number from 1"),
        (f"{ROW}rpm = 1.0\n", 6, "rpm in [[models]] is 1.0"),
        (f"{ROW}order = false\n", 6, "a whole number from 0"),
        (f"{ROW}prefill = 1\n", 6, "true, false or one of message, continue_final_message, prefix"),
        (f'{ROW}prefill = "x"\n', 6, "true, false or one of message, continue_final_message, prefix"),
        (f'{ROW}fallbacks = "m"\n', 6, "a list of texts"),
        (f'{ROW}fallbacks = ["n"]\n', 6, "falls back to 'n', which no [[models]] row serves."),
        (f'{ROW}\ncontext_fallbacks = ["n"]\n', 7, "context_fallbacks: model 'm' falls back to 'n', which no"),
        (f"{ROW}price = {{ input = 1 }}\n", 6, "a price needs `input` and `output`"),
        (f"{ROW}first_byte = 100000\n", 6, "at most 86400"),
        (f"{ROW}[timeouts]\nidle = 0\n", 7, "more than 0"),
        (f"{ROW}[retries]\nmax_attempts = 0\n", 7, "a whole number from 1 to 100"),
        (f'{ECHO}[[models]]\nname = "m"\n', 3, "has no 'provider'"),
        (f'{ECHO}[[models]]\nname = "m"\nprovider = "q"\n', 5, "provider 'q' of model 'm' has no [providers] table."),
        (f'{ECHO}[[models]]\nname = ""\n', 4, "name in [[models]] is of type text; allowed is a text"),
        (f'{ECHO}[[models]]\nname = "a*b*"\nprovider = "p"\n', 4, "one * at most"),
        (f'{ECHO}[[models]]\nname = "a"\nprovider = "p"\nmodel = "*"\n', 4, "one in `model` needs one in `name`"),
        ('models = [5]\n[providers.p]\nkind = "echo"\n', 1, "[[models]] tables"),
        (f"{OPENAI}base_url = 5\n", 3, "base_url in [providers.p] is 5"),
        (f'{OPENAI}base_url = "nowhere"\n', 3, "base_url in [providers.p] is 'nowhere'; allowed is a URL"),
        (f'{OPENAI}base_url = "http://far.example"\n', 3, "allow_insecure"),
        (f'{OPENAI}proxy = "gopher://x"\n', 3, "proxy in [providers.p]"),
        (f'{OPENAI}ca_bundle = "/does/not/exist"\n', 3, "which is no file"),
        (f'{OPENAI}headers = {{ "a b" = "x" }}\n', 3, "is no header name"),
        (f'{OPENAI}headers = {{ Transfer-Encoding = "chunked" }}\n', 3, "is the connection's own affair"),
        (f'{OPENAI}headers = {{ a = "x\\ny" }}\n', 3, "a character that no header can carry"),
        (f"{OPENAI}headers = {{ a = 5 }}\n", 3, "a in [providers.p.headers] is 5"),
        (f"{OPENAI}api_key = 5\n", 3, "api_key in [providers.p] is 5"),
        (f"{OPENAI}api_key = {{}}\n", 3, "names one source"),
        (f'{OPENAI}api_key = {{ env = "A", file = "b" }}\n', 3, "names one source"),
        (f'{OPENAI}api_key = {{ evn = "A" }}\n', 3, "Did you mean 'env'?"),
        (f'{OPENAI}api_key = {{ command = ["op"], env = "A" }}\n', 3, "names one source"),
        (f'{OPENAI}api_key = {{ env = "A", ttl = 5 }}\n', 3, "unknown key 'ttl'"),
        (f'{OPENAI}api_key = {{ keyring = "a", timeout = 5 }}\n', 3, "unknown key 'timeout'"),
        (f"{OPENAI}api_key = {{ command = [] }}\n", 3, "a list of texts, the program first"),
        (f'{OPENAI}api_key = {{ command = "op read" }}\n', 3, "allowed is a list of texts"),
        (f'{OPENAI}api_key = {{ command = ["a\\u0000b"] }}\n', 3, "holds a NUL"),
        (f'{OPENAI}api_key = {{ command = ["echo", "{CANARY}"] }}\n', 3, "any process can read arguments"),
        (f'{OPENAI}api_key = {{ command = ["op"], timeout = 0 }}\n', 3, "more than 0 and at most 600"),
        (f'{OPENAI}api_key = {{ command = ["op"], ttl = 90000 }}\n', 3, "at most 86400"),
        (f'{OPENAI}api_key = {{ keyring = "../x" }}\n', 3, "no name for a stored key"),
        (f'{OPENAI}api_key = {{ keyring = "{CANARY}X" }}\n', 3, "it is not shown"),
        (f'{OPENAI}api_key = "{CANARY}\\n{CANARY}"\n', 3, "a character that no key has"),
        (f'{OPENAI}organization = "örg"\n', 3, "a character that no header can carry"),
        (f'{OPENAI}project = "a\\nb"\n', 3, "a character that no header can carry"),
    ],
)
def test_a_fault_names_the_key_its_line_and_what_is_allowed(tmp_path: Path, text: str, line: int, said: str) -> None:
    message = fault(tmp_path, text)

    assert f"gateway.toml, line {line}: " in message
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[providers\n", "line 1, column 11: this is no TOML: Expected"),
        ("a = [1,\n2,", "line 2, at the end: this is no TOML: "),
        (f'{OPENAI}[providers.p]\nkind = "echo"\n', "line 3, column 13: this is no TOML: this table is there already."),
        ("a = { b = 1, b = 2 }\n", "line 1, column 19: this is no TOML: this key is there already."),
        ("a = { b = 1 }\na.c = 2\n", "line 2, column 8: this is no TOML: this table is closed"),
        (f'a = 1\na = "{CANARY}"\n', "line 2, column 37: this is no TOML: this key is there already."),
        (f'api_key = "{CANARY}\n', "is no TOML: "),
        (f'{CANARY} = "\n', "is no TOML: "),
        (f"a = {'[' * 100_000}", "gateway.toml is no usable TOML: its lists or tables are nested too deep."),
        (f"{'a.' * 1_500}a = 1", "gateway.toml is no usable TOML: its lists or tables are nested too deep."),
        (f"a = {'9' * 5_000}", "gateway.toml is no usable TOML: it holds a number with too many digits."),
    ],
)
def test_what_is_no_toml_is_told_without_quoting_it(tmp_path: Path, text: str, said: str) -> None:
    message = fault(tmp_path, text)

    assert said in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load({}, config_path=str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load({}, config_path=str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read: Could not determine home"):
        config.load({}, config_path="~nobody-of-this-name/x.toml")


@pytest.mark.parametrize(
    ("path", "why"),
    [("~nobody-of-this-name/key", "whose home directory nobody knows"), ("a\\u0000b", "which cannot be read")],
)
def test_a_path_that_is_none_is_a_fault_and_no_crash(tmp_path: Path, path: str, why: str) -> None:
    assert why in fault(tmp_path, f'{OPENAI}api_key = {{ file = "{path}" }}\n')
    assert "which is no file" in fault(tmp_path, f'{OPENAI}ca_bundle = "{path}"\n')


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 5"):
        config.load({}, config_path=str(path))


def test_a_file_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"#" * (4 * 2**20 + 1))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        config.load({}, config_path=str(path))


LITERAL = f'{OPENAI}api_key = "{CANARY}"\n[[models]]\nname = "m"\nprovider = "p"\n'


def test_a_literal_key_works_with_a_warning(tmp_path: Path) -> None:
    settings = load(tmp_path, LITERAL, mode=0o600)

    key = settings.table.providers["p"].api_key
    assert key is not None
    assert key.reveal() == CANARY
    (warning,) = settings.warnings
    assert "line 3: api_key in [providers.p] is a literal secret" in warning
    assert CANARY not in warning + repr(settings)


@pytest.mark.parametrize("text", [LITERAL, f'{OPENAI}headers = {{ x-api-key = "{CANARY}" }}\n'])
def test_a_literal_key_that_others_can_read_is_refused(tmp_path: Path, text: str) -> None:
    message = fault(tmp_path, text, mode=0o644)

    assert "line 3" in message
    assert "others can read" in message
    assert "chmod 600" in message


def test_a_header_that_is_a_secret_is_one(tmp_path: Path) -> None:
    settings = load(tmp_path, f'{OPENAI}headers = {{ X-Auth-Token = "{CANARY}" }}\n', mode=0o600)

    assert [secret.reveal() for secret in settings.secrets] == [CANARY]
    assert len(settings.warnings) == 1
    assert CANARY not in repr(settings)


def test_a_key_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{CANARY}\n")
    key.chmod(0o600)
    settings = load(tmp_path, f'{OPENAI}api_key = {{ file = "{key}" }}\n')

    found = settings.table.providers["p"].api_key
    assert found is not None
    assert found.reveal() == CANARY


def test_a_variable_of_a_key_may_name_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(CANARY)
    key.chmod(0o600)
    settings = load(tmp_path, f'{OPENAI}api_key = {{ env = "MY_KEY" }}\n', MY_KEY_FILE=str(key))

    assert settings.table.providers["p"].api_key is not None


def test_a_key_whose_variable_is_unset_is_missing_and_no_fault(tmp_path: Path) -> None:
    settings = load(tmp_path, f'{OPENAI}api_key = {{ env = "MY_KEY" }}\n')

    missing = settings.table.providers["p"].missing
    assert "MY_KEY is not set" in missing
    assert settings.warnings == (missing,)


def test_an_azure_provider_is_at_its_resource_or_below_its_newer_surface(tmp_path: Path) -> None:
    base = 'kind = "azure"\nbase_url = "https://x.openai.azure.com/"\n'
    dated = load(tmp_path, f'[providers.p]\n{base}api_version = "2024-10-21"\n').table.providers["p"]
    newer = load(tmp_path, f"[providers.p]\n{base}").table.providers["p"]

    assert (dated.kind, dated.base_url, dated.api_version) == ("azure", "https://x.openai.azure.com", "2024-10-21")
    assert (newer.base_url, newer.api_version) == ("https://x.openai.azure.com/openai/v1", None)
    assert (newer.url_set_by, newer.key_set_by) == ("base_url of p", "api_key of p")


def test_an_anthropic_provider_has_a_default_address(tmp_path: Path) -> None:
    default = load(tmp_path, '[providers.p]\nkind = "anthropic"\n').table.providers["p"]
    local = load(tmp_path, '[providers.p]\nkind = "anthropic"\nbase_url = "http://localhost:8080"\n')

    assert (default.kind, default.base_url) == ("anthropic", "https://api.anthropic.com/v1")
    assert local.table.providers["p"].base_url == "http://localhost:8080/v1"


@pytest.mark.parametrize(
    ("kind", "key"),
    [("openai", "api_version"), ("azure", "project"), ("anthropic", "organization"), ("anthropic", "api_version")],
)
def test_a_key_that_the_kind_does_not_take_is_a_fault(tmp_path: Path, kind: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"line 3: {key} in .* is nothing that a provider of kind '{kind}' takes"):
        load(tmp_path, f'[providers.p]\nkind = "{kind}"\n{key} = "x"\n')


def test_a_file_without_models_says_what_it_lacks(tmp_path: Path) -> None:
    assert "has no [[models]]" in load(tmp_path, ECHO).table.missing


def test_an_empty_file_says_what_it_lacks(tmp_path: Path) -> None:
    assert "has no [[models]]" in load(tmp_path, "").table.missing


def test_a_target_that_a_group_has_twice_is_told(tmp_path: Path) -> None:
    settings = load(tmp_path, ROW + ROW.removeprefix(ECHO))

    (warning,) = settings.warnings
    assert "line 6: the model 'm' has the target p/m already, from line 3" in warning


def test_fallbacks_may_go_in_a_circle(tmp_path: Path) -> None:
    text = f'{ROW}fallbacks = ["n"]\n[[models]]\nname = "n"\nprovider = "p"\nfallbacks = ["m"]\n'
    assert load(tmp_path, text).warnings == ()


def test_fallbacks_may_be_served_by_a_wildcard(tmp_path: Path) -> None:
    text = f'{ROW}fallbacks = ["any/thing"]\n[[models]]\nname = "any/*"\nprovider = "p"\nmodel = "*"\n'
    assert load(tmp_path, text).table.rows[1].model == "*"


def test_quoted_and_dotted_keys_have_their_lines(tmp_path: Path) -> None:
    assert "line 2" in fault(tmp_path, '[providers]\n"my.own".kind = "nope"\n')
    assert "line 1" in fault(tmp_path, 'providers.p.kind = "nope"\n')


def test_a_proxy_in_the_file_wins_over_the_environments(tmp_path: Path) -> None:
    text = f'{OPENAI}proxy = "http://file.example"\n'
    given: dict[str, Any] = {"HTTPS_PROXY": "http://environment.example"}

    assert load(tmp_path, text, **given).table.providers["p"].proxy == "http://file.example"
    assert load(tmp_path, OPENAI, **given).table.providers["p"].proxy == "http://environment.example"


def test_certificates_of_the_file_are_taken(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    settings = load(tmp_path, f'{OPENAI}ca_bundle = "{bundle}"\nclient_cert = "{bundle}"\n')

    provider = settings.table.providers["p"]
    assert (provider.ca_bundle, provider.client_cert) == (str(bundle), str(bundle))


def test_a_line_of_blanks_in_brackets_is_read_once(tmp_path: Path) -> None:
    """What tries each blank as a beginning, a middle and an end is at it for longer than anybody lives."""
    assert "line 1: unknown key 'x'" in fault(tmp_path, f"x = [\n[{' ' * 1_000_000}\n1]]\n")
