"""`intarsia demo`: what it prints, the page that it writes, and whose files it leaves alone."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from intarsia.cli.commands import intarsia
from intarsia.cli.demo_page import MARK, SHOWN
from intarsia.demo import CLASSES, load_demo

IMAGES = 60


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The JSON of a demo for the CPU, and its page."""
    place = tmp_path_factory.mktemp("demo") / "pages" / "demo.html"
    told = demo("--target", "cpu", "--images", str(IMAGES), "-o", str(place), "--json").stdout
    return json.loads(told), place.read_text()


def demo(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(intarsia, ("demo", *arguments))
    assert result.exit_code == code, result.output
    return result


class Page(html.parser.HTMLParser):
    """Tags that stand open, and everything that is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.figures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        if tag == "figure":
            self.figures.append(given["class"] or "")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it(shown: tuple[dict[str, Any], str]) -> None:
    _, text = shown
    page = Page(text)
    assert text.startswith(MARK) and page.open == []
    assert len(page.addresses) == SHOWN and all(item.startswith("data:image/png;base64,") for item in page.addresses)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert len(text) < 40_000
    pictures = [Image.open(io.BytesIO(base64.b64decode(item.split(",")[1]))) for item in page.addresses]
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), load_demo().pixels[:SHOWN])


def test_the_page_says_what_was_found(shown: tuple[dict[str, Any], str]) -> None:
    data, text = shown
    assert f"{data['accuracy']:.1%}" in text and f"{data['float_accuracy']:.1%}" in text
    assert abs(data["accuracy"] - data["float_accuracy"]) < 0.05 and data["float_accuracy"] > 0.8
    captions = re.findall(r"<figcaption>([\w -]+)(?:<i>is ([\w -]+)</i>)?<meter", text)
    assert [real or said for said, real in captions] == [CLASSES[label] for label in load_demo().labels[:SHOWN]]
    figures = Page(text).figures
    assert [kind == "wrong" for kind in figures] == [bool(real) for _, real in captions]
    assert all(row["name"].replace("&", "&amp;") in text for row in data["report"]["rows"] if row["macs"])


def test_what_is_printed_ends_with_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the overlay, in the working folder, where the page of an earlier demo stands."""
    monkeypatch.chdir(tmp_path)
    Path("demo.html").write_text(f"{MARK}an older one")
    lines = demo("--images", "4").stdout.splitlines()
    assert re.search(r"accuracy: \d of 4 images, .*; the float model gets \d, ", lines[-3])
    assert lines[-2] == "page with pictures: demo.html"
    assert lines[-1] == "next, your own model: intarsia explain model.onnx --target pynq-z2"
    page = Path("demo.html").read_text()
    assert "cycles an image" in page and "No bitstream has been built yet" in page and "are assumed" in page
    assert [path.name for path in tmp_path.iterdir()] == ["demo.html"]


def test_nobodys_file_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.html").write_text("<!DOCTYPE html> a page of mine")
    refused = demo(code=2)
    assert refused.stdout == "" and refused.stderr == (
        "error: page demo.html: a file that is not the page of a demo stands there\n"
        "  help: choose another name, or replace it: --force\n"
    )
    assert Path("demo.html").read_text() == "<!DOCTYPE html> a page of mine"
    refused = demo("-o", "demo.html/page.html", code=2)
    assert "'demo.html' is no folder" in refused.stderr
