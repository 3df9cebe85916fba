// Generated pictures in rows: accept or reject by key. Python decides and saves; this shows and asks.
const SAY = {
  en: {accept: 'Accept', reject: 'Reject', undo: 'Undo', all: 'all', open: 'undecided', accepted: 'accepted', rejected: 'rejected', copies: 'copies', mask: 'Outline', copy: 'copy of',
       agreement: 'agreement', oddness: 'oddness', distance: 'distance', none: 'Nothing matches.', of: 'of', auto: 'by rank',
       keys: 'arrows move · A accept · R reject · U undo · N next undecided · M outline · Enter large'},
  zh: {accept: '接受', reject: '拒绝', undo: '撤销', all: '全部', open: '未决定', accepted: '已接受', rejected: '已拒绝', copies: '重复', mask: '轮廓', copy: '重复于',
       agreement: '一致性', oddness: '异常度', distance: '距离', none: '没有符合条件的图像。', of: '/', auto: '按排序',
       keys: '方向键移动 · A 接受 · R 拒绝 · U 撤销 · N 下一张未决定 · M 轮廓 · Enter 放大'}};
const el = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
const PAGE = 60;

function render({model, el: host}) {
  const lang = model.get('lang'), t = SAY[lang] || SAY.en;
  const root = el('div', 'rsqi-gallery'); root.tabIndex = 0; root.dataset.lmSuppressShortcuts = 'true'; root.style.height = model.get('height') + 'px'; root.lang = lang; host.append(root);
  const bar = el('div', 'bar'), grid = el('div', 'grid'), large = el('div', 'large'), foot = el('div', 'foot'); root.append(bar, grid, large, foot); large.hidden = true;
  const urls = new Map(), asked = new Set(); let defect = '', state = 'all', page = 0, picked = model.get('rows')[0]?.id, outline = true;
  const rows = () => model.get('rows'), stateOf = r => r.copy && r.accepted === null && state === 'copies' ? 'copies' : r.accepted === null ? 'open' : r.accepted ? 'accepted' : 'rejected';
  const listed = () => rows().filter(r => (!defect || r.defect === defect) && (state === 'all' || (state === 'copies' ? r.copy : stateOf(r) === state)));
  const here = () => listed().slice(page * PAGE, page * PAGE + PAGE), row = id => rows().find(r => r.id === id), word = k => model.get('defects').find(d => d.key === k)?.[lang] || k;
  const button = (text, act, name) => { const b = el('button', name, text); b.type = 'button'; b.dataset.action = name; b.onclick = () => { act(); root.focus({preventScroll: true}); }; return b; };
  const choice = (options, value, act, name) => { const s = el('select'); s.dataset.filter = name; for (const [k, w] of options) { const o = el('option', '', w); o.value = k; s.append(o); } s.value = value; s.onchange = () => { act(s.value); page = 0; show(); root.focus({preventScroll: true}); }; return s; };
  const decide = accepted => { if (!row(picked)) return; const next = after(); model.send({kind: 'decide', id: picked, accepted}); if (next) pick(next); };
  function after() { // the next that nobody decided, else the next
    const some = listed(), at = some.findIndex(r => r.id === picked), rest = [...some.slice(at + 1), ...some.slice(0, Math.max(at, 0))];
    return (rest.find(r => r.accepted === null) || rest[0])?.id;
  }
  function pick(id) {
    picked = id; const at = listed().findIndex(r => r.id === id), turned = at >= 0 && Math.floor(at / PAGE) !== page;
    if (turned) { page = Math.floor(at / PAGE); show(); } else mark();
    if (!large.hidden) enlarge();
  }
  function move(by) { const some = listed(), at = some.findIndex(r => r.id === picked); if (some.length) pick(some[Math.min(Math.max(at + by, 0), some.length - 1)].id); }
  const across = () => getComputedStyle(grid).gridTemplateColumns.split(' ').length || 1;
  function mark() {
    for (const c of grid.children) if (c.dataset.id) { c.setAttribute('aria-selected', c.dataset.id === picked); if (c.dataset.id === picked) c.scrollIntoView({block: 'nearest'}); }
    root.dataset.picked = picked ?? ''; tell();
  }
  function tell() {
    const r = row(picked), f = v => v === null || v === undefined ? '–' : (+v).toFixed(2), p = el('span', 'told');
    if (r) p.textContent = `${r.id}  ${word(r.defect)}  ${t.agreement} ${f(r.agreement)} · ${t.oddness} ${f(r.oddness)} · ${t.distance} ${f(r.distance)}` + (r.copy ? ` · ${t.copy} ${r.copy}` : '') + (r.accepted === null ? '' : ` · ${r.accepted ? t.accepted : t.rejected} (${r.by})`);
    foot.replaceChildren(p, el('span', 'note', model.get('note') || t.keys)); foot.title = t.keys;
  }
  function show() {
    const all = rows(), n = k => all.filter(r => stateOf(r) === k).length, pages = Math.max(Math.ceil(listed().length / PAGE), 1), kinds = [...new Set(all.map(r => r.defect))];
    page = Math.min(page, pages - 1); bar.replaceChildren();
    const yes = button(t.accept, () => decide(true), 'accept'), no = button(t.reject, () => decide(false), 'reject');
    bar.append(yes, no, button(t.undo, () => model.send({kind: 'undo'}), 'undo'), button(t.mask, () => { outline = !outline; root.dataset.outline = outline; again(); }, 'mask'));
    if (kinds.length > 1) bar.append(choice([['', t.all], ...kinds.map(k => [k, word(k)])], defect, v => { defect = v; }, 'defect'));
    bar.append(choice(['all', 'open', 'accepted', 'rejected', 'copies'].map(k => [k, `${t[k]} ${k === 'all' ? all.length : k === 'copies' ? all.filter(r => r.copy).length : n(k)}`]), state, v => { state = v; }, 'state'));
    if (pages > 1) bar.append(button('‹', () => { page = Math.max(page - 1, 0); show(); }, 'back'), el('span', 'pages', `${page + 1} ${t.of} ${pages}`), button('›', () => { page = Math.min(page + 1, pages - 1); show(); }, 'forth'));
    grid.replaceChildren(); grid.setAttribute('role', 'listbox');
    for (const r of here()) {
      const card = el('button', 'card'), img = el('img'); card.type = 'button'; card.tabIndex = -1; card.dataset.id = r.id; card.dataset.state = stateOf(r); card.setAttribute('role', 'option'); img.alt = `${word(r.defect)} ${r.id}`;
      if (urls.has(key(r.id))) img.src = urls.get(key(r.id));
      const words = el('span', 'words'); words.append(el('b', '', r.id.split('/').pop().replace(/^0+(?=.)/, '')), el('span', '', r.agreement === null ? '' : (+r.agreement).toFixed(2)));
      if (r.copy) words.append(el('i', '', '⧉'));
      words.append(el('span', 'sign', r.accepted === null ? '' : r.accepted ? '✓' : '✕'));
      card.append(img, words); card.onclick = () => { pick(r.id); root.focus({preventScroll: true}); }; card.ondblclick = () => enlarge(true); grid.append(card);
    }
    if (!here().length) grid.append(el('p', 'muted', t.none));
    Object.assign(root.dataset, {listed: listed().length, accepted: n('accepted'), rejected: n('rejected'), open: n('open'), page});
    fetch_(); mark();
  }
  const key = id => `${id} ${outline}`;
  function again() { for (const c of grid.querySelectorAll('.card')) { const u = urls.get(key(c.dataset.id)); c.firstChild.removeAttribute('src'); if (u) c.firstChild.src = u; } fetch_(); if (!large.hidden) enlarge(); }
  function fetch_() { const want = here().map(r => r.id).filter(id => !urls.has(key(id)) && !asked.has(key(id))); want.forEach(id => asked.add(key(id))); for (let i = 0; i < want.length; i += 12) model.send({kind: 'show', ids: want.slice(i, i + 12), outline}); }
  function enlarge(toggle) { if (toggle && !large.hidden) { large.hidden = true; return; } large.hidden = false; model.send({kind: 'large', id: picked, outline}); }
  model.on('msg:custom', (m, buffers) => {
    const url = i => URL.createObjectURL(new Blob([buffers[i].buffer ? buffers[i] : new Uint8Array(buffers[i])], {type: 'image/webp'}));
    if (m.kind === 'pictures') m.ids.forEach((id, i) => { urls.set(`${id} ${m.outline}`, url(i)); if (m.outline === outline) { const c = [...grid.children].find(c => c.dataset.id === id); if (c) c.firstChild.src = urls.get(key(id)); } });
    if (m.kind === 'large' && m.id === picked) { const img = el('img'); img.src = url(0); img.alt = m.id; img.onload = () => { root.dataset.large = m.id; }; large.replaceChildren(img); large.onclick = () => enlarge(true); }
    root.dataset.fetched = urls.size;
  });
  root.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || /SELECT|INPUT/.test(e.target.tagName)) { e.stopPropagation(); return; }
    const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across()}, k = e.key.toLowerCase();
    if (e.key in steps) move(steps[e.key]); else if (k === 'a') decide(true); else if (k === 'r') decide(false); else if (k === 'u') model.send({kind: 'undo'});
    else if (k === 'n') pick(after()); else if (k === 'm') bar.querySelector('.mask').click(); else if (e.key === 'Enter') enlarge(true); else if (e.key === 'Escape') large.hidden = true; else return;
    e.preventDefault(); e.stopPropagation();
  });
  model.on('change:rows', () => { const had = root.contains(document.activeElement); show(); if (had) root.focus({preventScroll: true}); });
  model.on('change:note', tell);
  model.on('change:picked', () => { const id = model.get('picked'); if (id) pick(id); });
  show();
  return () => { for (const u of urls.values()) URL.revokeObjectURL(u); };
}
export default {render};
