"""What was found wrong with records: counted, with where the first of it stands, and told in a line."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tfft.data.rules import RULES, SEVERITIES
from tfft.errors import DataError

KEPT_PLACES = 20
TOLD_PLACES = 3  # in a message of one line


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        name: A key of RULES.
        severity: As its rule has it.
        count: How many.
        places: Where the first of them stand, with the reason where it differs, at most KEPT_PLACES.
        what: What is counted, in words that follow the number.
        advice: What to do.
        told: All that is to be said of the first one, where it has words of its own.
    """

    name: str
    severity: str
    count: int
    places: tuple[str, ...]
    what: str
    advice: str
    told: str = ""


def make_finding(name: str, count: int, places: Iterable[str] = (), told: str = "") -> Finding:
    """Makes a finding of the rule of its name."""
    rule, one = RULES[name], count == 1
    endings = {"s": "", "es": "", "one": "s", "are": "is"} if one else {"s": "s", "es": "es", "one": "", "are": "are"}
    what = rule.what.format(**endings)
    return Finding(name, rule.severity, count, tuple(places)[:KEPT_PLACES], what, rule.advice, told)


@dataclass
class Tally:
    """Counts what is found in records, and remembers where the first of each kind stand.

    Attributes:
        counts: The name of a finding -> how many.
        firsts: The name of a finding -> the first of them: a record's number, and what is to be said of it.
    """

    counts: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, name: str, index: int, problem: str = "") -> None:
        """Counts one more.

        Args:
            name: A key of RULES.
            index: The record's number.
            problem: What is wrong with it, as the end of a sentence that begins with where it stands.
        """
        self.counts[name] = self.counts.get(name, 0) + 1
        firsts = self.firsts.setdefault(name, [])
        if len(firsts) < KEPT_PLACES:
            firsts.append((index, problem))

    def findings(self, locate: Callable[[Sequence[int]], list[str]]) -> list[Finding]:
        """Makes the findings.

        Args:
            locate: Says where records of these numbers stand.
        """
        found = []
        indices = sorted({index for firsts in self.firsts.values() for index, _ in firsts})
        where = dict(zip(indices, locate(indices), strict=True))
        for name, firsts in self.firsts.items():
            told = [f"{where[index]} {problem}".rstrip() for index, problem in firsts]
            found.append(make_finding(name, self.counts[name], map(shorten_reason, told), told[0]))
        return found


def shorten_reason(problem: str) -> str:
    """Leaves of an error message what is wrong and where, and nothing that a record holds."""
    return problem.partition(". Expected")[0]


def unite_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Adds up findings of one name, and puts what spoils first."""
    united: dict[str, Finding] = {}
    for finding in findings:
        before = united.get(finding.name)
        united[finding.name] = _add(before, finding) if before else finding
    by_rule = (united[name] for name in RULES if name in united)
    return tuple(sorted(by_rule, key=lambda finding: SEVERITIES.index(finding.severity)))


def _add(one: Finding, other: Finding) -> Finding:
    sum_of_both = make_finding(one.name, one.count + other.count, (*one.places, *other.places), one.told)
    return replace(sum_of_both, severity=one.severity)


def allow(findings: Iterable[Finding], allowed: Collection[str]) -> tuple[Finding, ...]:
    """Turns what spoils and is allowed into what warns."""
    return tuple(
        replace(finding, severity="warns") if finding.severity == "spoils" and finding.name in allowed else finding
        for finding in findings
    )


def refuse_spoiling(findings: Iterable[Finding], where: str) -> None:
    """Refuses records that would spoil what is learned from them.

    Args:
        findings: What was found, and was not allowed.
        where: The records, for the message.

    Raises:
        DataError: One of the findings spoils.
    """
    spoiling = [finding for finding in findings if finding.severity == "spoils"]
    if not spoiling:
        return
    allowing = tell_ways_out(spoiling)
    if len(spoiling) == 1 and spoiling[0].count <= 1 and spoiling[0].told:
        raise DataError(spoiling[0].told + allowing)
    received = ", ".join(f"{finding.name}={finding.count}" for finding in spoiling)
    raise DataError(
        f"{where} would spoil what is learned: {'; '.join(map(tell, spoiling))}. Expected none of these. "
        f"Received: {received}. {spoiling[0].advice}{allowing}"
    )


def tell(finding: Finding) -> str:
    """Says in one line what was found, and where the first of it stand."""
    told = ", ".join(finding.places[:TOLD_PLACES])
    more = ", ..." if finding.count > TOLD_PLACES else ""
    return f"{finding.count:,} {finding.what}" + (f" ({told}{more})" if told else "")


def tell_ways_out(spoiling: Sequence[Finding]) -> str:
    """Says, behind another sentence, which `--allow` lets a finetune go on; nothing where none does."""
    ways = {finding.name: RULES[finding.name].allowed for finding in spoiling}
    options = [f"--allow {name} to {allowed}" for name, allowed in ways.items()]
    return f" Or pass {', '.join(options)}." if all(ways.values()) else ""
