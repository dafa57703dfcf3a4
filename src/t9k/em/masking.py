"""Take secrets out of what is recorded: command lines and changes of code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t9k.em.patterns import lazily

MASK = "***"

_SECRET_WORDS = frozenset(
    {
        *("apikey", "auth", "authorization", "credential", "credentials", "passphrase", "passwd", "password", "pat"),
        *("passwort", "pwd", "secret", "secrets", "sig", "signature", "token"),
    }
)
_SECRET_KEYS = frozenset({"access", "account", "api", "auth", "encryption", "master", "private", "secret", "signing"})
# What comes before "token" where one of a vocabulary is meant.
_VOCABULARY = frozenset(
    {
        *("bos", "class", "cls", "decoder", "end", "eos", "extra", "first", "image", "last", "mask", "next", "num"),
        *("pad", "padding", "per", "prefix", "sep", "special", "start", "stop", "target", "unk", "use"),
    }
)
_WORD = lazily(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_ASSIGNMENT = lazily(r"([-+~]*[A-Za-z_][\w.\-/@]*)=(.*)", re.DOTALL)
_OPTION = lazily(r"--?[A-Za-z][\w.\-]*")

_PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?:[\s+\-]|\\n)*[A-Za-z0-9+/=]{16,})*"
    r"(?:(?:[\s+\-]|\\n)*[A-Za-z0-9+/=]{1,15}(?=[\s\\]))?(?:(?:[\s+]|\\n)*-*END [A-Z ]*PRIVATE KEY-----)?"
)
_FORMS = (
    _PRIVATE_KEY,
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{40,}",
    r"\bglpat-[A-Za-z0-9_\-]{20,}",  # GitLab
    r"\bhf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"\bsk-(?:[A-Za-z0-9]{20,}|(?:admin|ant|or|proj|svcacct)-[A-Za-z0-9_\-]{20,})",  # OpenAI, Anthropic, OpenRouter
    r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,}",  # Slack
    r"\bAIza[A-Za-z0-9_\-]{35}",  # Google
    r"\bya29\.[A-Za-z0-9_\-]{20,}",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"\bpypi-[A-Za-z0-9_\-]{50,}",
    r"\bdop_v1_[a-f0-9]{64}\b",
    r"\beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",  # a JSON web token
)
_KEYS = lazily("|".join(_FORMS))
_HEADER = lazily(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_.=\-]{8,}")
# Up to the last "@" before the path: a password may hold one.
_USERINFO = lazily(r"(?<=://)[^/\s@:'\"]*(?::[^/\s'\"]*)?@(?=[^/\s'\"])")
_LITERAL = lazily(r"([A-Za-z_][\w\-]*)([\"']?[ \t]*[:=][ \t]*)([\"'])([^\"'\n]{6,})\3")
_VARIABLE = lazily(r"^([+\- ]?[ \t]*(?:export )?)([A-Z_][A-Z0-9_]*)=([^\s\"'$(]{6,})$", re.MULTILINE)
_QUERY = lazily(r"([?&;])([\w.\-]+)=([^&;#\s'\"]+)")


def mask_words(words: Sequence[str]) -> list[str]:
    """Return a command line without secrets.

    Masked are the values of options and assignments whose name speaks of a secret (`--api-key X`, `--token=X`, `db.password=X`),
    and what `mask_text` masks in any word.

    Args:
        words: The words of the command line.

    Returns:
        As many words.
    """
    masked: list[str] = []
    is_value = False
    for word in words:
        if is_value and not word.startswith("--"):
            masked.append(MASK)
            is_value = False
            continue
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment and is_secret_name(assignment[1]):
            masked.append(f"{assignment[1]}={MASK}")
        else:
            masked.append(mask_text(word))
        is_value = bool(_OPTION.fullmatch(word)) and is_secret_name(word)
    return masked


def mask_text(text: str) -> str:
    """Return a text without what has the form of a known key, without users and passwords in URLs, and without secrets in their queries.

    Args:
        text: Any text.
    """
    text = mask_keys(text)
    if "://" in text:
        text = _USERINFO.sub(f"{MASK}@", text)
        text = _QUERY.sub(lambda found: f"{found[1]}{found[2]}={MASK if is_secret_name(found[2]) else found[3]}", text)
    return _HEADER.sub(rf"\1 {MASK}", text)


def mask_keys(text: str) -> str:
    """Return a text without what has the form of a known key.

    Args:
        text: Any text.
    """
    return _KEYS.sub(_mask_lines, text)


def mask_code(text: str) -> str:
    """Return code, or a patch of code, without what `mask_text` masks and without texts that are given a secret name.

    `api_key = "..."`, `token: '...'` and `PASSWORD=...` are such; a patch has as many lines as before.

    Args:
        text: The code.
    """
    text = mask_text(text)
    text = _LITERAL.sub(lambda it: f"{it[1]}{it[2]}{it[3]}{MASK}{it[3]}" if is_secret_name(it[1]) else it[0], text)
    return _VARIABLE.sub(lambda it: f"{it[1]}{it[2]}={MASK}" if is_secret_name(it[2]) else it[0], text)


def _mask_lines(found: re.Match[str]) -> str:
    """Mask each line of a key; the first character of those of a patch stays."""
    first, *others = found[0].split("\n")
    return "\n".join([MASK if first else "", *(f"{line[:1]}{MASK}" if line else "" for line in others)])


def is_secret_name(name: str) -> bool:
    """Return whether the name of an option or parameter says that its value is secret.

    Args:
        name: Such as '--api-key', 'db.password' or 'hfToken'; not '--tokenizer', '--max-tokens' or '--pad-token'.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    before = words[-2] if len(words) > 1 else ""
    if words[-1] in _SECRET_WORDS:
        return not (words[-1] == "token" and before in _VOCABULARY)
    return words[-1] in {"key", "keys"} and before in _SECRET_KEYS
