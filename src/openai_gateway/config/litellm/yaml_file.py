"""YAML as LiteLLM's proxy reads it: PyYAML's safe loader, of YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import NO_PATH, reason

_MAX_FILE_BYTES: Final = 4 * 2**20
_MOST_KEYS: Final = 2**20
"""Keys of all mappings, once their merge keys (<<) are resolved: 30 lines that each merge the one before twice over
come to 2**30, with what they hold."""
_LONGEST_NUMBER: Final = 1_000
"""Characters. YAML 1.1 has numbers of base 60 (190:20:30), and PyYAML takes quadratic time to read one."""
_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
# A single character is one of YAML's own, and a word in pointed brackets is PyYAML's for a token.
_QUOTED: Final = re.compile(r"('(?:[^']|<[a-z ]+>)')|'.*", re.DOTALL)


class _TooMuch(Exception):
    """YAML that would take hours to read; the words are for people."""


def read_yaml(path: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The mapping in the file, and a line for each key that is there twice (the last counts, as it does for LiteLLM).

    Raises ConfigError, which quotes nothing of the file.
    """
    try:
        import yaml  # noqa: PLC0415 - an extra, and for this one command
    except ImportError:
        raise ConfigError(
            "Reading YAML needs PyYAML, of the extra litellm: pip install 'openai-gateway-mcp[litellm]'."
        ) from None
    twice: list[str] = []
    text = _read(path)
    try:
        content = yaml.load(text, _loader(twice))  # noqa: S506 - a safe loader
    except _TooMuch as error:
        message = f"{path} cannot be read: {error}."
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, OverflowError) as error:
        message = f"{path}{_place(error)}: {_words(error)}."
    else:
        if isinstance(content, Mapping):
            return content, tuple(dict.fromkeys(twice))
        message = f"{path} holds no mapping, as LiteLLM's configuration is one (model_list and so on)."
    raise ConfigError(message)


def _loader(twice: list[str]) -> Any:
    """A class for one reading, which puts into `twice` what `read_yaml` tells."""
    import yaml  # noqa: PLC0415 - as above

    class Loader(yaml.SafeLoader):
        keys = 0

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Called for each mapping before its merge keys (<<) are resolved, whose keys may well be there already."""
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        line = key.start_mark.line + 1
                        twice.append(f"line {line}: the key {key.value!r} is there already; this later one counts.")
                    seen.add(key.value)
            super().flatten_mapping(node)
            self.keys += len(node.value)
            if self.keys > _MOST_KEYS:
                raise _TooMuch(f"with its merge keys (<<) resolved it has more than {_MOST_KEYS:,} keys")

        def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
            if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
                raise _TooMuch(f"it has a number of more than {_LONGEST_NUMBER:,} characters")
            return super().construct_scalar(node)

    return Loader


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _words(error: Exception) -> str:
    """What is wrong, up to where PyYAML quotes the file."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    # Not ValueError alone: of a scalar that is not what its tag says PyYAML raises what it stumbles over (`!!int ''`).
    if isinstance(error, ValueError | LookupError | AttributeError | OverflowError):
        return "it holds a date or a number that cannot be"
    problem = getattr(error, "problem", None) or "it holds a character that YAML does not allow"
    said = _QUOTED.sub(lambda match: match[1] or "", problem).removesuffix(", but got ").rstrip()
    return f"this is no YAML: {said or 'it cannot be read'}"


def _read(path: str) -> str:
    try:
        raw = Path(path).expanduser().read_bytes()
    except (OSError, *NO_PATH) as error:
        raise ConfigError(f"The file {path!r} cannot be read: {reason(error)}.") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise ConfigError(f"The file {path!r} is larger than {_MAX_FILE_BYTES >> 20} MiB.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = error.start
    raise ConfigError(f"The file {path!r} is not UTF-8 at byte {where}.")
