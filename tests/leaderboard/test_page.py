"""The static page: what is in it, and what a browser makes of it (Chromium, skipped where there is none)."""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import io
import json
import os
import re
import shutil
import types
import zipfile

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cloudsched_env.evaluation.statistics import Interval
from cloudsched_env.leaderboard.render import MARKERS, _order, markdown_table, put_into, render_site
from cloudsched_env.leaderboard.site.charts import bar_chart_range, interval_bar, ticks
from cloudsched_env.leaderboard.site.format import number, spread, web
from cloudsched_env.leaderboard.standings import board_of
from cloudsched_env.leaderboard.store import boards
from tests.scripts import load_script

pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def all_boards(played):
    return [board_of(board) for board in boards(played)]


@pytest.fixture(scope="module")
def site(all_boards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "site"
    render_site(all_boards, folder)
    return folder


class Links(html.parser.HTMLParser):
    """Addresses that a page refers to, tags that are not closed, and elements with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[name] for name in ("href", "src") if values.get(name)]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "svg" and values.get("role") == "img":
            self.images.append(values)


def pages(site):
    return {file.relative_to(site): file.read_text(encoding="utf-8") for file in site.rglob("*.html")}


def test_there_is_a_page_for_every_agent_and_scenario(site):
    names = {str(path) for path in pages(site)}
    assert {"index.html", "agents/balanced.html", "agents/aborts.html", "scenarios/tiny-v1.html"} <= names


def test_every_link_leads_somewhere_on_the_disk_and_nothing_is_loaded_from_elsewhere(site):
    for path, text in pages(site).items():
        for address in Links(text).addresses:
            if address.startswith(("#", "data:")):
                continue
            assert not address.startswith(("http:", "//")), f"{path}: {address}"
            if not address.startswith("https:"):
                assert (site / path.parent / address).resolve().is_file(), f"{path}: {address}"
        assert "@import" not in text
        assert not re.search(r'<(script|link|img)[^>]+(src|href)="(https?:)?//', text)


def test_every_chart_has_a_text_alternative_and_ids_are_unique(site):
    for path, text in pages(site).items():
        found = Links(text)
        assert len(set(found.ids)) == len(found.ids), path
        for image in found.images:
            label = image.get("aria-label") or all(i in found.ids for i in image["aria-labelledby"].split())
            assert label, f"{path}: {image}"


def test_an_agent_has_the_same_colour_and_dash_in_all_charts(site):
    legend = re.compile(r'<li><svg class="key"[^>]*><line class="line ([^"]+)"[^>]*/></svg>([^<]+)</li>')
    styles = {}
    for text in pages(site).values():
        for classes, label in legend.findall(text):
            styles.setdefault(label.split(" (")[0], set()).add(classes)
    assert len(styles) > 3
    assert all(len(found) == 1 for found in styles.values()), styles
    assert len(set.union(*styles.values())) == len(styles)
    sheet = (site / "style.css").read_text()
    for classes in set.union(*styles.values()):
        colour, dash = classes.split()
        assert f".line.{colour} " in sheet
        assert dash == "d1" or f".line.{dash} " in sheet


def test_a_failed_agent_has_a_row_that_says_so(site):
    text = (site / "index.html").read_text()
    assert "SIGABRT" in text
    assert 'class="pill failed">failed' in text


def test_a_stranger_finds_what_scores_ranks_and_columns_mean_without_a_pointer(site):
    text = (site / "index.html").read_text()
    reading = text.split("How to read this")[1].split("</dl>")[0]
    for term in ("Score", "Brackets", "Rank", "Profile"):
        assert f"<dt>{term}</dt>" in reading
    columns = text.split("What the columns mean")[1].split("</dl>")[0]
    headings = re.findall(r'<th scope="col"[^>]*><button type="button">([^<]+)</button>', text.split("<tbody>")[0])
    explained = {"Rank", "Agent", "Score", *re.findall(r"<dt>([^<]+)</dt>", columns)}
    scenarios = {"tiny-v1", "tenants-4-per-tenant-v1"}
    assert set(headings) <= explained | scenarios
    assert "cloudsched check" in text.split("Enter your agent")[1]


def test_the_headline_comes_first_and_the_first_look_last(all_boards):
    def named(name):
        suite = dataclasses.replace(all_boards[0].results.suite, name=name)
        results = types.SimpleNamespace(suite=suite, label=f"{name}-v1")
        return types.SimpleNamespace(results=results, label=results.label)

    mixed = [named(name) for name in ("quick", "mine", "stress", "trace", "standard")]
    assert [b.label for b in sorted(mixed, key=_order)] == [
        "standard-v1",
        "trace-v1",
        "stress-v1",
        "quick-v1",
        "mine-v1",
    ]


def test_learning_curves_and_convergence_are_shown(site):
    index, agent = ((site / name).read_text() for name in ("index.html", "agents/trained.html"))
    for text in (index, agent):
        assert "Learning curves" in text
        assert "trained (2 training runs)" in text
    assert "Converged in 2 of 2 training runs" in " ".join(agent.split())


def test_a_convergence_that_was_not_reached_is_shown_as_censored(all_boards, tmp_path):
    row = next(row for row in all_boards[0].rows if row.slug == "trained")
    before = row.convergence
    row.convergence = dataclasses.replace(before, converged=0, median_env_steps=None)
    try:
        render_site(all_boards, tmp_path / "site")
    finally:
        row.convergence = before
    text = " ".join((tmp_path / "site" / "agents" / "trained.html").read_text().split())
    assert "Converged in 0 of 2 training runs" in text
    assert "median later than the budget of 24 000 steps (censored)" in text


def test_continuous_integration_shows_the_rest_when_a_submission_is_broken(played, tmp_path):
    (tmp_path / "submissions" / "broken").mkdir(parents=True)
    (tmp_path / "submissions" / "broken" / "agent.json").write_text("{}")
    module = load_script("leaderboard/build.py", "leaderboard_build")
    app = typer.Typer()
    app.command()(module.main)
    folders = [
        "--results",
        str(played),
        "--submissions",
        str(tmp_path / "submissions"),
        "--out",
        str(tmp_path / "site"),
    ]
    # The anchors of this suite are not committed: they lie beside the results.
    result = CliRunner().invoke(app, folders)
    assert result.exit_code == 1, result.output
    assert "left out: broken" in result.output
    assert "balanced" in (tmp_path / "site" / "index.html").read_text()


def test_names_from_submissions_cannot_put_code_into_pages(all_boards, tmp_path):
    row = all_boards[0].rows[0]
    evil = "<script>alert(1)</script>"
    before = row.declaration
    row.declaration = dataclasses.replace(before, name=evil, description=evil, paper="javascript:alert(1)")
    try:
        render_site(all_boards, tmp_path / "site")
    finally:
        row.declaration = before
    for text in pages(tmp_path / "site").values():
        assert "<script>alert" not in text
        assert 'href="javascript:' not in text


def test_downloads_hold_the_table_and_every_raw_number(site, all_boards):
    table = list(csv.DictReader(io.StringIO((site / "data" / "small-v1.csv").read_text())))
    by_name = {line["agent"]: line for line in table}
    balanced = next(row for row in all_boards[0].rows if row.slug == "balanced")
    assert float(by_name["balanced"]["score"]) == pytest.approx(balanced.score.estimate, abs=1e-8)
    assert by_name["aborts"]["status"] == "failed"
    with zipfile.ZipFile(site / "data" / "small-v1-balanced.zip") as archive:
        content = json.loads(archive.read("raw/tiny-v1/seed_0.json"))
    stored = content["cloudsched"]["tiny-v1/test"]["balanced"]["seed_0"]["absolute_metrics"]["team_reward"]
    assert stored == balanced.folder.values("tiny-v1", 0)["team_reward"].tolist()


def test_rendering_again_gives_the_same_bytes_and_leaves_other_folders_alone(all_boards, site, tmp_path):
    before = {file.relative_to(site): file.read_bytes() for file in site.rglob("*") if file.is_file()}
    render_site(all_boards, site)
    assert before == {file.relative_to(site): file.read_bytes() for file in site.rglob("*") if file.is_file()}
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="neither empty nor an earlier site"):
        render_site(all_boards, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_the_markdown_table_goes_between_its_markers(all_boards, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n")
    put_into(page, all_boards)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    lines = markdown_table(all_boards[0]).splitlines()
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1
    assert "`aborts`: failed" in lines[-1]
    with pytest.raises(ValueError, match="leaderboard: begin"):
        put_into(tmp_path / "other.md", all_boards) if (tmp_path / "other.md").write_text("x") else None


def test_numbers_are_written_with_the_digits_that_they_deserve():
    assert [number(v) for v in (0.01234, 12.34, 567.8, 12345.6, -3.0, 0.0)] == [
        "0.0123", "12.3", "568", "12\u202f346", "\u22123", "0",
    ]  # fmt: skip
    assert number(-0.0001, "score") == "0.000"
    assert number(float("nan")) == "\u2013"
    assert spread(Interval(0.5, 0.5, 0.5), "score") == "±0"
    assert spread(Interval(0.5, 0.49999, 0.50001), "score") == "[0.500, 0.500]"  # narrow is not nothing
    assert spread(Interval(0.5, np.nan, np.nan), "score") == ""
    assert web("https://x.org") == "https://x.org"
    assert web("data:text/html,x") == "#"


def test_bars_and_ticks_stand_where_their_values_are():
    assert ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    span = bar_chart_range([Interval(0.5, 0.4, 0.6)])
    assert span[0] < 0 < 0.6 < span[1]
    bar = interval_bar(Interval(0.5, 0.4, 0.6), (0.0, 1.0), "a <b>")
    assert 'width="50.00%"' in bar
    assert 'x1="40.00%" x2="60.00%"' in bar
    assert "a &lt;b&gt;" in bar


@pytest.fixture(scope="module")
def browser():
    """Chromium: that of Playwright, or one that is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is looked at with Playwright")
    installed = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    with playwright.sync_playwright() as started:
        try:
            # A container's root user has no sandbox to offer.
            arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
            found = started.chromium.launch(executable_path=installed, args=arguments)
        except playwright.Error as error:
            pytest.skip(f"no Chromium (make browser installs one): {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def view(browser):
    """A function that opens a page, and fails the test on any error that the page reports."""
    opened = []

    def open_page(file, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        page = context.new_page()
        problems = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.goto(file.as_uri())
        opened.append((context, problems))
        return page

    yield open_page
    for context, problems in opened:
        context.close()
        assert problems == []


def agents_in_order(page):
    return page.eval_on_selector_all("tbody tr:not([hidden]) > th", "cells => cells.map(cell => cell.dataset.value)")


def test_the_browser_sorts_by_a_click_and_says_so(view, site, all_boards):
    page = view(site / "index.html")
    assert agents_in_order(page) == [row.declaration.name for row in all_boards[0].rows]
    heading = page.locator("thead th", has=page.get_by_role("button", name="Score"))
    heading.get_by_role("button").first.click()
    assert heading.first.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").first.click()
    assert heading.first.get_attribute("aria-sort") == "ascending"
    assert agents_in_order(page)[:1] == ["random"]
    assert agents_in_order(page)[-1:] == ["aborts"]  # what has no number stays last
    assert "Sorted by Score, ascending" in page.locator("#status").inner_text()


def test_the_browser_sorts_from_the_keyboard_alone(view, site):
    page = view(site / "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_role("button", name="Decision").focus()
    page.keyboard.press("Enter")
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("Decision")


def test_the_browser_filters_and_keeps_the_filter_in_the_address(view, site):
    page = view(site / "index.html")
    page.get_by_label("Kind").select_option("learned")
    assert set(agents_in_order(page)) == {"trained", "aborts"}
    page.get_by_role("searchbox", name="Agent").fill("train")
    assert agents_in_order(page) == ["trained"]
    assert "kind=learned" in page.url
    again = view(site / "index.html")
    again.goto(page.url)
    again.reload()
    assert agents_in_order(again) == ["trained"]


def test_more_columns_can_be_shown(view, site):
    page = view(site / "index.html")
    column = page.get_by_role("columnheader", name="jain index")
    assert not column.is_visible()
    page.get_by_label("fairness").check()
    assert column.is_visible()


@pytest.mark.parametrize(
    "name", ["index.html", "agents/balanced.html", "agents/trained.html", "scenarios/tiny-v1.html"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_are_readable_in_both_schemes(view, site, name, scheme):
    page = view(site / name, 390, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


def test_without_a_script_everything_is_there(view, site, all_boards):
    page = view(site / "index.html", java_script_enabled=False)
    assert page.locator("tbody tr").count() == len(all_boards[0].rows)
    assert not page.locator(".controls").is_visible()


# Least contrast of visible text to its background (WCAG 2.1), over all elements with text of their own.
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  let worst = { ratio: 99 };
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("title, desc, .visually-hidden, .skip, script")) continue;
    const style = getComputedStyle(element);
    let behind = element;
    let ground = [0, 0, 0, 0];
    while (behind && (ground.length === 4 && ground[3] === 0)) {
      ground = parse(getComputedStyle(behind).backgroundColor);
      behind = behind.parentElement;
    }
    const text = parse(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio >= worst.ratio) continue;
    worst = { ratio, text: element.textContent.slice(0, 40), tag: element.outerHTML.slice(0, 80) };
  }
  return worst;
}"""
