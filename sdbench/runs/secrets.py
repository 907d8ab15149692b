"""The one list of what a secret looks like: for records, what is shared and texts of issues.

By the name of a variable, and by the text itself. Replacing a secret twice changes nothing.
"""

import re

SECRET = "<secret>"
_TOKEN = "<token>"

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|KEY|CREDENTIAL|COOKIE|[A-Z0-9]_PWD$", re.IGNORECASE
)
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host; a password may hold a further @.
    (re.compile(r"(?<=://)[^\s/'\"<>]+@"), f"{SECRET}@"),
    (re.compile(r"(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{8,}"), SECRET),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        SECRET,
    ),
    # A short one without a digit is a name: hf_hub_download, sk-learn-contrib.
    (
        re.compile(
            r"\b(?:hf|api_org|sk|pk|rk|gh[opsur]|github_pat|glpat|xox[abeprs]|npm|dckr_pat|pypi)"
            r"[_-](?=[A-Za-z_-]*[0-9]|[A-Za-z]{30})[A-Za-z0-9_-]{12,}"
        ),
        _TOKEN,
    ),
    (re.compile(r"\b(?:AKIA|ASIA|AGPA|AROA)[A-Z0-9]{12,}\b"), _TOKEN),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{30,}"), _TOKEN),
    (re.compile(r"\bya29\.[A-Za-z0-9_-]{16,}"), _TOKEN),
    # A JSON web token.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), _TOKEN),
    # AWS's secret half: 40 characters of base64 that are neither a digest nor a path.
    (
        re.compile(
            r"(?<![A-Za-z0-9/+=.~_-])(?=[A-Za-z0-9/+=]*[A-Z])(?=[A-Za-z0-9/+=]*[a-z])"
            r"(?=[A-Za-z0-9/+=]*[0-9])(?!(?:[A-Za-z0-9+=]*/){4})[A-Za-z0-9/+=]{40}"
            r"(?![A-Za-z0-9/+=._-])"
        ),
        _TOKEN,
    ),
    (
        re.compile(r"(?i)\b(bearer|authorization:\s*basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1 {SECRET}",
    ),
    (
        re.compile(
            r"(?i)((?:token|secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key"
            r"|account[_-]?key|private[_-]?key|credentials?|cookie)[\"']?\s*[:=]\s*[\"']?)"
            r"(?!<)[^\s\"'&,;]{4,}"
        ),
        rf"\1{SECRET}",
    ),
    # What system_profiler writes of one single machine.
    (
        re.compile(
            r"(?i)(\b(?:serial[ _-]?(?:number|no\.?)?|hardware uuid|provisioning udid)"
            r"(?: ?\([a-z]+\))?[\"']?\s*[:=]\s*[\"']?)(?=[A-Za-z-]*[0-9])[A-Za-z0-9-]{8,}"
        ),
        rf"\1{SECRET}",
    ),
)


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def holds_secret(text: str) -> bool:
    """Whether something in a text looks like a secret."""
    return without_secrets(text) != text


def without_secrets(text: str) -> str:
    """The text with ``<secret>`` or ``<token>`` in the place of each secret."""
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text
