"""`t9k.CONFIG`: what is read, what is changed where, and that no key ever shows."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import t9k
from t9k.config import Config, config_path, remove_login, save_login
from t9k.em.errors import EMError, InvalidConfig, InvalidURI, LocalError, SecretInURI

KEY = "5ecre7-0c1d"
FULL: dict[str, Any] = {
    "current-context": "work",
    "contexts": [
        {"name": "home", "server": "https://home", "auth": {"apikey": "other"}},
        {
            "name": "work",
            "server": "https://host",
            "prefixes": {"aistore": "/t9k/aistore/server", "asset-hub": "/t9k/asset-hub/server"},
            "auth": {"apikey": KEY, "token": "tok"},
            "note": "kept",
        },
    ],
    "version": 3,
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "t9k" / "config.yaml"
    path.parent.mkdir()
    monkeypatch.setenv("T9K_CONFIG", str(path))
    return path


def write(path: Path, data: object) -> None:
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")


def context_of(path: Path) -> dict[str, Any]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = next(c for c in data["contexts"] if c["name"] == data["current-context"])
    return found


class TestReading:
    def test_joins_server_and_prefixes(self, file: Path) -> None:
        write(file, FULL)
        assert Config().to_dict() == {
            "aistore_host": "https://host/t9k/aistore/server",
            "asset_hub_host": "https://host/t9k/asset-hub/server",
            "api_key": KEY,
        }

    @pytest.mark.parametrize(
        ("server", "prefix", "host"),
        [
            ("https://h", "/a", "https://h/a"),
            ("https://h/", "/a", "https://h/a"),
            ("https://h", "a", "https://h/a"),
            ("https://h/", "", "https://h/"),
            ("https://h", None, None),
            (None, "/a", None),
            ("", "/a", None),
            ("file:///data/em", "", "file:///data/em"),
            ("file:///data/em", None, "file:///data/em"),
            ("s3://bucket/root", "sub", "s3://bucket/root/sub"),
        ],
    )
    def test_joins_with_one_slash(self, file: Path, server: str | None, prefix: str | None, host: str | None) -> None:
        write(
            file, {"current-context": 1, "contexts": [{"name": 1, "server": server, "prefixes": {"aistore": prefix}}]}
        )
        assert Config()["aistore_host"] == host

    def test_a_store_has_no_asset_hub(self, file: Path) -> None:
        prefixes = {"asset-hub": "/hub"}
        write(file, {"current-context": "c", "contexts": [{"name": "c", "server": "s3://b", "prefixes": prefixes}]})
        assert Config()["asset_hub_host"] is None

    @pytest.mark.parametrize("spelling", ["apikey", "api_key"])
    def test_both_spellings_of_the_key_are_read(self, file: Path, spelling: str) -> None:
        write(file, {"current-context": "c", "contexts": [{"name": "c", "auth": {spelling: KEY}}]})
        assert Config()["api_key"] == KEY

    @pytest.mark.parametrize(
        "data", ["", "{}", "contexts: []", "current-context: c", "current-context: c\ncontexts:\n- name: c\n", "# only"]
    )
    def test_what_is_missing_is_none(self, file: Path, data: str) -> None:
        write(file, data)
        assert set(Config().to_dict().values()) == {None}

    def test_a_missing_file_is_none(self, file: Path) -> None:
        assert not file.exists()
        assert set(Config().values()) == {None}

    def test_is_lazy_and_reads_once_until_reload(self, file: Path) -> None:
        config = Config()
        write(file, FULL)
        assert config["api_key"] == KEY
        file.unlink()
        assert config["api_key"] == KEY
        config.reload()
        assert config["api_key"] is None

    def test_the_default_file_lies_in_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("T9K_CONFIG", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert config_path() == tmp_path / ".t9k" / "t9k-config.yaml"
        monkeypatch.setenv("T9K_CONFIG", "~/x.yaml")
        assert config_path() == tmp_path / "x.yaml"

    def test_an_unknown_home_directory_says_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T9K_CONFIG", "~no-such-user-here/x.yaml")
        with pytest.raises(InvalidConfig, match="set T9K_CONFIG"):
            config_path()

    def test_import_reads_nothing_and_loads_no_yaml(self, tmp_path: Path) -> None:
        code = (
            "import sys, t9k; assert 'yaml' not in sys.modules; assert 't9k.em' not in sys.modules; print(t9k.CONFIG)"
        )
        environment = {**os.environ, "T9K_CONFIG": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "<Config not read yet, changed here: nothing>\n"), done.stderr

    def test_threads_see_one_file(self, file: Path) -> None:
        write(file, FULL)
        config, seen = Config(), []
        threads = [threading.Thread(target=lambda: seen.append(config["api_key"])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [KEY] * 8


class TestBrokenFiles:
    @pytest.mark.long
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (f"auth: [{KEY}", "not valid YAML at line"),
            (f"apikey: {KEY}\n\tx: 1", "not valid YAML at line"),
            (f"{KEY}: \x00", "not valid YAML"),
            (f"{KEY}: 2023-99-99", "not valid YAML"),
            ("[" * 3000, "not valid YAML"),
            (f"- {KEY}", "must be a mapping"),
            ("contexts: 1", "list of mappings"),
            ("contexts: [1]", "list of mappings"),
            ("current-context: a\ncontexts: [{name: b}]", "names 'a'"),
            ("current-context: a\ncontexts: [{name: a, auth: x}]", "'auth'.*must be a mapping"),
            ("current-context: a\ncontexts: [{name: a, prefixes: []}]", "'prefixes'.*must be a mapping"),
            ("current-context: a\ncontexts: [{name: a, server: 1}]", "'server'.*must be a string"),
            ("current-context: a\ncontexts: [{name: a, auth: {apikey: 123}}]", "'apikey'.*in quotes"),
        ],
    )
    def test_is_named_without_quoting_it(self, file: Path, data: str, says: str) -> None:
        write(file, data)
        with pytest.raises(InvalidConfig, match=says) as caught:
            Config()["api_key"]
        assert str(file) in str(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__context__ is None
        if "names 'a'" not in says and "quotes" not in says:  # a new login fixes these
            with pytest.raises(InvalidConfig):
                save_login("https://h", KEY)
        assert file.read_text(encoding="utf-8") == data

    def test_a_new_login_mends_a_key_of_the_wrong_type(self, file: Path) -> None:
        write(file, "current-context: a\ncontexts: [{name: a, auth: {apikey: 123}}]")
        save_login("https://h", KEY)
        assert Config()["api_key"] == KEY

    def test_other_encodings_and_directories_are_named(self, file: Path) -> None:
        file.write_bytes(b"\xff\xfe\xff")
        with pytest.raises(InvalidConfig, match="not valid YAML"):
            Config()["api_key"]
        file.unlink()
        file.mkdir()
        with pytest.raises(InvalidConfig, match="cannot be read"):
            Config()["api_key"]

    def test_a_mended_file_is_read(self, file: Path) -> None:
        config = Config()
        write(file, "[")
        with pytest.raises(InvalidConfig):
            config["api_key"]
        write(file, FULL)
        assert config["api_key"] == KEY


class TestMapping:
    def test_changes_last_for_the_process_only(self, file: Path) -> None:
        write(file, FULL)
        before = file.read_bytes()
        config = Config()
        config["aistore_host"] = "file:///data/em"
        config.update({"api_key": None})
        assert (config["aistore_host"], config["api_key"]) == ("file:///data/em", None)
        assert dict(config.items()) == config.to_dict()
        assert file.read_bytes() == before
        assert Config()["api_key"] == KEY

    def test_a_change_needs_no_readable_file(self, file: Path) -> None:
        write(file, "[")
        config = Config()
        config["api_key"] = KEY
        assert config["api_key"] == KEY

    def test_get_gives_the_default_for_what_is_not_set(self, file: Path) -> None:
        assert not file.exists()
        config = Config()
        assert config.get("api_key") is None
        assert config.get("api_key", "x") == "x"
        assert config.get("no_such_key", "x") == "x"
        config["api_key"] = KEY
        assert config.get("api_key", "x") == KEY

    def test_other_keys_name_the_known_ones(self, file: Path) -> None:
        config = Config(file)
        with pytest.raises(KeyError, match="aistore_host, asset_hub_host, api_key"):
            config["apikey"]
        with pytest.raises(KeyError, match="aistore_host, asset_hub_host, api_key"):
            config.update({"api_key": "a", "apikey": "b"})
        assert config["api_key"] is None, "an update that fails changes nothing"
        assert "apikey" not in config
        assert list(config) == ["aistore_host", "asset_hub_host", "api_key"]
        assert len(config) == 3

    def test_values_are_str_or_none(self) -> None:
        with pytest.raises(InvalidConfig, match="str or None, not int"):
            Config()["api_key"] = 1  # type: ignore[assignment]

    def test_repr_shows_no_value(self, file: Path) -> None:
        write(file, FULL)
        config = Config()
        config["api_key"] = KEY + "x"
        assert config["aistore_host"]
        for text in (repr(config), str(config), repr(config.items()), repr(config.values())):
            assert KEY not in text
        assert repr(config) == "<Config read, changed here: api_key>"

    def test_the_package_exports_it(self) -> None:
        assert isinstance(t9k.CONFIG, Config)
        assert t9k.__all__ == ["CONFIG"]


segment = st.text("abz09-_.~%é", min_size=1, max_size=8).filter(lambda text: text.strip(".") != "")
hosts = st.one_of(
    st.builds(
        lambda scheme, host, port, path, end: f"{scheme}://{host}{port}" + "".join(f"/{p}" for p in path) + end,
        st.sampled_from(["http", "https", "HTTPS"]),
        st.sampled_from(["host", "10.0.0.1", "[::1]", "a.b"]),
        st.sampled_from(["", ":8080"]),
        st.lists(segment, max_size=3),
        st.sampled_from(["", "/", "//"]),
    ),
    st.sampled_from(["http://10.0.0.5:8000/t9k?insecure=true", "http://h/a/?insecure=true"]),
    st.sampled_from(["file:///data/em", "s3://bucket/root", "s3://b?region=x", "gs://b", "memory://m", "/data/em"]),
)


class TestLogin:
    @settings(max_examples=50, deadline=None)
    @given(first=hosts, second=hosts)
    def test_any_host_comes_back(self, tmp_path_factory: pytest.TempPathFactory, first: str, second: str) -> None:
        path = tmp_path_factory.mktemp("config") / "c.yaml"
        for host, key in ((first, KEY), (second, None), (first, "k2")):
            assert save_login(host, key, path=path) == path
            config = Config(path)
            assert (config["aistore_host"], config["api_key"]) == (host, key)

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
    def test_a_new_file_is_private(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T9K_CONFIG", str(tmp_path / "new" / "c.yaml"))
        path = save_login("https://host/t9k", KEY)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert yaml.safe_load(path.read_text(encoding="utf-8")) == {
            "current-context": "default-context",
            "contexts": [
                {
                    "name": "default-context",
                    "server": "https://host",
                    "prefixes": {"aistore": "/t9k"},
                    "auth": {"apikey": KEY},
                }
            ],
        }
        path.chmod(0o644)
        save_login("https://host/t9k", KEY)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(path.parent.iterdir()) == [path], "no temporary file stays"

    def test_keeps_what_it_does_not_know(self, file: Path) -> None:
        write(file, FULL)
        save_login("https://new/x", "k2")
        after = yaml.safe_load(file.read_text(encoding="utf-8"))
        expected = yaml.safe_load(yaml.safe_dump(FULL))
        expected["contexts"][1].update(server="https://new", auth={"apikey": "k2", "token": "tok"})
        expected["contexts"][1]["prefixes"]["aistore"] = "/x"
        assert after == expected
        assert list(after) == list(expected)

    def test_a_key_does_not_outlive_its_host(self, file: Path) -> None:
        write(file, FULL)
        save_login("https://elsewhere")
        assert Config()["api_key"] is None
        assert KEY not in file.read_text(encoding="utf-8")

    def test_a_server_with_a_path_stays_for_the_asset_hub(self, file: Path) -> None:
        prefixes = {"asset-hub": "/hub"}
        write(
            file,
            {"current-context": "c", "contexts": [{"name": "c", "server": "https://h/base/", "prefixes": prefixes}]},
        )
        save_login("https://h/base/ais")
        assert Config()["asset_hub_host"] == "https://h/base/hub"
        assert Config()["aistore_host"] == "https://h/base/ais"

    def test_keeps_the_spelling_of_the_key(self, file: Path) -> None:
        write(file, {"current-context": "c", "contexts": [{"name": "c", "auth": {"api_key": "old"}}]})
        save_login("https://h", KEY)
        assert context_of(file)["auth"] == {"api_key": KEY}

    def test_contexts_that_share_a_part_do_not_change_together(self, file: Path) -> None:
        text = "current-context: a\ncontexts:\n- {name: a, auth: &x {apikey: old}}\n- {name: b, auth: *x}\n"
        write(file, text)
        save_login("https://h", KEY)
        assert yaml.safe_load(file.read_text(encoding="utf-8"))["contexts"][1]["auth"] == {"apikey": "old"}

    @pytest.mark.parametrize(
        "data", ["current-context: gone\ncontexts: [{name: a}]", "contexts: [{name: a}, {name: default-context, x: 1}]"]
    )
    def test_names_a_context_where_none_is_current(self, file: Path, data: str) -> None:
        write(file, data)
        save_login("https://h", KEY)
        assert Config()["api_key"] == KEY
        assert any(c["name"] == "a" for c in yaml.safe_load(file.read_text(encoding="utf-8"))["contexts"])

    def test_a_relative_path_is_saved_absolute(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(file.parent)
        save_login("data")
        assert Config()["aistore_host"] == str(file.parent / "data")

    def test_writes_through_a_link(self, file: Path) -> None:
        real = file.parent / "real.yaml"
        write(real, FULL)
        file.symlink_to(real)
        save_login("https://h", "k2")
        assert file.is_symlink()
        assert Config(real)["api_key"] == "k2"

    @pytest.mark.parametrize(
        "host",
        [
            "",
            " https://h",
            "https://h\n",
            "https://",
            "https://h?x=1",
            "http://h?insecure=true&x=1",
            "https://h#f",
            None,
        ],
    )
    def test_refuses_hosts_that_are_none(self, file: Path, host: Any) -> None:
        with pytest.raises(InvalidURI):
            save_login(host)
        assert not file.exists()

    @pytest.mark.parametrize("host", [f"https://u:{KEY}@h", f"s3://u:{KEY}@b", f"s3://b?secret={KEY}"])
    def test_refuses_secrets_in_hosts(self, file: Path, host: str) -> None:
        with pytest.raises(SecretInURI) as caught:
            save_login(host)
        assert KEY not in str(caught.value)
        assert not file.exists()

    @pytest.mark.parametrize("key", ["", " ", f"{KEY}\n", f"{KEY} x", f"{KEY}é", 5])
    def test_refuses_keys_that_no_header_can_carry(self, file: Path, key: Any) -> None:
        with pytest.raises(InvalidConfig) as caught:
            save_login("https://h", key)
        assert KEY not in str(caught.value)
        assert not file.exists()

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InvalidConfig, match="cannot be read"):
            save_login("https://h", KEY, path=tmp_path / "file" / "c.yaml")

    def test_a_failed_write_leaves_the_old_file(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(file, FULL)

        def full_disk(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(LocalError, match="No space left") as caught:
            save_login("https://h", "k2")
        assert isinstance(caught.value, EMError)
        assert list(file.parent.iterdir()) == [file]
        assert Config()["api_key"] == KEY

    def test_a_directory_that_cannot_be_made_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(LocalError, match=r"c\.yaml cannot be written \(Permission denied\)"):
            save_login("https://h", KEY, path=tmp_path / "c.yaml")


class TestLogout:
    def test_removes_the_key_and_keeps_the_server(self, file: Path) -> None:
        write(file, FULL)
        assert remove_login() is True
        config = Config()
        assert (config["aistore_host"], config["api_key"]) == ("https://host/t9k/aistore/server", None)
        expected = yaml.safe_load(yaml.safe_dump(FULL))
        del expected["contexts"][1]["auth"]["apikey"]
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == expected

    def test_removes_a_store(self, file: Path) -> None:
        save_login("file:///data/em")
        assert remove_login(path=file) is True
        assert set(Config().to_dict().values()) == {None}

    @pytest.mark.parametrize("data", [None, "", "current-context: c\ncontexts: [{name: c, server: 'https://h'}]"])
    def test_without_a_login_nothing_is_written(self, file: Path, data: str | None) -> None:
        if data is not None:
            write(file, data)
        assert remove_login() is False
        assert (file.read_text(encoding="utf-8") if file.exists() else None) == data


COMMENTED = """\
# my servers
current-context: "work"   # the one at work

