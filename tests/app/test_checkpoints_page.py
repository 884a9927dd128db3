"""The Checkpoints page and what the pages share: memory, the hub, the address; run by Streamlit's own tester."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import jobs, session
from app.jobs import Job
from tests.app.test_pages import PAGES, finished, opened, press
from tests.checkpoint.test_hub import COMMIT, ID, lay_out
from tests.models import new_translator, translator

TINY = "tiny-model"


@pytest.fixture
def some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with one tiny checkpoint, which the app looks in."""
    folder = tmp_path / "checkpoints"
    translator("target", "target").save(folder / "routed")
    monkeypatch.setenv(session.VARIABLE, str(folder))
    return folder


def add(test: AppTest, text: str) -> AppTest:
    test.text_input[0].set_value(text)
    return press(test, "Add")


def names(test: AppTest) -> list[str]:
    return list(test.dataframe[0].value["Checkpoint"])


def test_what_was_used_longest_ago_leaves_memory_and_the_list(
    some: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_LOADED", 2)
    session.loaded().clear()
    for name in ("second", "third"):
        translator().save(some / name)
    first = session.load(some / "routed")
    session.load(some / "second")
    assert session.load(some / "routed") is first and first.name == "routed"
    session.load(some / "third")
    assert [path.name for path in session.loaded()] == ["routed", "third"]
    test = opened("checkpoints")
    table = test.dataframe[0].value.set_index("Checkpoint")
    size = first.weight_bytes / 2**20
    assert table.loc["routed", "To load (MiB)"] == pytest.approx(size)
    assert table["In memory (MiB)"].notna().to_dict() == {
        "routed": True,
        "second": False,
        "third": True,
    }
    assert "3 checkpoints, 2 in memory" in test.caption[1].value
    assert any("not loaded; would need 0." in text.value for text in test.markdown)
    press(test, "Load")
    assert [path.name for path in session.loaded()] == ["third", "second"]
    (some / "third" / "config.json").touch()  # written anew: what is in memory is not it
    assert session.load(some / "third") is not None
    test.button(key=f"unload {some / 'third'}").click().run()
    assert [path.name for path in session.loaded()] == ["second"]


def test_what_cannot_fit_says_so_before_it_is_loaded(
    some: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.loaded().clear()
    monkeypatch.setattr("workbench.checkpoint.memory.free_memory", lambda: 2**10)
    test = opened("checkpoints")
    (load,) = [button for button in test.button if button.label == "Load"]
    assert load.disabled
    assert any("but 0.0 MiB are free: **it cannot be loaded" in t.value for t in test.markdown)


def fetched(test: AppTest) -> None:
    """Wait for the job, unless the page has seen its end already."""
    if "fetching" in test.session_state:
        assert finished(test.session_state["fetching"])
        test.run()


def test_a_model_on_the_hub_is_added_by_its_id(
    some: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = lay_out(tmp_path)
    test = add(opened("checkpoints"), "someone/else")
    fetched(test)
    assert "not in the hub's cache" in test.error[0].value
    assert r"'\*.safetensors'" in test.error[0].value  # as it is typed, not as Markdown
    fetched(add(test, f"{ID}@{COMMIT}"))
    assert not test.error and names(test) == ["routed", TINY]
    assert test.query_params["checkpoint"] == str(snapshot)
    assert session.load(snapshot).name == TINY
    session.unload(snapshot)


def test_a_model_that_is_not_waited_for_is_not_added(
    some: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Event()

    def slow(name: str, progress: Any) -> Path:
        arrived.wait(60)
        return some / "routed"

    monkeypatch.setattr("workbench.checkpoint.hub.find_checkpoint", slow)
    test = add(opened("checkpoints"), "someone/large")
    press(test, "Cancel")
    assert finished(test.session_state["fetching"])
    arrived.set()
    test.run()
    assert "Cancelled. someone/large is not added" in test.info[0].value
    assert names(test) == ["routed"]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs: one model, whose weights wait for `go`."""

    folder: Path
    go: threading.Event

    def do_GET(self) -> None:
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        place = self.path.partition("?")[0]
        name = place.rpartition("/")[2]
        if "/resolve/" in place:
            body = files[name]
        elif "/tree/" in place:
            body = json.dumps(
                [
                    {"type": "file", "oid": name, "size": len(data), "path": name}
                    for name, data in files.items()
                ]
            ).encode()
        else:
            body = json.dumps({"id": ID, "sha": COMMIT, "siblings": []}).encode()
        self.send_response(200)
        headers = {"Content-Length": len(body), "ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            if name == "model.safetensors":
                self.go.wait(60)
            with suppress(OSError):  # whoever asked is gone
                self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    Hub.folder, Hub.go = tmp_path / "on the hub", threading.Event()
    translator().save(Hub.folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", here)
        urls = here + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", urls)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield Hub
        Hub.go.set()
        server.shutdown()


def test_a_download_tells_how_much_has_arrived_and_stops_when_cancelled(
    some: Path, hub: type[Hub]
) -> None:
    sizes = {file.name: file.stat().st_size for file in hub.folder.iterdir()}
    test = add(opened("checkpoints"), ID)
    job: Job = test.session_state["fetching"]
    there = (sum(sizes.values()) - sizes["model.safetensors"]) / sum(sizes.values())
    for _ in range(600):
        if job.fraction == pytest.approx(there):
            break
        time.sleep(0.05)
    mib = sum(sizes.values()) / 2**20
    assert job.text == (f"Fetching {ID} into the hub's cache: {there * mib:,.1f} of {mib:,.1f} MiB")
    press(test, "Cancel")
    assert finished(job) and not job.results and not job.error
    hub.go.set()
    assert "are not fetched again" in test.run().info[0].value
    fetched(add(test, ID))
    assert not test.error and names(test) == ["routed", TINY]


def test_what_was_added_stays_in_the_address_until_it_is_removed(
    some: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    translator().save(mine)
    test = add(opened("checkpoints"), str(mine))
    assert test.query_params["checkpoint"] == str(mine)
    other = AppTest.from_file(str(PAGES / "translate.py"), default_timeout=120)
    other.query_params["checkpoint"] = [str(mine), "mine", str(tmp_path), str(some / "routed")]
    other.run()
    assert not other.exception
    assert other.session_state["added"] == [mine]
    warnings = [warning.value.replace("\\", "") for warning in other.warning]
    assert warnings[0].startswith("mine in the address is left out. The address must name")
    assert f"{tmp_path} is no checkpoint, but has one in it: {mine}." in warnings[1]
    assert len(warnings) == 2
    press(test, "Remove")
    assert names(test) == ["routed"] and "checkpoint" not in test.query_params


def test_a_file_is_no_checkpoint(some: Path) -> None:
    test = add(opened("checkpoints"), str(some / "routed" / "config.json"))
    said = test.error[0].value.replace("\\", "")
    assert said.endswith(
        f"config.json is a file. A checkpoint is a directory, here perhaps {some / 'routed'}."
    )


@pytest.mark.parametrize("written", ["~nobody-of-this-name/x", "x" * 5000])
def test_what_no_path_can_be_called_is_said_in_one_line(some: Path, written: str) -> None:
    assert "cannot be a path here" in add(opened("checkpoints"), written).error[0].value
    with pytest.raises(ValueError, match="cannot be a path here: "):
        session.path_of(written)


def test_a_broken_configuration_leaves_the_others_usable(some: Path) -> None:
    for name, text in (("deep", "[" * 100_000), ("empty", "")):
        (some / name).mkdir()
        (some / name / "config.json").write_text(text)
    (some / "directory" / "config.json").mkdir(parents=True)
    (some / "routed" / "README.md").unlink()
    (some / "routed" / "README.md").mkdir()
    test = opened("checkpoints")
    assert names(test) == ["routed"]
    said = [warning.value.replace("\\", "") for warning in test.warning]
    files = [some / name / "config.json" for name in ("deep", "directory", "empty")]
    assert f"{files[0]} is not valid JSON: " in said[0]
    assert said[1] == f"directory is left out. Cannot read {files[1]}: Is a directory."
    assert f"{files[2]} is not valid JSON: " in said[2]


def test_a_card_has_no_heading_as_large_as_the_page(some: Path) -> None:
    (some / "routed" / "README.md").write_text("# Routed\n\n```bash\n# as it is\n```\n")
    (card,) = [text.value for text in opened("checkpoints").markdown if "Routed" in text.value]
    assert card == "#### Routed\n\n```bash\n# as it is\n```"


def test_networks_made_here_are_kept_the_newest_first_to_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session._made().clear()
    models = [translator(*kind) for kind in (("dense", "dense"), ("token", "token"))]
    models += [translator(*kind) for kind in (("token", "target"), ("target", "target"))]
    monkeypatch.setattr(session, "MOST_MADE", 3)
    asked = session.Making(Path("whole"), (), "extract", ())
    job = jobs.start(
        lambda job: job.results.append(SimpleNamespace(network=models[0])), asked, shared=True
    )
    assert finished(job) and jobs.known(asked) is job
    for model in models:
        session.keep(model)
    assert list(session.made().values()) == models[1:]
    assert jobs.known(asked) is None  # or it would hold in memory what has gone
    session.keep(models[1])
    assert list(session.made().values()) == [*models[2:], models[1]]
    assert session.network("target-target") is models[3]
    assert session.free_name("target-target") == "target-target-2"
    assert session.free_name("new") == "new"
    with pytest.raises(ValueError, match="neither a checkpoint nor a network"):
        session.network("nothing")


def test_pages_show_no_links_to_the_web_and_the_icon_is_a_file() -> None:
    app = PAGES.parent
    config = (app / ".streamlit" / "config.toml").read_text()
    assert "showErrorLinks = false" in config
    assert (app / "icon.svg").read_text().startswith("<svg ")
    assert json.dumps("icon.svg") in (app / "main.py").read_text()


def test_networks_of_one_name_are_told_apart() -> None:
    """What is compared goes by their numbers; the place in memory of one that is gone is another's soon."""
    first = session.number_of(translator("dense", "dense"))
    assert session.number_of(translator("dense", "dense")) == first
    assert (
        len({session.number_of(new_translator("dense", "dense")) for _ in range(3)} - {first}) == 3
    )
