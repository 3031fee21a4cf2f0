import pytest

from tfft.data.disclosures import find_disclosures

SECRETS = {
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a key of OpenSSH": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "an AWS access key": "aws_access_key_id=AKIAIOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a fine-grained GitHub token": "github_pat_" + "11ABCDEFG0" * 5,
    "a Slack token": "xoxb-123456789012-abcdefghijkl",
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "a bearer token": "Authorization: Bearer abcdef0123456789abcdef",
    "a password in an address": "postgres://ann:s3cret@db.example.com/x",
    "a card": "pay with 4111 1111 1111 1111 please",
    "a card in one": "5500005555555559",
    "an American Express card": "3782 822463 10005",
}
HARMLESS = (
    "-----BEGIN CERTIFICATE-----",
    "AKIA is a prefix",
    "ghp_short",
    "http://example.com:8080/path",
    "4111 1111 1111 1112",  # the check digit is wrong
    "0000 0000 0000 0000",
    "3.14159265358979323846264338327950288",
    "the bearer of bad news",
    "call @ann on 555-0100-0200",
    "a@b",
)


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_is_found_inside_a_text(case):
    assert next(find_disclosures(f"Look: {SECRETS[case]} .")) == "secrets"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_alike_is_not_found(text):
    assert list(find_disclosures(f"Look: {text} .")) == []


@pytest.mark.parametrize("address", ["ann@example.com", "a.b+c@mail.example.co.uk", "(ann@example.com)"])
def test_an_address_is_found(address):
    assert list(find_disclosures(f"Write to {address}.")) == ["e-mail"]
