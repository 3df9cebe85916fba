// The viewer: one canvas, tiles that come over the notebook's own channel, findings drawn over them. No build step, no network.
const TILE = 256, BATCH = 16, FLIGHTS = 2, KEPT = 600;
const SAY = {
  en: {zoomin: 'Zoom in', zoomout: 'Zoom out', fit: 'Whole scene (0)', layers: 'Layers', defects: 'Defects', findings: 'Outlines', px: 'px',
       before: 'Before', after: 'After', draw: 'Click the corners, double-click to close, Esc to give up', swipe: 'Drag to compare', help:
       'drag to move, wheel to zoom, click a finding to select it', preparing: 'Preparing overviews: coarse views are rough for now'},
  zh: {zoomin: '放大', zoomout: '缩小', fit: '全图 (0)', layers: '图层', defects: '缺陷类型', findings: '图斑边界', px: '像素',
       before: '前', after: '后', draw: '逐点单击，双击闭合，Esc 取消', swipe: '拖动以对比', help: '拖动平移，滚轮缩放，单击选中图斑',
       preparing: '正在生成金字塔，当前缩小视图较粗略'}};
const el = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
const clamp = (v, a, b) => Math.min(Math.max(v, a), b);
const nice = v => { const p = 10 ** Math.floor(Math.log10(v)), m = v / p; return (m >= 5 ? 5 : m >= 2 ? 2 : 1) * p; };
const hexRgb = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16));

