"""Certificates of the user's own: a file that OpenSSL would silently do without is refused at start."""

from pathlib import Path

import pytest
import trustme

from gateway.settings import SettingsError, load_settings

HTTPS = {"backend_url": "https://backend.example"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.pem", None, "No such file or directory"),
        ("empty.pem", "", "it holds no certificates in PEM form"),
        ("garbage.pem", "-----BEGIN CERTIFICATE-----\n?\n", "it holds no certificates in PEM form"),
        ("", None, "it holds no certificates in PEM form|Is a directory"),
    ],
)
def test_a_file_without_certificates_is_refused(name: str, content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)

    with pytest.raises(SettingsError, match=rf"SSL_CERT_FILE={path}/?: (?:{said}): name a file of CA certificates"):
        load_settings(HTTPS, {"SSL_CERT_FILE": str(path)}, tmp_path)


def test_a_file_with_certificates_is_used(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))

    load_settings(HTTPS, {"SSL_CERT_FILE": str(path)}, tmp_path)


def test_a_backend_without_tls_needs_none(tmp_path: Path) -> None:
    load_settings({"backend_url": "http://backend.example"}, {"SSL_CERT_FILE": "/missing"}, tmp_path)
