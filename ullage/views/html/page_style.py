"""What the style of a page adds to that of a fragment: its frame, its contents, and paper."""

from __future__ import annotations

_RULES = """
.ullage.page{margin:0 auto;max-width:1280px;padding:16px 20px}
.ullage.page h2{border-top:1px solid var(--line);padding-top:.8em;margin-top:1.6em}
.ullage a{color:var(--link)}
.ullage .skip{position:absolute;left:-999em;background:var(--bg);padding:8px}
.ullage .skip:focus{left:12px;top:8px;z-index:20}
.ullage nav ul{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;padding:0}
.ullage .model{margin:3px 0}
.ullage .falls{display:block;width:100%;max-width:900px;height:auto}
.ullage .falls text{fill:var(--fg);font-size:13px}
.ullage .falls .name{font-weight:700}
.ullage .falls .own{fill:#0072b2}
.ullage .falls .left{fill:var(--free);stroke:var(--line)}
.ullage .falls .less{fill:#56b4e9;stroke:#0072b2;stroke-dasharray:4 2}
.ullage .falls .more{fill:#e69f00;stroke:#7a5400}
.ullage footer{margin-top:2em;border-top:1px solid var(--line);color:var(--dim)}
"""

_PRINT = """
@page{size:A4;margin:14mm 12mm}
@media print{.ullage.page{padding:0 1px;max-width:none}.ullage nav,.ullage .skip{display:none}
.ullage .tiles{gap:4px}.ullage .tile{flex-basis:110px;padding:4px 6px}.ullage .tile dd b{font-size:14px}
.ullage .tile dt,.ullage .tile dd span,.ullage .n,.ullage .u,.ullage .who{font-size:9.5px}
.ullage table.tab,.ullage table.tab thead th{font-size:9px}
.ullage table.tab th,.ullage table.tab td{padding-right:5px}
.ullage .gpu>summary{grid-template-columns:105px 1fr 150px}
.ullage .meter{width:44px}.ullage .meter.wide{width:120px}.ullage .meter.band{width:60px}}
"""


def page_style() -> str:
    """Rules for the page, to be put after those of the fragment."""
    return _RULES + _PRINT
