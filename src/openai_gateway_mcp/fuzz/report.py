"""Findings as people read them, which is also how they are done again, and as JUnit's XML for machines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from openai_gateway_mcp.fuzz.campaign import Finding
from openai_gateway_mcp.fuzz.conversation import write_script
from openai_gateway_mcp.fuzz.rules import RULES

_SHOWN: Final = 2_000  # characters of a line that the server said
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_script(finding: Finding) -> str:
    """What `read_script` reads, with what was found as comments."""
    rule = finding.deviation.rule
    once = "" if finding.shows_again else "; seen once, and not when the same was said again"
    heard = "".join(f"# heard: {_text(line)}\n" for line in finding.heard)
    return (
        f"# {rule.level.value} {rule.id}: {_one_line(finding.deviation.text)}{once}\n"
        f"# {rule.says}: {rule.reference}\n"
        f"{write_script(finding.steps)}{heard}"
    )


def file_name(finding: Finding) -> str:
    """The same for the same finding."""
    digits = hashlib.sha256(finding.deviation.about.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{finding.deviation.rule.id}-{digits}.jsonl"


def as_junit(findings: Sequence[Finding], *, server: str, conversations: int, seed: int, seconds: float) -> bytes:
    """A suite with one test case a rule; its failures are the findings. `seconds`: how long the search took."""
    broken = {finding.deviation.rule.id for finding in findings}
    suite = ET.Element(
        "testsuite", name=_xml(server), tests=str(len(RULES)), failures=str(len(broken)), errors="0",
        time=f"{seconds:.3f}",
    )  # fmt: skip
    properties = ET.SubElement(suite, "properties")
    for name, value in (("seed", seed), ("conversations", conversations)):
        ET.SubElement(properties, "property", name=name, value=str(value))
    for rule in RULES:
        case = ET.SubElement(suite, "testcase", classname="openai_gateway_mcp.fuzz", name=rule.id, time="0")
        for finding in findings:
            if finding.deviation.rule is rule:
                failure = ET.SubElement(case, "failure", type=rule.level.value, message=_xml(finding.deviation.text))
                failure.text = _xml(as_script(finding))
    report: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return report


def _text(line: bytes) -> str:
    text = _one_line(line.decode(errors="backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
