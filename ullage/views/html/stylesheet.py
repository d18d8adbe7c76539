"""The style of what a plan looks like as HTML: light, dark and on paper. Every rule begins at .ullage, so that it meets nothing else.

Colours are Okabe and Ito's, as in plan_svg; each part of a bar has a pattern as well, for those who do not see its colour.
"""

from __future__ import annotations

_LIGHT = "--bg:#fff;--fg:#1a1a1a;--dim:#4d4d4d;--line:#b8bcc0;--soft:#f3f4f6;--free:#eee;--bad:#a33500;--link:#005a8f;color-scheme:light"
_DARK = (
    "--bg:#15181b;--fg:#ececec;--dim:#b9bec4;--line:#5a6067;--soft:#20252a;--free:#33393f;--bad:#ff9d6e;--link:#7cc4f2;color-scheme:dark"
)

_RULES = """
.ullage{background:var(--bg);color:var(--fg);font:14px/1.45 system-ui,"DejaVu Sans",Helvetica,Arial,sans-serif;padding:12px;text-align:left}
.ullage *{box-sizing:border-box}
.ullage p,.ullage li,.ullage summary,.ullage h3,.ullage h4{overflow-wrap:anywhere}
.ullage h1,.ullage h2,.ullage h3,.ullage h4{color:var(--fg);line-height:1.25;margin:1.2em 0 .4em;font-weight:700}
.ullage h1{font-size:1.7em}.ullage h2{font-size:1.35em}.ullage h3{font-size:1.15em}.ullage h4{font-size:1em}
.ullage p,.ullage ul{margin:.4em 0;color:var(--fg);max-width:75em}
.ullage ul{padding-left:1.4em}
.ullage .first{border:1px solid var(--bad);border-left:6px double var(--bad);padding:2px 12px;margin:8px 0}
.ullage .hint,.ullage .unused,.ullage .legend{color:var(--dim)}
.ullage .bad{color:var(--bad);font-weight:700}
.ullage .tiles{display:flex;flex-wrap:wrap;gap:8px;margin:8px 0;padding:0}
.ullage .tile{flex:1 1 140px;background:var(--soft);border:1px solid var(--line);border-left:4px solid #0072b2;padding:6px 10px}
.ullage .tile.wrong{border-left:4px double var(--bad)}
.ullage .tile dt{font-weight:400;font-size:12px;color:var(--dim);margin:0}
.ullage .tile dd{margin:0}
.ullage .tile dd b{display:block;font-size:20px;color:var(--fg)}
.ullage .tile.wrong dd b{color:var(--bad)}
.ullage .tile dd span{font-size:12px;color:var(--dim)}
.ullage .legend{display:flex;flex-wrap:wrap;gap:4px 14px}
.ullage .legend i{display:inline-block;width:22px;height:13px;border:1px solid var(--line);vertical-align:-2px}
.ullage .gpu{margin:2px 0;border:0}
.ullage .gpu>summary{position:relative;display:grid;grid-template-columns:minmax(90px,170px) minmax(160px,1fr) minmax(120px,320px);
gap:2px 10px;align-items:center;padding:3px 4px;cursor:pointer;list-style:none}
.ullage .gpu>summary::-webkit-details-marker{display:none}
.ullage summary{cursor:pointer;color:var(--fg)}
.ullage summary:focus-visible,.ullage a:focus-visible,.ullage .scroll:focus-visible{outline:3px solid #d55e00;outline-offset:1px}
.ullage .gpu>summary:hover,.ullage .gpu[open]>summary{background:var(--soft)}
.ullage .n{overflow-wrap:anywhere;font-size:13px}
.ullage .n::before{content:"▸ ";color:var(--dim)}
.ullage .gpu[open]>summary .n::before{content:"▾ "}
.ullage .u{font-size:12px;color:var(--fg)}
.ullage .who{grid-column:2/4;font-size:12px;color:var(--dim);overflow-wrap:anywhere}
.ullage .who>span{display:inline-block;margin-right:12px}
.ullage .who b{display:inline-block;min-width:1.2em;color:var(--fg)}
.ullage .pop{display:none;position:absolute;z-index:9;left:190px;bottom:calc(100% - 3px);max-width:440px;padding:6px 10px;font-size:12px;
background:var(--bg);color:var(--fg);border:1px solid var(--fg);box-shadow:0 2px 8px rgba(0,0,0,.35);overflow-wrap:anywhere}
.ullage summary:hover>.pop,.ullage summary:focus-visible>.pop{display:block}
.ullage .d{padding:2px 4px 10px 24px}
.ullage .bar{display:flex;height:22px;background:var(--free);border:1px solid var(--line);overflow:hidden}
.ullage .r,.ullage .slot{display:flex;min-width:0;height:100%;overflow:hidden;position:relative}
.ullage .r::after,.ullage .slot::after{content:"";position:absolute;inset:0;border:1px solid #111;pointer-events:none}
.ullage .slot::after{border:2px solid var(--fg)}
.ullage .bar i{display:block;min-width:0;height:100%;overflow:hidden;font:700 11px/20px system-ui,sans-serif;text-align:center}
.ullage .w{background:#0072b2;color:#fff}
.ullage .k{background:repeating-linear-gradient(45deg,#56b4e9 0 5px,#2f8fc6 5px 6px)}
.ullage i.g{background:radial-gradient(circle,#3f86b5 1px,transparent 1.4px) 0 0/6px 6px,#b9def5}
.ullage .o{background:repeating-linear-gradient(90deg,#e69f00 0 4px,#a87400 4px 5px)}
.ullage .f{background:var(--free)}
.ullage .t{background:repeating-linear-gradient(135deg,#8a8f94 0 3px,#d4d7da 3px 6px)}
.ullage .scroll{overflow-x:auto;margin:6px 0}
.ullage table.tab{background:none;border-collapse:collapse;font-size:13px;color:var(--fg);margin:0;border:0}
.ullage table.tab caption{text-align:left;font-weight:700;color:var(--fg);padding:2px 0;caption-side:top}
.ullage table.tab tr{background:none}
.ullage table.tab th,.ullage table.tab td{padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0;
border-bottom:1px solid var(--line);
color:var(--fg);font-weight:400;max-width:32em;white-space:normal;overflow-wrap:anywhere;min-width:6.8em}
.ullage table.tab thead th{color:var(--dim);font-weight:700;font-size:12px;vertical-align:bottom;overflow-wrap:normal}
.ullage table.tab .num{min-width:2.5em;text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.ullage .meter{display:inline-flex;position:relative;
width:76px;height:11px;background:var(--free);border:1px solid var(--line);vertical-align:-1px}
.ullage .meter.wide{width:220px;height:14px;vertical-align:-2px}
.ullage .meter.band{width:104px}
.ullage .meter i{display:block;min-width:0;height:100%}
.ullage .meter .used,.ullage .meter .own{background:#0072b2}
.ullage .meter .other{background:repeating-linear-gradient(45deg,#e69f00 0 5px,#a87400 5px 6px)}
.ullage .meter .over{background:repeating-linear-gradient(135deg,#b03a00 0 3px,#ffb38a 3px 6px)}
.ullage .meter .low{background:#0072b2;border-right:1px solid #fff}
.ullage .meter .high{background:#56b4e9}
.ullage .meter u{position:absolute;top:-3px;bottom:-3px;width:0;border-left:2px solid #d55e00}
@media (max-width:640px){.ullage .gpu>summary{grid-template-columns:1fr}.ullage .who{grid-column:1}.ullage .pop{left:8px}}
"""

_PRINT = """
.ullage{padding:0;font-size:11px}
.ullage *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.ullage .pop{display:none!important}
.ullage .scroll{overflow:visible}
.ullage tr,.ullage .tile,.ullage .d .scroll,.ullage .gpu>summary,.ullage svg{break-inside:avoid}
.ullage thead{display:table-header-group}
.ullage h1,.ullage h2,.ullage h3,.ullage h4,.ullage caption{break-after:avoid}
.ullage details::details-content{content-visibility:visible;display:block;block-size:auto}
.ullage details>:not(summary){display:block}
"""


def stylesheet() -> str:
    """The rules: light unless the reader, or JupyterLab's or VS Code's theme, asks for dark; always light on paper."""
    return (
        f".ullage{{{_LIGHT}}}\n@media (prefers-color-scheme:dark){{.ullage{{{_DARK}}}}}\n"
        f'body[data-jp-theme-light="true"] .ullage,body.vscode-light .ullage{{{_LIGHT}}}\n'
        f'body[data-jp-theme-light="false"] .ullage,body.vscode-dark .ullage{{{_DARK}}}{_RULES}'
        f"@media print{{.ullage,body[data-jp-theme-light] .ullage{{{_LIGHT}}}{_PRINT}}}\n"
    )
