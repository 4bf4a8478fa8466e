"""A comparison page in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


def open_browser() -> Iterator[Browser]:
    """Open Debian's Chromium for the lifetime of a fixture."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("there is no chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """An open page, with its console messages, errors and network requests."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.page: Page = browser.new_page(**options)
        self.messages: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def close(self) -> None:
        self.page.close()
        assert self.messages == []
        local = [url for url in self.requested if url.startswith(("file:", "data:"))]
        assert local == self.requested
        assert len([url for url in local if url.startswith("file:")]) == 1


def attribute(element: Any, name: str) -> str:
    return str(element.get_attribute(f"data-{name}"))


def move(page: Page, place: int) -> None:
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    for _ in range(place):
        page.keyboard.press("ArrowRight")
