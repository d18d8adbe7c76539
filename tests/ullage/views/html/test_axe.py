"""The page and the fragment in a browser: axe-core finds nothing serious, in light and dark, with everything open.

Needs chromium, and in ULLAGE_AXE the file axe.min.js of axe-core (from `npm pack axe-core`).
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from planner.plan import Plan
from tests.plans import mig_plan
from tests.ullage.views.drawn_studies import grid_study
from tests.ullage.views.html.page_plans import repeated_plan, told_plan
from ullage.views.html.page_frame import POLICY
from ullage.views.html.plan.plan_fragment import plan_html
from ullage.views.html.plan.report_page import report_page
from ullage.views.html.study.study_fragment import study_html
from ullage.views.html.study.study_page import study_page

PLANS = {"told": told_plan("chat"), "mig": mig_plan(), "large": repeated_plan(70)}
# Writes what axe found in place of the page; every disclosure is open before.
CHECK = """
<script>
for (const item of document.querySelectorAll("details")) item.open = true;
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const told = found.violations.map(v => ({id: v.id, impact: v.impact, where: v.nodes.slice(0, 3).map(n => n.html.slice(0, 300))}));
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(told);
});
</script>
"""


@pytest.fixture(scope="module")
def axe() -> str:
    named = os.environ.get("ULLAGE_AXE")
    if not named:
        pytest.skip("ULLAGE_AXE does not name a file axe.min.js")
    return Path(named).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium on PATH")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_axe_finds_nothing_serious(plan: Plan, dark: bool, axe: str, chromium: str, tmp_path: Path) -> None:
    page = report_page(plan)
    # the policy lets no script run, nor this one
    assert html.escape(POLICY) in page
    checked = page.replace(html.escape(POLICY), "").replace("</body>", f"<script>{axe}</script>{CHECK}</body>")
    assert serious(violations(checked, chromium, tmp_path, dark=dark)) == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("count", [60, 700])
def test_axe_finds_nothing_serious_in_a_study(count: int, dark: bool, axe: str, chromium: str, tmp_path: Path) -> None:
    page = study_page(grid_study(count, 10)).replace(html.escape(POLICY), "")
    checked = page.replace("</body>", f"<script>{axe}</script>{CHECK}</body>")
    assert serious(violations(checked, chromium, tmp_path, dark=dark)) == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_a_notebooks_fragment(dark: bool, axe: str, chromium: str, tmp_path: Path) -> None:
    around = '<!DOCTYPE html><html lang="en"><head><title>notebook</title></head><body><main><h1>a</h1><h2>b</h2>'
    shown = f"{plan_html(told_plan('chat'))}{plan_html(mig_plan())}{study_html(grid_study(30, 6))}"
    page = f"{around}{shown}</main><script>{axe}</script>{CHECK}</body></html>"
    assert serious(violations(page, chromium, tmp_path, dark=dark)) == []


def violations(page: str, chromium: str, folder: Path, *, dark: bool) -> list[dict[str, str]]:
    """What axe finds in a page that runs it."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=30000")
    command = [chromium, *options, scheme, "--dump-dom", (folder / "page.html").as_uri()]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="found">(.*?)</pre>', told.stdout, flags=re.DOTALL)
    assert found is not None, told.stderr[-2000:]
    read: list[dict[str, str]] = json.loads(html.unescape(found[1]))
    return read


def serious(found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [item for item in found if item["impact"] in {"serious", "critical"}]