async function inflate(view) {
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function render({model, el: host}) {
  const say = k => (SAY[model.get('lang')] || SAY.en)[k];
  const root = el('div', 'rsqi-viewer'); root.tabIndex = 0; root.dataset.lmSuppressShortcuts = 'true';
  root.style.height = model.get('height') + 'px';
  root.setAttribute('role', 'application'); root.setAttribute('aria-label', model.get('scene').name || 'scene');
  const canvas = el('canvas'), ctx = canvas.getContext('2d');
  root.append(canvas); host.append(root);
  const scene = () => model.get('scene'), layers = () => model.get('layers');
  let W = 0, H = 0, dpr = 1, view = null, dirty = false, gone = false;
  const cache = new Map(), flying = new Map();     // tile key -> picture; tile key -> flight
  let flights = 0, number = 0, started = 0, preview = null, paths = new Map(), hover = null;
  const hidden = new Set(), off = new Set(), fade = {}; let outlines = true, ring = null, cursor = null;
  Object.assign(root.dataset, {tiles: 0, pending: 0, fill: '', selected: '', drawn: 0, version: 0, ready: ''});

  // --- the view: the scene point in the middle, and CSS pixels per scene pixel
  const fitScale = () => Math.min(W / scene().width, H / scene().height) * .96;
  const fit = () => { view = {x: scene().width / 2, y: scene().height / 2, s: fitScale()}; redraw(); };
  const toScreen = (x, y) => [(x - view.x) * view.s + W / 2, (y - view.y) * view.s + H / 2];
  const toScene = (x, y) => [(x - W / 2) / view.s + view.x, (y - H / 2) / view.s + view.y];
  function zoom(f, x = W / 2, y = H / 2) {
    const [sx, sy] = toScene(x, y), s = clamp(view.s * f, fitScale() / 2, 16);
    view = {x: sx - (x - W / 2) / s, y: sy - (y - H / 2) / s, s}; redraw();
  }
  function go([y0, x0, y1, x1]) {
    const s = clamp(Math.min(W * .55 / Math.max(x1 - x0, 24), H * .55 / Math.max(y1 - y0, 24)), fitScale(), 3);
    const from = {...view}, to = {x: (x0 + x1) / 2, y: (y0 + y1) / 2, s}, t0 = performance.now();
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches, length = still ? 1 : 260;
    (function step() {
      if (gone) return;
      const t = clamp((performance.now() - t0) / length, 0, 1), e = t * t * (3 - 2 * t);
      const s = from.s * (to.s / from.s) ** e, k = from.s === to.s ? e : (1 / from.s - 1 / s) / (1 / from.s - 1 / to.s);
      view = {x: from.x + (to.x - from.x) * k, y: from.y + (to.y - from.y) * k, s}; redraw();
      if (t < 1) requestAnimationFrame(step);
    })();
  }

  // --- tiles
  const opacity = l => fade[l.id] ?? l.opacity ?? 1;
  const shown = () => layers().filter(l => !off.has(l.id) && opacity(l) > 0);
  const sides = () => model.get('swipe') >= 0;
  const level = () => clamp(Math.round(-Math.log2(view.s * dpr) - .15), 0, scene().levels - 1);
  const key = (l, k, r, c) => `${l.id}/${k}/${r}/${c}`;
  function visible(k) {
    const step = TILE * 2 ** k, [x0, y0] = toScene(0, 0), [x1, y1] = toScene(W, H), out = [];
    const c1 = Math.min(Math.floor(x1 / step), Math.ceil(scene().width / step) - 1), r1 = Math.min(Math.floor(y1 / step), Math.ceil(scene().height / step) - 1);
    for (let r = Math.max(Math.floor(y0 / step), 0); r <= r1; r++) for (let c = Math.max(Math.floor(x0 / step), 0); c <= c1; c++) out.push([r, c]);
    const my = view.y / step - .5, mx = view.x / step - .5;
    return out.sort((a, b) => Math.hypot(a[0] - my, a[1] - mx) - Math.hypot(b[0] - my, b[1] - mx));
  }
  function wanted() {
    const k = level(), list = visible(k), out = [];
    for (const l of shown()) for (const [r, c] of list) {
      const id = key(l, k, r, c), have = cache.get(id);
      if (!(have && have.version >= l.version) && !flying.has(id)) out.push([l.id, k, r, c, l.version, id]);
    }
    return out;
  }
  function ask() {
    if (!view) return;
    while (flights < FLIGHTS) {
      const some = wanted().slice(0, BATCH);
      if (!some.length) break;
      if (!started) started = performance.now();
      flights++; number++;
      for (const w of some) flying.set(w[5], number);
      model.send({kind: 'tiles', flight: number, want: some.map(w => w.slice(0, 5))});
    }
    root.dataset.pending = flying.size;
    if (!flying.size && started) {
      root.dataset.fill = Math.round(performance.now() - started); started = 0;
      root.dataset.version = Math.max(0, ...shown().map(l => l.version)); root.dataset.fills = +(root.dataset.fills || 0) + 1;
    }
  }
  async function land(message, buffers) {
    await Promise.all(message.tiles.map(async (t, i) => {
      const id = `${t.layer}/${t.level}/${t.row}/${t.column}`;
      try {
        const tile = {version: t.version, values: null, picture: null, w: t.w, h: t.h};
        if (t.kind === 'image' && buffers[i].byteLength) tile.picture = await createImageBitmap(new Blob([buffers[i]], {type: 'image/jpeg'}));
        if (t.kind === 'index' && buffers[i].byteLength) tile.values = await inflate(buffers[i]);
        cache.delete(id); cache.set(id, tile);
      } catch (e) { cache.set(id, {version: t.version, values: null, picture: null, w: t.w, h: t.h}); }
      flying.delete(id);
    }));
    for (const [id, n] of flying) if (n === message.flight) flying.delete(id);
    while (cache.size > KEPT) cache.delete(cache.keys().next().value);
    flights = Math.max(flights - 1, 0); root.dataset.tiles = +root.dataset.tiles + message.tiles.length;
    redraw();
  }
  const ramp = i => { const t = i / 255; return [255 * clamp(1.6 * t, 0, 1), 255 * clamp(.2 + t * .75, 0, 1), 255 * clamp(.55 - .5 * t, 0, 1)]; };
  const tables = {};
  function table(l) {
    const stamp = `${l.lut}${[...hidden]}`;
    if (tables[l.id]?.stamp === stamp) return tables[l.id].lut;
    const lut = new Uint32Array(256), put = (i, [r, g, b], a) => { lut[i] = (a << 24 | b << 16 | g << 8 | r) >>> 0; };
    if (l.lut === 'ramp') for (let i = 1; i < 256; i++) put(i, ramp(i), 210);
    else { for (const d of model.get('defects')) if (!hidden.has(d.key)) put(d.value, hexRgb(d.colour), 255); put(255, [96, 106, 120], 150); }
    tables[l.id] = {stamp, lut};
    return lut;
  }
  function picture(l, tile) {
    if (tile.picture && l.kind === 'image') return tile.picture;
    if (!tile.values) return null;
    const lut = table(l);
    if (tile.stamp !== tables[l.id].stamp) {
      const c = tile.canvas || (tile.canvas = new OffscreenCanvas(tile.w, tile.h)), data = new ImageData(tile.w, tile.h), out = new Uint32Array(data.data.buffer);
      for (let i = 0; i < out.length; i++) out[i] = lut[tile.values[i]];
      c.getContext('2d').putImageData(data, 0, 0); tile.stamp = tables[l.id].stamp;
    }
    return tile.canvas;
  }

  // --- drawing
  function redraw() { if (!dirty && !gone) { dirty = true; requestAnimationFrame(paint); } }
  function paint() {
    dirty = false;
    if (gone || !view || !W || !H) return;
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    ctx.fillStyle = '#10161d'; ctx.fillRect(0, 0, W, H);
    const cut = sides() ? model.get('swipe') * W : null;
    for (const l of shown()) {
      ctx.save(); ctx.globalAlpha = opacity(l);
      if (cut !== null && l.side) { ctx.beginPath(); l.side === 'left' ? ctx.rect(0, 0, cut, H) : ctx.rect(cut, 0, W - cut, H); ctx.clip(); }
      paintLayer(l); ctx.restore();
    }
    if (outlines) layFindings(cut);
    if (ring) paintRing();
    if (cut !== null) handle.style.left = cut + 'px';
    furniture(); ask();
    root.dataset.drawn = +root.dataset.drawn + 1; root.dataset.scale = view.s.toPrecision(5);
  }
  function paintLayer(l) {
    const k = level(), list = visible(k);
    ctx.imageSmoothingEnabled = l.kind === 'image' && view.s * dpr < 3; ctx.imageSmoothingQuality = 'medium';
    if (l.kind === 'image' && preview && l.id === 'image' && list.some(([r, c]) => !cache.get(key(l, k, r, c)))) {
      const [x, y] = toScreen(0, 0); ctx.drawImage(preview, x, y, scene().width * view.s, scene().height * view.s);
    }
    for (const [r, c] of list) {
      let tile, j = k;
      for (; j < scene().levels; j++) { tile = cache.get(key(l, j, r >> (j - k), c >> (j - k))); if (tile) break; }
      if (!tile) continue;
      if (j === k) { const id = key(l, k, r, c); cache.delete(id); cache.set(id, tile); }
      const image = picture(l, tile);
      if (!image) continue;
      const step = 2 ** k, tw = Math.min(TILE, scene().width / step - c * TILE), th = Math.min(TILE, scene().height / step - r * TILE);
      const [x0, y0] = toScreen(c * TILE * step, r * TILE * step), [x1, y1] = toScreen((c * TILE + tw) * step, (r * TILE + th) * step);
      const f = 2 ** (j - k), ox = (c * TILE / f) % TILE, oy = (r * TILE / f) % TILE;
      const X = Math.round(x0 * dpr) / dpr, Y = Math.round(y0 * dpr) / dpr;
      ctx.drawImage(image, ox, oy, Math.min(tw / f, tile.w - ox), Math.min(th / f, tile.h - oy), X, Y, Math.round(x1 * dpr) / dpr - X, Math.round(y1 * dpr) / dpr - Y);
    }
  }
  function outline(f) {
    let p = paths.get(f.id);
    if (!p) { p = new Path2D(); for (const r of f.rings) { p.moveTo(r[0], r[1]); for (let i = 2; i < r.length; i += 2) p.lineTo(r[i], r[i + 1]); p.closePath(); } paths.set(f.id, p); }
    return p;
  }
  const drawn = () => model.get('findings').filter(f => !hidden.has(f.defect));
  const sheet = el('canvas'); let stamp = '', edition = 0; // outlines are costly: drawn once for each view, and laid over the tiles
  function layFindings(cut) {
    const now = JSON.stringify([view, W, H, dpr, cut, edition, model.get('selected'), hover?.id, [...hidden]]);
    if (now !== stamp) {
      stamp = now; sheet.width = canvas.width; sheet.height = canvas.height;
      paintFindings(cut, sheet.getContext('2d'));
    }
    ctx.setTransform(1, 0, 0, 1, 0, 0); ctx.drawImage(sheet, 0, 0); ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
  }
  function paintFindings(cut, ctx) {
    const selected = model.get('selected'), colour = Object.fromEntries(model.get('defects').map(d => [d.key, d.colour]));
    const [x0, y0] = toScene(-20, -20), [x1, y1] = toScene(W + 20, H + 20);
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0); ctx.save();
    if (cut !== null) { ctx.beginPath(); ctx.rect(cut, 0, W - cut, H); ctx.clip(); }
    for (const f of drawn().sort((a, b) => (a.id === selected) - (b.id === selected))) {
      const [fy0, fx0, fy1, fx1] = f.bbox;
      if (fx1 < x0 || fx0 > x1 || fy1 < y0 || fy0 > y1) continue;
      const picked = f.id === selected, rejected = f.state === 'rejected', c = rejected ? '#9aa7b5' : colour[f.defect] || '#fff';
      ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
      if (Math.max(fx1 - fx0, fy1 - fy0) * view.s < 7) {
        const [x, y] = toScreen((fx0 + fx1) / 2, (fy0 + fy1) / 2);
        ctx.beginPath(); ctx.arc(x, y, picked ? 6 : 3.2, 0, 7); ctx.fillStyle = c; ctx.fill();
        ctx.lineWidth = picked ? 2.5 : 1; ctx.strokeStyle = picked ? '#fff' : 'rgba(0,0,0,.65)'; ctx.stroke(); continue;
      }
      ctx.setTransform(view.s * dpr, 0, 0, view.s * dpr, (W / 2 - view.x * view.s) * dpr, (H / 2 - view.y * view.s) * dpr);
      const p = outline(f); ctx.lineJoin = 'round';
      if (picked || f === hover) { ctx.fillStyle = c; ctx.globalAlpha = picked ? .16 : .1; ctx.fill(p, 'evenodd'); ctx.globalAlpha = 1; }
      ctx.setLineDash(rejected ? [5 / view.s, 4 / view.s] : []);
      ctx.lineWidth = (picked ? 5 : 3) / view.s; ctx.strokeStyle = picked ? 'rgba(255,255,255,.95)' : 'rgba(6,10,14,.6)'; ctx.stroke(p);
      ctx.lineWidth = (picked ? 2.6 : 1.5) / view.s; ctx.strokeStyle = c; ctx.stroke(p);
    }
    ctx.restore(); ctx.setLineDash([]);
  }
  function paintRing() {
    const points = [...ring, ...(cursor ? [cursor] : [])].map(p => toScreen(...p));
    ctx.beginPath(); points.forEach(([x, y], i) => i ? ctx.lineTo(x, y) : ctx.moveTo(x, y));
    if (points.length > 2) { ctx.closePath(); ctx.fillStyle = 'rgba(255,255,255,.14)'; ctx.fill(); }
    ctx.lineWidth = 4; ctx.strokeStyle = 'rgba(6,10,14,.7)'; ctx.stroke(); ctx.lineWidth = 2; ctx.strokeStyle = '#fff'; ctx.stroke();
    for (const [x, y] of points) { ctx.beginPath(); ctx.arc(x, y, 3.5, 0, 7); ctx.fillStyle = '#fff'; ctx.fill(); }
  }
  function at(x, y) {
    const [sx, sy] = toScene(x, y), reach = 6 / view.s; let best = null, least = Infinity;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    for (const f of drawn()) {
      const [y0, x0, y1, x1] = f.bbox, size = (x1 - x0) * (y1 - y0);
      if (sx < x0 - reach || sx > x1 + reach || sy < y0 - reach || sy > y1 + reach || size >= least) continue;
      ctx.lineWidth = 2 * reach;
      if (Math.max(x1 - x0, y1 - y0) * view.s < 14 || ctx.isPointInPath(outline(f), sx, sy, 'evenodd') || ctx.isPointInStroke(outline(f), sx, sy)) { best = f; least = size; }
    }
    return best;
  }

  // --- furniture: buttons, legend, scale bar, coordinates, swipe, notes
  const button = (sign, title, act) => { const b = el('button', '', sign); b.type = 'button'; b.title = title; b.setAttribute('aria-label', title); b.onclick = act; return b; };
  const tools = el('div', 'rsqi-tools');
  tools.append(button('+', say('zoomin'), () => zoom(1.6)), button('−', say('zoomout'), () => zoom(1 / 1.6)), button('⤢', say('fit'), fit));
  const legend = el('details', 'rsqi-legend'); legend.open = false;
  const bar = el('div', 'rsqi-scale'), barText = el('span'), barLine = el('i'); bar.append(barText, barLine);
  const place = el('div', 'rsqi-place'), note = el('div', 'rsqi-note'), handle = el('div', 'rsqi-swipe'); handle.title = say('swipe'); handle.append(el('b', '', '⇆'));
  const names = [el('span', 'rsqi-side left'), el('span', 'rsqi-side right')];
  root.append(tools, legend, bar, place, note, handle, ...names);
  function buildLegend() {
    legend.replaceChildren(el('summary', '', say('layers')));
    const body = el('div', 'body');
    for (const l of layers().filter(l => l.adjustable !== false)) {
      const row = el('label', 'layer'), box = el('input'), slide = el('input');
      box.type = 'checkbox'; box.checked = !off.has(l.id); box.dataset.layer = l.id;
      box.onchange = () => { box.checked ? off.delete(l.id) : off.add(l.id); redraw(); };
      slide.type = 'range'; slide.min = 0; slide.max = 1; slide.step = .05; slide.value = opacity(l); slide.dataset.opacity = l.id; slide.setAttribute('aria-label', l.name);
      slide.oninput = () => { fade[l.id] = +slide.value; redraw(); };
      row.append(box, el('span', '', l.name), slide); body.append(row);
    }
    const lines = el('label', 'layer'), box = el('input'); box.type = 'checkbox'; box.checked = outlines; box.dataset.layer = 'findings';
    box.onchange = () => { outlines = box.checked; redraw(); }; lines.append(box, el('span', '', say('findings'))); body.append(lines);
    const present = new Set(model.get('present')), some = model.get('defects').filter(d => present.has(d.key));
    if (some.length) body.append(el('h4', '', say('defects')));
    for (const d of some) {
      const row = el('button', 'defect'); row.type = 'button'; row.dataset.defect = d.key; row.setAttribute('aria-pressed', !hidden.has(d.key));
      const dot = el('i'); dot.style.background = d.colour; row.append(dot, el('span', '', d[model.get('lang')] || d.en));
      row.onclick = () => { hidden.has(d.key) ? hidden.delete(d.key) : hidden.add(d.key); row.setAttribute('aria-pressed', !hidden.has(d.key)); redraw(); };
      body.append(row);
    }
    legend.append(body);
  }
  function furniture() {
    const gsd = scene().gsd, most = 110 / view.s, length = nice(gsd ? most * gsd : most), px = gsd ? length / gsd : length;
    barText.textContent = !gsd ? `${length.toLocaleString('en')} ${say('px')}` : length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${Math.round(length * 100)} cm`;
    barLine.style.width = px * view.s + 'px';
    handle.hidden = !sides(); names.forEach((n, i) => { n.hidden = !sides(); n.textContent = model.get('names')[i] || say(i ? 'after' : 'before'); });
    const words = model.get('mode') === 'draw' ? say('draw') : model.get('note') || (scene().preparing ? say('preparing') : '');
    note.textContent = words; note.hidden = !words;
  }
  function tell(x, y) {
    const [sx, sy] = toScene(x, y), inside = sx >= 0 && sy >= 0 && sx < scene().width && sy < scene().height, t = scene().transform;
    if (!inside) { place.textContent = `${scene().name}  ${scene().width.toLocaleString('en')} × ${scene().height.toLocaleString('en')} px`; return; }
    const digits = t && Math.abs(t[0]) < .001 ? 6 : 1;
    const map = t ? `   E ${(t[0] * sx + t[1] * sy + t[2]).toFixed(digits)}  N ${(t[3] * sx + t[4] * sy + t[5]).toFixed(digits)}` : '';
    place.textContent = `x ${Math.floor(sx)}  y ${Math.floor(sy)}${map}`;
  }

  // --- hands
  let drag = null;
  const where = e => { const b = canvas.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
  canvas.onpointerdown = e => { if (e.button) return; root.focus({preventScroll: true}); canvas.setPointerCapture(e.pointerId); drag = {at: where(e), from: {...view}, moved: false}; };
  canvas.onpointermove = e => {
    const [x, y] = where(e); if (!view) return;
    tell(x, y);
    if (drag) {
      const dx = x - drag.at[0], dy = y - drag.at[1];
      if (drag.moved || Math.hypot(dx, dy) > 3) { drag.moved = true; view = {...drag.from, x: drag.from.x - dx / view.s, y: drag.from.y - dy / view.s}; redraw(); }
    } else if (ring) { cursor = toScene(x, y); redraw(); }
    else { const f = at(x, y); canvas.style.cursor = model.get('mode') === 'draw' ? 'crosshair' : f ? 'pointer' : 'grab'; if (f !== hover) { hover = f; redraw(); } }
  };
  canvas.onpointerup = e => {
    const was = drag; drag = null;
    if (!was || was.moved || !view) return;
    if (model.get('mode') === 'draw') { ring = ring || []; ring.push(toScene(...was.at)); redraw(); return; }
    const f = at(...was.at); model.set('selected', f ? f.id : -1); model.save_changes();
  };
  canvas.ondblclick = e => { if (model.get('mode') === 'draw') { ring?.pop(); close(); } else zoom(2, ...where(e)); };
  canvas.addEventListener('wheel', e => { e.preventDefault(); zoom(Math.exp(-clamp(e.deltaY, -120, 120) * .0032), ...where(e)); }, {passive: false});
  function close() {
    const done = ring && ring.length > 2 ? ring : null; ring = cursor = null; redraw();
    if (done) model.send({kind: 'drawn', ring: done.map(p => p.map(v => Math.round(v * 10) / 10))});
  }
  root.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.tagName === 'INPUT') return;
    const d = 60 / view.s, moves = {ArrowLeft: [-d, 0], ArrowRight: [d, 0], ArrowUp: [0, -d], ArrowDown: [0, d]};
    if (moves[e.key]) { view = {...view, x: view.x + moves[e.key][0], y: view.y + moves[e.key][1]}; redraw(); }
    else if (e.key === '+' || e.key === '=') zoom(1.6);
    else if (e.key === '-') zoom(1 / 1.6);
    else if (e.key === '0') fit();
    else if (e.key === 'Enter' && ring) close();
    else if (e.key === 'Escape') { ring = cursor = null; model.send({kind: 'key', key: 'Escape'}); redraw(); }
    else if (e.key.length === 1) model.send({kind: 'key', key: e.key.toLowerCase()});
    else return;
    e.preventDefault(); e.stopPropagation();
  });
  handle.onpointerdown = e => { handle.setPointerCapture(e.pointerId); handle.onpointermove = m => { model.set('swipe', clamp((m.clientX - canvas.getBoundingClientRect().left) / W, 0, 1)); redraw(); }; };
  handle.onpointerup = () => { handle.onpointermove = null; model.save_changes(); };

  // --- what Python says
  const on = (name, f) => { model.on(`change:${name}`, f); };
  const onMessage = (m, buffers) => { if (m.kind === 'tiles') land(m, buffers); else if (m.kind === 'go') go(m.bbox); };
  model.on('msg:custom', onMessage);
  on('findings', () => { paths = new Map(); hover = null; edition++; redraw(); });
  on('selected', () => { root.dataset.selected = model.get('selected') < 0 ? '' : model.get('selected'); redraw(); });
  on('layers', () => { ask(); buildLegend(); redraw(); }); // before anything is drawn: what takes longest is asked for first
  on('present', () => { buildLegend(); redraw(); });
  on('mode', () => { ring = cursor = null; canvas.style.cursor = model.get('mode') === 'draw' ? 'crosshair' : 'grab'; redraw(); });
  for (const k of ['swipe', 'note', 'scene', 'names']) on(k, redraw);
  async function showPreview() {
    const data = model.get('preview');
    if (data?.byteLength) { preview = await createImageBitmap(new Blob([data])); root.dataset.ready = Math.round(performance.now()); redraw(); }
  }
  on('preview', showPreview);
  function resize() {
    const b = root.getBoundingClientRect(); if (!b.width) return;
    dpr = window.devicePixelRatio || 1; W = root.clientWidth; H = root.clientHeight;
    canvas.width = Math.round(W * dpr); canvas.height = Math.round(H * dpr);
    if (!view) { legend.open = W > 700 && H > 360; fit(); } else redraw();
    tell(-1e9, -1e9);
  }
  const watch = new ResizeObserver(resize); watch.observe(root);
  buildLegend(); showPreview(); resize();
  root.rsqi = {view: () => ({...view}), go, fit, zoom, set: v => { view = v; redraw(); }};
  return () => { gone = true; watch.disconnect(); model.off('msg:custom', onMessage); };
}
export default {render};
