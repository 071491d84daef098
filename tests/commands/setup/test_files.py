"""Claude Code's files on a real disk."""

from pathlib import Path

import pytest

from gateway.commands.setup.files import FileFault, pending, put_back, read, settings_path, state_path, write


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_files_are_where_the_client_looks(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    moved = {**home, "CLAUDE_CONFIG_DIR": str(tmp_path / "elsewhere")}
    assert (settings_path(home), state_path(home)) == (tmp_path / ".claude/settings.json", tmp_path / ".claude.json")
    assert settings_path(moved) == tmp_path / "elsewhere/settings.json"
    assert state_path(moved) == tmp_path / "elsewhere/.claude.json"

    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude/.config.json").write_text("{}")
    assert state_path(home) == tmp_path / ".claude/.config.json"


def test_without_a_home_it_is_the_users() -> None:
    assert settings_path({}) == Path.home() / ".claude/settings.json"


def test_a_new_file_is_private_and_its_backup_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "folder/settings.json"
    written = write(read(path), "{}\n", back_up=True)

    assert path.read_text() == "{}\n"
    assert written.backup == ""
    assert [mode(each) for each in (path, written.backup_path, path.parent)] == [0o600, 0o600, 0o700]
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, written.backup_path.name]

    put_back(read(path), "")
    assert list(path.parent.iterdir()) == []


def test_a_file_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    path.chmod(0o644)
    assert pending(read(path), "{}")

    write(read(path), "{}", back_up=False)

    assert (mode(path), read(path).backup) == (0o600, None)
    assert not pending(read(path), "{}")


def test_a_link_stays_one_and_the_backup_stands_beside_it(tmp_path: Path) -> None:
    dotfiles, path = tmp_path / "dotfiles", tmp_path / "claude/settings.json"
    dotfiles.mkdir()
    path.parent.mkdir()
    (dotfiles / "claude.json").write_text('{"a": 1}')
    path.symlink_to(Path("../dotfiles/claude.json"))

    written = write(read(path), '{"a": 2}', back_up=True)

    assert path.is_symlink()
    assert (dotfiles / "claude.json").read_text() == '{"a": 2}'
    assert written.backup_path.read_text() == '{"a": 1}'
    assert [each.name for each in dotfiles.iterdir()] == ["claude.json"]


def test_a_link_to_nothing_gets_its_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.symlink_to(tmp_path / "new/there.json")
    write(read(path), "{}", back_up=False)
    assert path.is_symlink()
    assert (tmp_path / "new/there.json").read_text() == "{}"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FileFault, match=r"settings\.json: not UTF-8 at byte 7: save it as UTF-8"):
        read(path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(FileFault, match=r"settings\.json: cannot be read: Is a directory"):
        read(tmp_path / "settings.json")


def test_what_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    target = read(tmp_path / "settings.json")
    (tmp_path / "settings.json").symlink_to(tmp_path / "file/settings.json")
    with pytest.raises(FileFault, match=r"settings\.json: cannot be written: .*: nothing was changed in it"):
        write(target, "{}", back_up=False)


def test_a_replacement_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    file = read(tmp_path / "settings.json")
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(FileFault, match=r"cannot be written: Is a directory"):
        write(file, "{}", back_up=False)
    assert [each.name for each in tmp_path.iterdir()] == ["settings.json"]


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    file = read(tmp_path / "settings.json")
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(FileFault, match=r"settings\.json: cannot be removed"):
        put_back(file, "")
