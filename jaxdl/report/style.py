"""Style sheet and script of the HTML pages."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #1b1f27; --faint: #626b7a; --edge: #dfe3ea; --wash: #eef1f5;
  --link: #0a5fae; --bad: #b3261e; --bad-wash: #fdf0ee;
  --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #b8528f; --c4: #b57d00; --c5: #2f94d3; --c6: #6b57c8;
  --rest: #aab2bf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12151a; --card: #1a1e25; --ink: #e6e9ee; --faint: #98a2b3; --edge: #2d343f; --wash: #232932;
    --link: #7cbcf5; --bad: #ff8a80; --bad-wash: #2b1c1d;
    --c0: #56a9e8; --c1: #ff8f4a; --c2: #37c79a; --c3: #e58cc0; --c4: #e8b23a; --c5: #8fd0ff; --c6: #a597f5;
    --rest: #566072;
  }
}
.c0 { --hue: var(--c0) } .c1 { --hue: var(--c1) } .c2 { --hue: var(--c2) } .c3 { --hue: var(--c3) }
.c4 { --hue: var(--c4) } .c5 { --hue: var(--c5) } .c6 { --hue: var(--c6) } .rest { --hue: var(--rest) }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
main { max-width: 1280px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em }
h2 { font-size: 20px; line-height: 1.3; margin: 44px 0 2px; letter-spacing: -.01em }
h3 { font-size: 15px; margin: 0 0 2px }
h4 { font-size: 13px; margin: 16px 0 8px; color: var(--faint); font-weight: 600 }
p { margin: 4px 0 12px; max-width: 90ch }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { margin: 8px 0 0; padding: 10px 12px; background: var(--wash); border-radius: 8px; overflow-x: auto;
  overflow-wrap: normal; max-height: 22em }
.note { color: var(--faint); font-size: 13px; margin: 0 0 12px }
section { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 16px 18px;
  margin: 14px 0 }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 14px 0 0; font-size: 14px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(100px, 160px)); gap: 10px; margin: 18px 0 }
.tiles div { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 10px 14px }
.tiles dd { margin: 0; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.3 }
.tiles dt { color: var(--faint); font-size: 13px }
.scroll { overflow-x: auto; margin: 0 -18px; padding: 0 18px }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: -2px }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); white-space: nowrap;
  vertical-align: bottom }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--edge) }
td { vertical-align: middle }
th:last-child, td:last-child { padding-right: 0 }
tbody tr:last-child td { border-bottom: 0 }
.n { text-align: right; white-space: nowrap }
td.n b { font-weight: 650 }
td small, .small { color: var(--faint); font-size: 12.5px }
.name { display: flex; gap: 8px; align-items: baseline; min-width: 150px }
.name i, .key i { flex: none; width: 11px; height: 11px; border-radius: 3px; background: var(--hue);
  align-self: center }
.same { color: var(--faint) }
.best { background: var(--wash); border-radius: 6px; padding: 1px 6px; font-size: 12px; white-space: nowrap;
  align-self: center }
.wrong { color: var(--bad); font-weight: 600 }
.key { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 0 0 12px; font-size: 13px }
.key span { display: inline-flex; gap: 6px; cursor: default }
.grid { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)) }
.grid.pictures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)) }
.grid.cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 14px }
figure { margin: 0; min-width: 0; position: relative }
figcaption { font-size: 13px; font-weight: 600; margin-bottom: 4px }
.pictures figcaption { font-weight: 400; color: var(--faint) }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 6px;
  border: 1px solid var(--edge) }
svg { display: block; width: 100%; height: auto; overflow: visible }
svg text { font-size: 44px; fill: var(--faint); font-variant-numeric: tabular-nums }
svg path, svg circle { vector-effect: non-scaling-stroke }
.rule { fill: none; stroke: var(--edge); stroke-width: 1 }
.line { fill: none; stroke: var(--hue); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.line.train { stroke-width: 1; opacity: .85 }
.line.rest { stroke-width: 1; opacity: .6 }
.area { fill: var(--hue); opacity: .18 }
.area.train { opacity: .12 }
.bar { fill: var(--hue); opacity: .3 }
.dot { fill: var(--hue) }
.ring { fill: var(--card); stroke: var(--hue); stroke-width: 1.5 }
.mean { fill: none; stroke: var(--ink); stroke-width: 1.5; opacity: .55 }
svg.spread { width: 120px; height: 16px }
.hair { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 3 3 }
.tip { position: absolute; pointer-events: none; z-index: 2; background: var(--card); border: 1px solid var(--edge);
  border-radius: 8px; box-shadow: 0 4px 16px rgb(0 0 0 / .18); padding: 6px 9px; font-size: 12px; line-height: 1.45;
  white-space: nowrap; max-width: 260px; overflow: hidden; font-variant-numeric: tabular-nums }
.tip b { font-weight: 600 }
.tip i { display: inline-block; width: 8px; height: 8px; border-radius: 2px; background: var(--hue); margin-right: 6px }
.faded { opacity: .08 !important }
details { margin: 10px 0 0 }
summary { cursor: pointer; font-size: 13.5px; font-weight: 600; color: var(--link) }
details > :not(summary) { margin-top: 10px }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 14px 16px; display: flex;
  flex-direction: column; gap: 8px; min-width: 0 }
.card h3, .card p { margin: 0 }
.card a:has(img) { align-self: center }
.result { font-size: 15px }
.result b { font-size: 20px; font-weight: 650; font-variant-numeric: tabular-nums }
.card pre { margin: auto 0 0; padding: 8px 10px }
@media (max-width: 560px) {
  main { padding: 18px 12px 40px }
  section { padding: 14px; border-radius: 10px }
  .scroll { margin: 0 -14px; padding: 0 14px }
  h1 { font-size: 22px }
}
""".strip()

