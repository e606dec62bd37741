"""What counts as a demand of a page, on small pages of our own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.specification.sentences import Demand, headings_below, of_page, of_pages, of_schema, slug


def words_of(text: str) -> list[str]:
    return [demand.words for demand in of_page("a", text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bees **MUST** hum. They MAY dance.", ["Bees MUST hum."]),
        ("It must be. MUSTARD is no word of ours.", []),
        ("One SHALL go.\nAnother\nis REQUIRED.", ["One SHALL go.", "Another is REQUIRED."]),
        ("Hives (e.g. This) SHOULD NOT fly, i.e. Stay. So.", ["Hives (e.g. This) SHOULD NOT fly, i.e. Stay."]),
        ("[Bees](/a/2031-01-01) **MUST** `hum`<br/>_now_.", ["Bees MUST hum now."]),
        ("---\ntitle: MUST\n---\nIt SHOULD.", ["It SHOULD."]),
        ("```\nMUST\n```\n\n{/* MUST */}\n\n<!-- x -->", []),
        ("<Note>\n  It is RECOMMENDED.\n</Note>", ["It is RECOMMENDED."]),
        ("<Step>\n\n      It MUST be.\n\n</Step>", ["It MUST be."]),
        ("It MUST be. It MUST be.", ["It MUST be."]),
    ],
)  # fmt: skip
def test_a_sentence_demands_by_a_word_in_capitals(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bees MUST:\n\n- hum\n- dance\n", ["Bees MUST: hum", "Bees MUST: dance"]),
        ("1. Bees **SHOULD**:\n   - hum\n2. Ants:\n   - dig\n", ["Bees SHOULD: hum"]),
        ("Bees MUST:\n\n- hum. So. They MUST NOT sing.\n", ["Bees MUST: hum. So.", "They MUST NOT sing."]),
        ("Bees MUST:\n\n- SHOULD hum\n", ["SHOULD hum"]),
        ("Bees:\n\n- MUST hum\n", ["MUST hum"]),
        ("Bees MUST say:\n\n```\nhum\n```\n\n- at noon\n", ["Bees MUST say:"]),
        ("Bees MUST:\n\n# Ants\n\n- dig\n", ["Bees MUST:"]),
        ("Bees MUST:\n\n- hum\n\nAnts:\n\n- dig\n", ["Bees MUST: hum"]),
        ("Bees MUST say:", ["Bees MUST say:"]),
    ],
)  # fmt: skip
def test_an_item_is_read_after_the_sentence_that_leads_in_its_list(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_row_of_a_table_is_one_demand() -> None:
    table = "| Who | What |\n| --- | --- |\n| Bee | MUST hum. SHOULD rest. |\n| Ant | digs |\n"
    assert words_of(table) == ["Bee | MUST hum. SHOULD rest."]


def test_a_demand_stands_below_its_heading_and_once() -> None:
    text = "It MUST.\n\n## Sweets & _Honey_\n\nIt MUST. It SHOULD.\n"
    assert list(of_page("a", text)) == [
        Demand("a", "", "It MUST."),
        Demand("a", "sweets-amp-honey", "It MUST."),
        Demand("a", "sweets-amp-honey", "It SHOULD."),
    ]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [("Time-to-Live (TTL) Field", "time-to-live-ttl-field"), ("_meta", "meta"), ("$ref Resolution", "ref-resolution")],
)
def test_an_anchor_is_what_the_site_makes_of_a_heading(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


@pytest.mark.parametrize(
    ("words", "level"),
    [("MUST", "MUST"), ("SHALL", "MUST"), ("REQUIRED", "MUST"), ("SHOULD", "SHOULD"), ("RECOMMENDED", "SHOULD"),
     ("SHOULD and MUST", "MUST")],
)  # fmt: skip
def test_a_demand_is_as_strong_as_its_strongest_word(words: str, level: str) -> None:
    assert Demand("a", "", words).level == level


def test_a_fingerprint_is_of_the_words_alone() -> None:
    one, other = Demand("a", "", "It MUST."), Demand("b", "c", "It MUST.")
    assert one.fingerprint == other.fingerprint == hashlib.sha256(b"It MUST.").hexdigest()[:8]
    assert Demand("a", "", "It MUST!").fingerprint != one.fingerprint


SCHEMA = """
/**
 * A bee MUST hum,
 * as a {@link Bee | proper bee} does.
 *
 * @see Ants MUST
 * @category Bees
 */
export interface Bee {
  /** It SHOULD be long. */
  name: string;
}

export interface Hive {
  /** It MUST be dry. It MUST be dry. */
  place: string;
}

export interface Queen {}

/** An ant SHOULD dig. See {@link Bee}. */
export type Ant = string;
// MUST
export const HIVE = "MUST";
"""


def test_in_a_schema_the_comments_demand_below_the_type_that_they_belong_to() -> None:
    assert list(of_schema(SCHEMA)) == [
        Demand("schema", "bee", "A bee MUST hum, as a proper bee does."),
        Demand("schema", "bee", "@see Ants MUST"),
        Demand("schema", "bee", "It SHOULD be long."),
        Demand("schema", "hive", "It MUST be dry."),
        Demand("schema", "ant", "An ant SHOULD dig."),
    ]


def test_pages_are_named_by_where_they_are_and_the_made_one_is_left_to_the_schema(tmp_path: Path) -> None:
    (tmp_path / "bees").mkdir()
    (tmp_path / "bees/index.mdx").write_text("## Hum\n\nIt MUST.\n")
    (tmp_path / "ants.md").write_text("It SHOULD.\n")
    (tmp_path / "schema.mdx").write_text("It MUST NOT.\n")
    assert list(of_pages(tmp_path)) == [Demand("ants", "", "It SHOULD."), Demand("bees/index", "hum", "It MUST.")]
    assert headings_below(tmp_path) == {("ants", ""), ("bees/index", ""), ("bees/index", "hum"), ("schema", "")}