contexts:
# the lab
- name: lab
  server: https://lab.example   # slow
  auth: {apikey: 'abc'}
- name: work
  # do not touch
  server: 'https://work.example'
  prefixes:
    aistore: /t9k/aistore/server
  auth:
    apikey: secret-1  # of alice

other: [1, 2]
"""


def test_a_login_keeps_comments_order_and_quotes(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(COMMENTED)
    save_login("https://work.example/t9k/aistore/server", "secret-2", path=path)
    assert path.read_text() == COMMENTED.replace("secret-1", "secret-2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    remove_login(path=path)
    assert path.read_text() == COMMENTED.replace("  auth:\n    apikey: secret-1  # of alice\n", "  auth: {}\n")


def test_lists_stay_as_they_are_indented(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("current-context: a\ncontexts:\n  # one\n  - name: a\n    server: https://a.example\n")
    save_login("file:///data/em", path=path)
    assert path.read_text().startswith(
        "current-context: a\ncontexts:\n  # one\n  - name: a\n    server: file:///data/em\n"
    )


def test_a_part_that_contexts_share_is_changed_in_the_current_one_only(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "current-context: a\ncontexts:\n- name: a\n  server: https://a.example\n  auth: &key {apikey: one}\n"
        "- name: b\n  server: https://b.example\n  auth: *key\n"
    )
    save_login("https://a.example", "two", path=path)
    contexts = yaml.safe_load(path.read_text())["contexts"]
    assert [context["auth"]["apikey"] for context in contexts] == ["two", "one"]