SCRIPT = r"""
(() => {
  const [LEFT, RIGHT, TOP, BOTTOM] = [190, 1560, 40, 880];
  const show = v => Math.abs(v) >= 1e5 || (v && Math.abs(v) < 1e-3) ? v.toExponential(2) : +v.toPrecision(4);
  const points = path => {
    const coordinates = []; let x = 0, y = 0;
    for (const part of path.getAttribute('d').split('M').slice(1)) {
      const n = part.match(/-?\d+/g).map(Number);
      x = n[0]; y = n[1];
      for (let i = 2; i + 1 < n.length; i += 2) { x += n[i]; y += n[i + 1]; coordinates.push([x, y]); }
    }
    return coordinates;
  };
  const value = ([low, high, log], fraction) => {
    const v = low + fraction * (high - low);
    return log ? 10 ** v : v;
  };
  for (const svg of document.querySelectorAll('svg[data-x]')) {
    const figure = svg.parentNode, X = svg.dataset.x.split(' ').map(Number), Y = svg.dataset.y.split(' ').map(Number);
    let lines, tip, hair;
    svg.addEventListener('pointermove', event => {
      lines ??= [...svg.querySelectorAll('path[data-name]')].map(path => ({
        name: path.dataset.name, hue: path.classList[0], at: points(path)})).filter(line => line.at.length);
      if (!tip) {
        tip = figure.appendChild(document.createElement('div')); tip.className = 'tip';
        hair = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
        hair.setAttribute('class', 'hair');
      }
      const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * 1600;
      const y = (event.clientY - box.top) / box.height * 1000;
      const near = lines.map(line => {
        const at = line.at.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
        return {...line, x: at[0], y: at[1]};
      }).filter(line => Math.abs(line.x - x) < 120);
      tip.hidden = !near.length; hair.setAttribute('d', '');
      if (!near.length) return;
      near.sort((a, b) => Math.abs(a.y - y) - Math.abs(b.y - y));
      const first = near.reduce((a, b) => Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a);
      hair.setAttribute('d', `M${first.x} ${TOP}V${BOTTOM}`);
      tip.replaceChildren();
      const head = tip.appendChild(document.createElement('b'));
      const at = value(X, (first.x - LEFT) / (RIGHT - LEFT)), across = svg.dataset.across;
      head.textContent = across + ' ' + (across === 'step' ? Math.round(at) : show(at));
      for (const line of near.slice(0, 8).sort((a, b) => a.y - b.y)) {
        const row = tip.appendChild(document.createElement('div')), dot = row.appendChild(document.createElement('i'));
        dot.className = line.hue;
        row.append(`${show(value(Y, (BOTTOM - line.y) / (BOTTOM - TOP)))}  ${line.name}`);
      }
      const side = event.clientX - box.left, room = figure.clientWidth - tip.offsetWidth;
      const beside = side > box.width / 2 ? side - tip.offsetWidth - 14 : side + 14;
      tip.style.left = Math.max(0, Math.min(room, beside)) + 'px';
      tip.style.top = event.clientY - figure.getBoundingClientRect().top + 12 + 'px';
    });
    svg.addEventListener('pointerleave', () => { if (tip) { tip.hidden = true; hair.setAttribute('d', ''); } });
  }
  for (const key of document.querySelectorAll('.key span[data-hue]')) {
    const others = on => {
      for (const part of key.closest('section').querySelectorAll('svg .line, svg .area, svg g.dot, svg g.ring'))
        part.classList.toggle('faded', on && part.classList[0] !== key.dataset.hue);
    };
    key.addEventListener('pointerenter', () => others(true));
    key.addEventListener('pointerleave', () => others(false));
  }
  for (const head of document.querySelectorAll('thead th')) {
    head.addEventListener('click', () => {
      const body = head.closest('table').tBodies[0], index = head.cellIndex;
      const down = head.dataset.down = +!+(head.dataset.down ?? 0);
      const cell = row => row.cells[index].textContent.trim(), rows = [...body.rows];
      const order = (a, b) => {
        const [x, y] = [parseFloat(cell(a)), parseFloat(cell(b))];
        return isNaN(x) || isNaN(y) ? cell(a).localeCompare(cell(b), undefined, {numeric: true}) : x - y;
      };
      rows.sort((a, b) => (down ? 1 : -1) * order(a, b));
      body.append(...rows);
    });
    head.style.cursor = 'pointer';
  }
})();
""".strip()
