"""The look of a report: one style sheet for light and dark, phone and paper, with fonts that every system has."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f7f9;--ink:#1b1f24;--soft:#5b6570;--grid:#e3e6ea;--edge:#d5dae0;
--c0:#0b62a8;--c1:#c2500a;--c2:#0a7f5f;--c3:#93407f;--c4:#7a6a00;--c5:#3f51b5;
--c6:#00758a;--c7:#a33a4a;--good:#0a7048;--bad:#b3261e;--warn:#8a5a00;
--good-bg:#e4f4ec;--bad-bg:#fbe9e7;--warn-bg:#fdf2da}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2127;--ink:#e6e9ed;--soft:#9aa5b1;--grid:#2c323a;
--edge:#363d46;--c0:#6cb6ff;--c1:#ffa657;--c2:#4fd1a5;--c3:#e19ad0;--c4:#d3c34a;
--c5:#a3aef5;--c6:#5ad1e6;--c7:#f5939f;--good:#5fd39a;--bad:#ff8f85;--warn:#f0c05a;
--good-bg:#12301f;--bad-bg:#3a1a18;--warn-bg:#35290c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.12rem;margin:36px 0 10px}h3{font-size:.95rem;margin:18px 0 6px}
p{margin:6px 0}.hint,.sub{color:var(--soft);font-size:.9rem}.sub code{font-size:.85em}
code,pre,.mono{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.9em;overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:12px;font-size:.84rem;
line-height:1.45;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0}
.status{border-left:5px solid var(--edge);background:var(--card);border-radius:0 8px 8px 0;padding:10px 16px;
margin:18px 0}
.status.good{border-color:var(--good);background:var(--good-bg)}
.status.bad{border-color:var(--bad);background:var(--bad-bg)}
.status.warn{border-color:var(--warn);background:var(--warn-bg)}.status b{font-size:1.05rem}
.status pre{background:var(--page)}
.facts{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0}
.fact{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:8px 14px;min-width:112px}
.fact span{display:block;color:var(--soft);font-size:.8rem}.fact b{font-size:1.12rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;color:var(--soft);font-weight:600;font-size:.82rem}
th,td{padding:7px 12px 7px 0;border-bottom:1px solid var(--grid);vertical-align:top}
td.n,th.n{text-align:right;padding-left:14px;font-variant-numeric:tabular-nums;white-space:nowrap}
td small{display:block;color:var(--soft);font-size:.82rem}td code{overflow-wrap:anywhere}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:18px}
figure{margin:0;border:1px solid var(--edge);border-radius:10px;padding:10px 12px 4px;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline;font-size:.92rem}
.unit{color:var(--soft);font-size:.82rem}.legend{margin-left:auto;font-size:.82rem}
.key{margin-left:12px;white-space:nowrap}
.key i{display:inline-block;width:16px;height:3px;border-radius:2px;margin-right:5px;vertical-align:middle}
.key i.wide{height:10px;opacity:.22}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}i.c5{background:var(--c5)}i.c6{background:var(--c6)}i.c7{background:var(--c7)}
svg.chart{display:block;width:100%;height:auto;font-size:12px}svg text{fill:var(--soft)}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--soft)}svg .resume{stroke:var(--soft);stroke-dasharray:3 4}
svg .line{fill:none;stroke-width:1.9;stroke-linejoin:round}
svg path.c0{stroke:var(--c0)}svg path.c1{stroke:var(--c1)}svg path.c2{stroke:var(--c2)}svg path.c3{stroke:var(--c3)}
svg path.c4{stroke:var(--c4)}svg path.c5{stroke:var(--c5)}svg path.c6{stroke:var(--c6)}svg path.c7{stroke:var(--c7)}
svg .ghost{fill:none;stroke-width:.7;opacity:.45}
svg .c0:not(path){fill:var(--c0)}svg .c1:not(path){fill:var(--c1)}
svg .c2:not(path){fill:var(--c2)}svg .c3:not(path){fill:var(--c3)}
svg .c4:not(path){fill:var(--c4)}svg .c5:not(path){fill:var(--c5)}
svg .c6:not(path){fill:var(--c6)}svg .c7:not(path){fill:var(--c7)}
svg polygon.band{opacity:.2}svg .cross{stroke:var(--bad);stroke-width:2}
.strips rect{fill:transparent}.strips rect:hover{fill:var(--soft);opacity:.16}
dl{margin:6px 0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:0 28px}
dl div{display:flex;justify-content:space-between;gap:14px;border-bottom:1px solid var(--grid);padding:5px 0}
dt{color:var(--soft)}dd{margin:0;text-align:right;overflow-wrap:anywhere}
details{margin:10px 0}summary{cursor:pointer;color:var(--c0);font-size:.92rem}
.sample{border:1px solid var(--edge);border-radius:10px;margin:12px 0;overflow:hidden;break-inside:avoid}
.sample .prompt{background:var(--card);padding:10px 14px;border-bottom:1px solid var(--edge)}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,240px),1fr))}
.answers>div{padding:10px 14px}.answers>div+div{border-left:1px solid var(--grid)}
.said{white-space:pre-wrap;overflow-wrap:anywhere;max-height:22em;overflow-y:auto}
.who{color:var(--soft);font-size:.8rem;display:flex;justify-content:space-between;margin-bottom:3px}
ul{padding-left:20px;margin:6px 0}li{margin:3px 0;overflow-wrap:anywhere}a{color:var(--c0)}
footer{margin-top:48px;padding-top:12px;border-top:1px solid var(--edge);color:var(--soft);font-size:.82rem}
table.narrow{max-width:680px}table.runs td{min-width:104px}table.runs td.n{min-width:0}
@media (max-width:560px){table.stack tr{display:grid;grid-template-columns:1fr 1fr 1.4fr}
table.stack td:first-child{grid-column:1/-1;border:0;padding-bottom:0}table.stack th:first-child{display:none}
table.stack td.n,table.stack th.n{padding-left:0;text-align:left;white-space:normal}
main{padding:18px 14px 40px}.answers>div+div{border-left:0;border-top:1px solid var(--grid)}
.legend{margin-left:0;width:100%}.key:first-child{margin-left:0}svg.chart{font-size:14px}h1{font-size:1.3rem}
.fact{flex:1 1 40%}}
@media print{main{max-width:none;padding:0}body{font-size:11pt}.said{max-height:none}.strips{display:none}
h2{break-after:avoid}a{color:inherit}}
"""
