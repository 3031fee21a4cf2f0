import pytest

from tfft.data.findings import (
    KEPT_PLACES,
    Tally,
    allow,
    make_finding,
    refuse_spoiling,
    tell,
    unite_findings,
)
from tfft.data.rules import ALLOWABLE, RULES, SEVERITIES
from tfft.errors import DataError


def test_every_rule_reads_well_of_one_and_of_several():
    for name, rule in RULES.items():
        one, several = (make_finding(name, count).what for count in (1, 2))
        assert one != several
        assert not set("{}") & set(one + several)
        assert rule.severity in SEVERITIES
        assert rule.advice.endswith(".")
        assert not rule.allowed or rule.severity == "spoils"


def test_a_tally_counts_all_and_keeps_where_the_first_stand():
    tally = Tally()
    for index in range(30):
        tally.add("empty", index, "has no text. Expected a string. Received: ''.")
    tally.add("secrets", 3)
    empty, secrets = tally.findings(lambda indices: [f"Line {index}" for index in indices])
    assert (empty.count, len(empty.places), empty.places[1]) == (30, KEPT_PLACES, "Line 1 has no text")
    assert empty.told == "Line 0 has no text. Expected a string. Received: ''."
    assert (secrets.count, secrets.places) == (1, ("Line 3",))


def test_findings_of_one_name_are_added_and_what_spoils_stands_first():
    findings = [
        make_finding(name, 2, [f"{name} {n}"]) for n, name in enumerate(("e-mail", "secrets", "empty", "empty"))
    ]
    united = unite_findings(findings)
    assert [(finding.name, finding.count) for finding in united] == [("empty", 4), ("secrets", 2), ("e-mail", 2)]
    assert united[0].places == ("empty 2", "empty 3")


def test_what_is_allowed_spoils_no_more():
    findings = [make_finding("empty", 1), make_finding("leakage", 1)]
    assert [finding.severity for finding in allow(findings, ["empty"])] == ["warns", "spoils"]
    refuse_spoiling(allow(findings, ALLOWABLE), "x.csv")


def test_a_single_problem_is_refused_in_its_own_words():
    with pytest.raises(DataError) as error:
        refuse_spoiling([make_finding("empty", 1, ["Line 3"], "Line 3 has no text. Write one.")], "x.csv")
    assert str(error.value) == "Line 3 has no text. Write one. Or pass --allow empty to leave them out."


def test_what_spoils_is_refused_with_counts_places_and_a_way_out():
    findings = [
        make_finding("empty", 5, ["Line 3", "Line 4", "Line 5", "Line 9"]),
        make_finding("leakage", 1, ["Line 7"]),
    ]
    with pytest.raises(DataError) as error:
        refuse_spoiling([*findings, make_finding("secrets", 3)], "x.csv")
    assert str(error.value) == (
        "x.csv would spoil what is learned: 5 records without text (Line 3, Line 4, Line 5, ...); 1 record to validate "
        "on that is learned from, too (Line 7). Expected none of these. Received: empty=5, leakage=1. Remove them. "
        "Or pass --allow empty to leave them out, --allow leakage to leave it as it is."
    )


def test_what_nothing_allows_offers_no_way_out():
    with pytest.raises(DataError, match=r"Add records of other classes, or pass --column label=COLUMN\.$"):
        refuse_spoiling([make_finding("one-class", 1), make_finding("empty", 1)][:1], "x.csv")


def test_a_finding_is_told_in_a_line():
    assert tell(make_finding("mojibake", 1_000)) == "1,000 records with text that was decoded wrongly"
