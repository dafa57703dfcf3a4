"""What is taken out of a command line, and what is not."""

from __future__ import annotations

import pytest

from t9k.em.masking import MASK, is_secret_name, mask_code, mask_text, mask_words

SECRET = "hunter2-hunter2"
KEYS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1" * 30,
    "glpat-" + "a1" * 10,
    "hf_" + "aB" * 17,
    "sk-" + "a1" * 24,
    "sk-proj-" + "a1" * 24,
    "sk-ant-api03-" + "a1" * 24,
    "xoxb-123456789012-abcdef",
    "AIza" + "a1_-x" * 7,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc_def",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key", SECRET],
        ["--api_key", SECRET],
        ["--apiKey", SECRET],
        ["--apikey", SECRET],
        ["--token", SECRET],
        ["--hf-token", SECRET],
        ["--password", SECRET],
        ["--db.passwd", SECRET],
        ["-password", SECRET],
        ["--aws-secret-access-key", SECRET],
        ["--private-key", SECRET],
        [f"--api-key={SECRET}"],
        [f"--token={SECRET}"],
        [f"wandb.api_key={SECRET}"],
        [f"+db.password={SECRET}"],
        [f"WANDB_API_KEY={SECRET}"],
        ["--token", "-" + SECRET],
        ["--url", f"https://alice:{SECRET}@example.org/a"],
        [f"--url=https://{SECRET}@example.org/a"],
        [f"postgresql://alice:{SECRET}@host/db"],
        [f"postgresql://alice:a@{SECRET}@host/db"],
        [f"https://example.org/a?X-Amz-Signature={SECRET}&b=1"],
        ["--header", f"Authorization: Bearer {SECRET}"],
        *([word] for word in KEYS),
        *([f"key={word}"] for word in KEYS),
        *(["-c", f"login('{word}')"] for word in KEYS),
    ],
    ids=str,
)
def test_a_secret_is_masked(words):
    masked = mask_words(["python", "train.py", *words, "--lr", "0.1"])
    text = " ".join(masked)
    assert MASK in text
    assert SECRET not in text
    assert not [word for word in KEYS if word in text]
    assert masked[:2] == ["python", "train.py"]
    assert masked[-2:] == ["--lr", "0.1"]
    assert len(masked) == len(words) + 4


@pytest.mark.parametrize(
    "words",
    [
        ["--tokenizer", "gpt2"],
        ["--max-tokens", "100"],
        ["--pad_token", "<pad>"],
        ["--eos-token=</s>"],
        ["--key", "label"],
        ["--sort-key=name"],
        ["--author", "alice"],
        ["--authors=alice"],
        ["--secretary", "bob"],
        ["--data", "s3://bucket/a@b/c"],
        ["--url", "https://example.org/a?b=c&key=d"],
        ["--mail", "alice@example.org"],
        ["lr=0.1", "optimizer.betas=[0.9,0.999]"],
        ["--commit", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"],
        ["-c", "print('a basic thing')"],
        ["--task-name", "sk-learn-random-forest-classifier"],
        [""],
    ],
    ids=str,
)
def test_what_is_no_secret_stays(words):
    assert mask_words(words) == words


def test_an_option_without_a_value_hides_no_option_after_it():
    assert mask_words(["--token", "--lr", "0.1"]) == ["--token", "--lr", "0.1"]


def test_the_host_of_an_url_stays():
    assert mask_text("see https://alice:a@b:c@example.org:8000/x.") == f"see https://{MASK}@example.org:8000/x."


def test_names():
    assert is_secret_name("--AWS_SECRET_ACCESS_KEY")
    assert is_secret_name("MyAPIKey")
    assert not is_secret_name("--")
    assert not is_secret_name("--key")


@pytest.mark.parametrize(
    "line",
    [
        f'+    api_key = "{SECRET}"',
        f"-token: '{SECRET}'",
        f' {{"password": "{SECRET}"}}',
        f"+export API_KEY={SECRET}",
        f"+DB_PASSWORD={SECRET}",
        f"+url = 'https://alice:{SECRET}@example.org'",
        f"+key = '{KEYS[0]}'",
    ],
)
def test_a_secret_in_a_patch_is_masked(line):
    masked = mask_code(f"@@ -1 +1,2 @@\n{line}\n+print(1)\n")
    assert MASK in masked
    assert SECRET not in masked
    assert KEYS[0] not in masked
    assert masked.startswith("@@ -1 +1,2 @@\n" + line[0])
    assert masked.endswith("\n+print(1)\n")


@pytest.mark.parametrize(
    "line",
    [
        "+token = tokenizer(text)",
        "+tokenizer = 'gpt2-large'",
        "+key = 'accuracy'",
        "+PASSWORD=$(cat file)",
        "+password = os.environ['PASSWORD']",
        "+-----BEGIN PRIVATE KEY",
    ],
)
def test_code_that_holds_no_secret_stays(line):
    assert mask_code(f"{line}\n+print(1)\n") == f"{line}\n+print(1)\n"


def test_a_private_key_in_a_patch_keeps_its_lines():
    body = "".join(f"+{'aB3/' * 16}\n" for _ in range(3))
    text = f" a\n+-----BEGIN RSA PRIVATE KEY-----\n{body}+aB3=\n+-----END RSA PRIVATE KEY-----\n+def f():\n+    pass\n"
    masked = mask_code(text)
    assert masked == f" a\n+{MASK}\n" + f"+{MASK}\n" * 5 + "+def f():\n+    pass\n"


def test_the_mere_mention_of_a_private_key_hides_nothing_after_it():
    text = "+x = '-----BEGIN PRIVATE KEY-----'\n+import os\n+import sys\n"
    assert mask_code(text) == f"+x = '{MASK}'\n+import os\n+import sys\n"
