from gateway.record.request_record import RequestRecord


def test_what_clients_and_backends_choose_is_cut_as_it_enters() -> None:
    record = RequestRecord()

    record.model = record.backend_model = "m" * 1_000_000
    record.error = "e" * 1_000_000

    assert (record.model, record.backend_model) == ("m" * 200 + "…", "m" * 200 + "…")
    assert record.error == "e" * 1000 + "…"
    record.error = None
    assert record.error is None
