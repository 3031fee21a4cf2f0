"""What can be found wrong with records: a name, how bad it is, and what to do about it."""

from dataclasses import dataclass

SEVERITIES = ("spoils", "warns", "notes")


@dataclass(frozen=True)
class Rule:
    """What a finding means.

    Attributes:
        severity: "spoils" stops a training, "warns" may cost quality, "notes" is good to know.
        what: What is counted, as it stands behind one and behind several: "record without text".
        advice: What to do.
        allowed: What `--allow` makes of it; empty where nothing is stopped.
    """

    severity: str
    what: str
    advice: str
    allowed: str = ""


LEFT_OUT, AS_IT_IS = "leave them out", "leave it as it is"
RULES = {
    "malformed": Rule(
        "spoils", "line{s} or row{s} that cannot be read", "Mend or remove them, or write the file anew.", LEFT_OUT
    ),
    "mis-encoded": Rule("spoils", "line{s} that {are} not UTF-8", "Save the file as UTF-8.", LEFT_OUT),
    "empty": Rule("spoils", "record{s} without text", "Remove them.", LEFT_OUT),
    "unfit": Rule(
        "spoils", "record{s} without what the task needs", "Mend or remove them, or pass another --task.", LEFT_OUT
    ),
    "no-assistant-turn": Rule(
        "spoils", "conversation{s} in which the assistant says nothing to learn", "Remove them.", LEFT_OUT
    ),
    "no-label": Rule("spoils", "record{s} without a label", "Label or remove them.", LEFT_OUT),
    "unknown-label": Rule(
        "spoils",
        "record{s} to validate on of a class that is not learned",
        "Add records of the class to learn from, or remove them.",
        LEFT_OUT,
    ),
    "one-class": Rule(
        "spoils", "class{es}, where two are needed", "Add records of other classes, or pass --column label=COLUMN."
    ),
    "no-trained-token": Rule(
        "spoils", "record{s} of which no token is learned", "Raise --sequence-length, or remove them.", AS_IT_IS
    ),
    "leakage": Rule(
        "spoils",
        "record{s} to validate on that {are} learned from, too",
        "Remove them from one of the two: the figures would say nothing of new records.",
        AS_IT_IS,
    ),
    "cut-completions": Rule(
        "warns",
        "record{s} that lose{one} tokens to be learned",
        "Raise --sequence-length, or shorten the records.",
    ),
    "role-order": Rule(
        "warns",
        "conversation{s} whose turns are out of order",
        "Let user and assistant take turns, the user first, behind at most one system turn.",
    ),
    "unknown-keys": Rule(
        "warns", "conversation{s} with keys that are not read", "Move into content what the model is to see."
    ),
    "odd-weight": Rule("warns", "conversation{s} with a weight that is not 0 or 1", "Weigh each turn with 0 or 1."),
    "empty-completion": Rule(
        "warns", "record{s} that teach{one} to say nothing", "Remove them, unless silence is the right answer."
    ),
    "duplicates": Rule(
        "warns",
        "record{s} that repeat{one} an earlier one",
        "Remove them: they count twice, and may be both learned and held out.",
    ),
    "near-duplicates": Rule(
        "warns", "record{s} that say{one} nearly what an earlier one says", "Look whether they should be one."
    ),
    "conflicting-labels": Rule(
        "warns", "record{s} whose text has another label elsewhere", "Settle which label is right."
    ),
    "lone-class": Rule("warns", "class{es} of a single record", "Add records: a class of one is never validated."),
    "imbalance": Rule(
        "warns", "class{es} with less than a tenth of the commonest one's records", "Add records, and watch macro F1."
    ),
    "special-tokens": Rule(
        "warns",
        "record{s} whose text spells a special token",
        "Remove it: it is learned as plain text, and tfft sets the real ones itself.",
    ),
    "mojibake": Rule(
        "warns", "record{s} with text that was decoded wrongly", "Decode the source as UTF-8, and write it anew."
    ),
    "secrets": Rule("warns", "record{s} that seem{one} to hold a secret", "Remove it and renew it: models repeat."),
    "no-class": Rule("notes", "record{s} of no class", "Nothing, if none fits: that is learned, too."),
    "over-long": Rule("notes", "record{s} longer than a row", "See what is cut, --sequence-length and --overflow."),
    "e-mail": Rule("notes", "record{s} with an e-mail address", "Remove the addresses that are private."),
    "unread-columns": Rule(
        "notes", "column{s} not read by the task", "Rename one that is meant: --column NAME=COLUMN."
    ),
    "blank-lines": Rule("notes", "blank line{s}", "Nothing: they are no records."),
}
ALLOWABLE = tuple(name for name, rule in RULES.items() if rule.allowed)
