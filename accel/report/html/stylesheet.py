"""The looks of a report: light or dark as the reader's system is, and readable on a telephone."""

from __future__ import annotations

__all__ = ["DARK_PALETTE", "INK", "PALETTE", "STYLE"]

PALETTE = ("#1f6feb", "#d1490c", "#2a8a4a", "#8a4fc4", "#b8860b", "#c2376e", "#0f8a8a", "#6b7280")
"""Colours of runs and curves on a light page; those of a dark one are in `STYLE`."""
DARK_PALETTE = ("#6cb0ff", "#ff9057", "#5ecb84", "#c39bf2", "#e3b93c", "#ff86b3", "#4fd0d0", "#a9b3c1")
INK = {
    "ink": ("#1b1f24", "#e4e8ed"), "dim": ("#5c6672", "#98a3b0"), "line": ("#dfe3e8", "#303841"), "card": ("#fff", "#181d23"),
}  # fmt: skip
"""Colours of letters and grounds that drawings have too, of a light page and a dark one."""


def _variables(palette: tuple[str, ...], is_dark: bool) -> str:
    inks = "".join(f"--{name}:{colours[is_dark]};" for name, colours in INK.items())
    return inks + "".join(f"--c{number}:{colour};" for number, colour in enumerate(palette))


STYLE = (
    ":root{color-scheme:light dark;--page:#f6f7f9;--warn:#8a5a00;"
    f"--bad:#b3261e;--good:#1a7f37;--code:#eef1f4;{_variables(PALETTE, False)}}}"
    "@media (prefers-color-scheme:dark){:root{--page:#101418;"
    f"--warn:#e8b45a;--bad:#ff8a80;--good:#6fd08c;--code:#222931;{_variables(DARK_PALETTE, True)}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:1240px;margin:0 auto;padding:20px 24px 48px}
h1{font-size:22px;line-height:1.25;margin:0 0 4px}
h2{font-size:17px;margin:0 0 10px}
h3{font-size:14px;margin:18px 0 6px}
p{margin:6px 0}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin-top:16px}
.sub,.dim,figcaption,dt,th{color:var(--dim)}
.sub{margin:0 0 2px}
.warn{color:var(--warn)}.bad{color:var(--bad)}.good{color:var(--good)}
.lead{font-weight:600;font-size:16px}
code,pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--code);border-radius:6px;padding:9px 11px;margin:6px 0;white-space:pre-wrap}
td code{white-space:normal}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:10px;margin-top:14px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:9px 12px}
.tile span{display:block;color:var(--dim);font-size:12.5px}
.tile b{font-size:19px;font-weight:600;line-height:1.3}
.tile small{display:block;color:var(--dim);font-size:12.5px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:18px 22px}
figure{margin:0;min-width:0}
figcaption{font-size:13px;line-height:1.4}
figcaption b{color:var(--ink);font-weight:600}
svg{display:block;width:100%;height:auto;margin-top:4px}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif!important}
.key{display:inline-block;white-space:normal;margin-right:10px}
.swatch{display:inline-block;width:14px;height:3px;border-radius:2px;vertical-align:middle;margin-right:5px}
.scroll{overflow-x:auto;max-width:100%;background:
linear-gradient(to right,var(--card) 40%,transparent) 0 0/40px 100% no-repeat local,
linear-gradient(to left,var(--card) 40%,transparent) 100% 0/40px 100% no-repeat local,
linear-gradient(to right,var(--dim),transparent) 0 0/6px 100% no-repeat scroll,
linear-gradient(to left,var(--dim),transparent) 100% 0/6px 100% no-repeat scroll}
table{border-collapse:collapse;font-size:14px;margin:4px 0}
th,td{text-align:left;vertical-align:top;padding:4px 14px 4px 0;border-bottom:1px solid var(--line);overflow-wrap:normal}
th{font-weight:500;white-space:nowrap}
.wide td:last-child,.wide th:last-child{min-width:160px}
td{max-width:560px;overflow-wrap:break-word}
tbody tr:last-child td{border-bottom:0}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:pre}
dl{display:grid;grid-template-columns:minmax(90px,max-content) 1fr;gap:3px 18px;margin:6px 0}
dd{margin:0;min-width:0}
.bars{display:grid;grid-template-columns:max-content max-content 1fr;gap:4px 12px;align-items:center;max-width:760px}
.bars i{display:block;height:10px;border-radius:3px;background:var(--c0)}
.bars .number{white-space:nowrap}
.interval{position:relative;height:14px;min-width:120px}
.interval *{position:absolute;display:block}
.interval i{top:5px;height:4px;border-radius:2px;background:var(--c0);min-width:2px}
.interval b{top:2px;height:10px;width:3px;margin-left:-1px;background:var(--c0);border-radius:1px}
.interval u{top:0;height:14px;width:1px;background:var(--dim)}
ul{margin:6px 0;padding-left:20px}
details>summary{cursor:pointer;color:var(--dim);margin-top:8px}
footer{color:var(--dim);font-size:13px;margin-top:18px}
@media (max-width:560px){main{padding:14px 12px 32px}section{padding:13px 13px}body{font-size:14.5px}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:7px}.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
.tile b{font-size:17px}.scroll table{width:max-content}td{max-width:230px}}
@media print{section,.tile{break-inside:avoid}}
"""
)
"""The style sheet. It names no file and no host."""
