// The panel beside the viewer: verdict, controls, findings, what to look at next, questions. Python decides; this shows and asks.
const SAY = {
  en: {findings: 'Findings', queue: 'Look here', ask: 'Ask', was: 'was', all: 'all', open: 'not reviewed', accepted: 'accepted', rejected: 'rejected', changed: 'changed', added: 'added',
       sure: 'at least', accept: 'Accept', reject: 'Reject', redraw: 'Redraw', undo: 'Undo', draw: 'Draw new', report: 'Report', relabel: 'is really', none: 'Nothing matches.',
       pick: 'Select a finding, here or in the picture', ask_ph: 'Any cloud? Where is the worst finding?', send: 'Ask', more: 'more', points: 'points', review: 'review',
       order: {cost: 'costliest', area: 'largest', sure: 'surest', unsure: 'least sure'}, keys: 'A accept · R reject · 1–9, 0 relabel · D redraw · U undo · N, P next, previous', busy: 'scoring…', model: 'Model', waiting: 'the model is answering …', agrees: 'agrees with the findings', disputed: 'contradicts the findings', unchecked: 'not checked by any measurement', failed: 'cannot answer'},
  zh: {findings: '图斑', queue: '建议查看', ask: '提问', was: '原', all: '全部', open: '未复核', accepted: '已确认', rejected: '已否决', changed: '已修改', added: '新增',
       sure: '不低于', accept: '确认', reject: '否决', redraw: '重绘', undo: '撤销', draw: '新绘', report: '报告', relabel: '实为', none: '没有符合条件的图斑。',
       pick: '在列表或图中选中一个图斑', ask_ph: '有云吗？最严重的在哪里？', send: '提问', more: '条未列出', points: '分', review: '复核',
       order: {cost: '扣分', area: '面积', sure: '置信度高', unsure: '置信度低'}, keys: 'A 确认 · R 否决 · 1–9、0 改类 · D 重绘 · U 撤销 · N、P 下一个、上一个', busy: '评分中…', model: '模型', waiting: '模型正在回答…', agrees: '与测得结果一致', disputed: '与测得结果矛盾', unchecked: '未经测量核对', failed: '无法回答'}};
const el = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
const MOST = 250;

function render({model, el: host}) {
  const lang = model.get('lang'), t = SAY[lang] || SAY.en, zh = lang === 'zh';
  const root = el('div', 'rsqi-panel'); root.tabIndex = 0; root.dataset.lmSuppressShortcuts = 'true'; root.style.height = model.get('height') + 'px'; root.lang = lang;
  host.append(root);
  const defects = () => model.get('defects'), colour = k => defects().find(d => d.key === k)?.colour || '#888', word = k => { const d = defects().find(d => d.key === k); return d ? d[lang] || d.en : k; };
  const kind = model.get('kind'), off = new Set(); let least = 0, state = 'all', order = 'cost', tab = 'findings';
  const verdict = el('section', 'verdict'), controls = el('section', 'controls'), tabs = el('div', 'tabs'), body = el('div', 'pane'), actions = el('section', 'actions'), status = el('div', 'status');
  root.append(verdict, controls, tabs, body, actions, status);
  const send = m => model.send(m), button = (text, act, cls = '') => { const b = el('button', cls, text); b.type = 'button'; b.onclick = act; return b; };

  function showVerdict() {
    const v = model.get('verdict'); verdict.replaceChildren(); verdict.hidden = !v.outcome;
    root.dataset.score = v.score ?? ''; root.dataset.busy = model.get('busy') ? 1 : 0;
    if (!v.outcome) return;
    verdict.style.setProperty('--tone', v.tone);
    const top = el('div', 'top'), number = el('b', 'score', v.score === null ? '–' : (+v.score).toFixed(1)), words = el('div', 'words');
    words.append(el('span', 'grade', (zh ? v.grade_zh : v.grade?.replaceAll('_', ' ').toLowerCase()) || v.outcome.replaceAll('_', ' ').toLowerCase()));
    if (v.was !== undefined && v.was !== v.score) words.append(el('span', 'was', `${t.was} ${v.was === null ? '–' : (+v.was).toFixed(1)}`));
    if (v.review) words.append(el('span', 'flag', t.review));
    if (model.get('busy')) words.append(el('span', 'was busy', t.busy));
    top.append(number, words); verdict.append(top);
    const list = el('ul'); for (const r of (zh ? v.reasons_zh : v.reasons).slice(0, 3)) list.append(el('li', '', r)); verdict.append(list);
  }
  function showControls() {
    const open = [...controls.querySelectorAll('details[open] > summary')].map(s => s.textContent);
    controls.replaceChildren(); const all = model.get('controls'); controls.hidden = !all.length;
    let group = controls;
    for (const c of all) {
      if (c.kind === 'group') { const d = el('details'); d.append(el('summary', '', c.label)); d.open = open.includes(c.label); controls.append(d); group = d; continue; }
      const row = el('label', 'control'), out = el('output'); row.append(el('span', '', c.label)); row.title = c.help || '';
      if (c.kind === 'select') {
        const s = el('select'); s.dataset.control = c.name;
        for (const [v, w] of c.options) { const o = el('option', '', w); o.value = v; s.append(o); } s.value = c.value;
        s.onchange = () => send({kind: 'set', name: c.name, value: s.value}); row.append(s);
      } else {
        const s = el('input'); s.type = 'range'; s.min = c.min; s.max = c.max; s.step = c.step; s.value = c.value; s.dataset.control = c.name; s.setAttribute('aria-label', c.label);
        const tell = () => { out.textContent = c.top && +s.value >= c.max ? c.top : c.log ? Math.round(10 ** +s.value - 1).toLocaleString('en') : (+s.value).toFixed(c.step < .1 ? 2 : 1); };
        let waiting = 0, late = false; // the first step at once, then one every 60 ms
        const say = () => { send({kind: 'set', name: c.name, value: +s.value}); waiting = setTimeout(() => { waiting = 0; if (late) { late = false; say(); } }, 60); };
        s.oninput = () => { tell(); if (waiting) late = true; else say(); };
        tell(); row.append(s, out);
      }
      group.append(row);
    }
  }
  const rows = () => model.get('rows');
  const passes = r => !off.has(r.defect) && r.confidence >= least && (state === 'all' || (r.state || 'open') === state);
  const by = {cost: (a, b) => b.deduction - a.deduction || b.area_px - a.area_px, area: (a, b) => b.area_px - a.area_px, sure: (a, b) => b.confidence - a.confidence, unsure: (a, b) => a.confidence - b.confidence};
  const listed = () => rows().filter(passes).sort(by[order]);
  function showTabs() {
    tabs.replaceChildren(); const names = [['findings', `${t.findings} ${rows().length}`]];
    if (model.get('queue').length) names.push(['queue', t.queue]);
    if (kind === 'explore') names.push(['ask', t.ask]);
    tabs.hidden = names.length < 2;
    for (const [k, w] of names) { const b = button(w, () => { tab = k; show(); }); b.setAttribute('aria-pressed', tab === k); b.dataset.tab = k; tabs.append(b); }
  }
  function showFindings() {
    const filters = el('div', 'filters'), chips = el('div', 'chips'), counts = {};
    for (const r of rows()) counts[r.defect] = (counts[r.defect] || 0) + 1;
    for (const d of defects().filter(d => counts[d.key])) {
      const b = button('', () => { off.has(d.key) ? off.delete(d.key) : off.add(d.key); show(); }, 'chip'), dot = el('i'); dot.style.background = d.colour;
      b.append(dot, el('span', '', d[lang] || d.en), el('small', '', counts[d.key])); b.setAttribute('aria-pressed', !off.has(d.key)); b.dataset.filter = d.key; chips.append(b);
    }
    const line = el('div', 'line'), slide = el('input'), out = el('output', '', `${Math.round(least * 100)} %`), which = el('select'), sort = el('select');
    slide.type = 'range'; slide.min = 0; slide.max = 1; slide.step = .05; slide.value = least; slide.setAttribute('aria-label', t.sure); slide.dataset.filter = 'sure';
    slide.oninput = () => { least = +slide.value; out.textContent = `${Math.round(least * 100)} %`; fill(); };
    for (const k of ['all', 'open', 'accepted', 'rejected', 'changed', 'added']) { const o = el('option', '', t[k]); o.value = k; which.append(o); } which.value = state; which.onchange = () => { state = which.value; fill(); };
    for (const [k, w] of Object.entries(t.order)) { const o = el('option', '', w); o.value = k; sort.append(o); } sort.value = order; sort.onchange = () => { order = sort.value; fill(); };
    if (kind === 'tune') line.append(sort); else line.append(which, sort);
    line.append(el('span', 'muted', t.sure), slide, out); filters.append(chips, line);
    const list = el('div', 'list'); body.append(filters, list);
    fill();
    function fill() {
      const some = listed(), selected = model.get('selected'); list.replaceChildren();
      root.dataset.listed = some.length;
      for (const r of some.slice(0, MOST)) {
        const row = button('', () => pick(r.id), 'row'), dot = el('i'); dot.style.background = colour(r.defect); row.dataset.id = r.id; row.dataset.state = r.state || '';
        if (r.id === selected) row.classList.add('picked');
        const words = el('span', 'name'); words.append(el('b', '', word(r.defect)), el('small', '', `#${r.id}  ${r.size}`));
        const bar = el('span', 'bar'), part = el('u'); part.style.width = `${Math.round(r.confidence * 100)}%`; bar.append(part); bar.title = `${Math.round(r.confidence * 100)} %`;
        row.append(dot, words, bar, el('span', 'cost', r.deduction >= .005 ? `−${r.deduction.toFixed(2)}` : '0'), el('span', 'mark', {accepted: '✓', rejected: '✕', changed: '✎', added: '+'}[r.state] || ''));
        list.append(row);
      }
      if (!some.length) list.append(el('p', 'muted', t.none));
      if (some.length > MOST) list.append(el('p', 'muted', `+ ${some.length - MOST} ${t.more}`));
      list.querySelector('.picked')?.scrollIntoView({block: 'nearest'});
    }
    showFindings.fill = fill;
  }
  function showQueue() {
    const list = el('div', 'list'); body.append(list);
    for (const q of model.get('queue')) {
      const row = button('', () => send({kind: 'go', bbox: [q.y, q.x, q.y + q.h, q.x + q.w]}), 'row'), words = el('span', 'name'), dot = el('i'); dot.style.background = colour(q.defect);
      words.append(el('b', '', word(q.defect)), el('small', '', zh ? q.why_zh : q.why)); row.append(dot, words, el('span', 'cost', `${Math.round(q.p * 100)} %`)); row.dataset.rank = q.rank; list.append(row);
    }
  }
  function showAsk() {
    const talk = el('div', 'talk'), form = el('form'), input = el('input'); input.placeholder = t.ask_ph; input.name = 'question'; input.autocomplete = 'off';
    for (const m of model.get('chat')) {
      talk.append(el('p', 'question', m.question)); const a = el('div', 'answer'); a.append(el('span', '', m.text)); talk.append(a);
      if (m.findings.length) { const c = el('div', 'cites'); for (const id of m.findings.slice(0, 12)) { const b = button(`#${id}`, () => pick(id), 'cite'); b.dataset.cite = id; c.append(b); } a.append(c); }
      if (m.state) {
        const s = el('div', `said ${m.state}`); s.dataset.model = m.state;
        s.append(el('b', '', m.state === 'waiting' ? t.waiting : `${t.model} ${m.model} · ${t[m.state]}`), el('span', '', m.said));
        if (m.disputes.length) { const u = el('ul'); for (const d of m.disputes) u.append(el('li', '', d)); s.append(u); }
        talk.append(s);
      }
    }
    form.append(input, button(t.send, null)); form.lastChild.type = 'submit'; form.lastChild.className = 'primary';
    form.onsubmit = e => { e.preventDefault(); if (input.value.trim()) send({kind: 'ask', text: input.value.trim()}); input.value = ''; };
    body.append(talk, form); talk.scrollTop = talk.scrollHeight; input.onkeydown = e => e.stopPropagation(); root.dataset.chat = model.get('chat').length;
  }
  function pick(id) { const r = rows().find(r => r.id === id); model.set('selected', id); model.save_changes(); if (r) send({kind: 'go', bbox: r.bbox}); }
  function step(by) {
    const some = listed(); if (!some.length) return;
    const at = some.findIndex(r => r.id === model.get('selected')); pick(some[(at + by + some.length) % some.length].id);
  }
  function showActions() {
    actions.replaceChildren(); actions.hidden = kind === 'tune'; if (kind === 'tune') return;
    const id = model.get('selected'), r = rows().find(r => r.id === id), line = el('div', 'line'), act = action => send({kind: 'decide', action, id});
    const ok = button(t.accept, () => act('accept'), 'yes'), no = button(t.reject, () => act('reject'), 'no'), re = button(t.redraw, () => act('redraw')), label = el('select');
    const first = el('option', '', `${t.relabel} …`); first.value = ''; label.append(first); label.dataset.action = 'relabel'; label.setAttribute('aria-label', t.relabel);
    for (const d of defects()) { const o = el('option', '', d[lang] || d.en); o.value = d.key; label.append(o); }
    label.onchange = () => { if (label.value) send({kind: 'decide', action: 'relabel', id, defect: label.value}); };
    for (const [b, k] of [[ok, 'accept'], [no, 'reject'], [re, 'redraw']]) { b.dataset.action = k; b.disabled = !r; } label.disabled = !r;
    line.append(ok, no, label, re);
    const under = el('div', 'line'), draw = el('select'), none = el('option', '', `${t.draw} …`); none.value = ''; draw.append(none); draw.dataset.action = 'draw'; draw.setAttribute('aria-label', t.draw);
    for (const d of defects()) { const o = el('option', '', d[lang] || d.en); o.value = d.key; draw.append(o); }
    draw.onchange = () => { if (draw.value) send({kind: 'decide', action: 'draw', defect: draw.value}); draw.value = ''; };
    const undo = button(t.undo, () => act('undo')), report = button(t.report, () => send({kind: 'report'})); undo.dataset.action = 'undo'; report.dataset.action = 'report';
    under.append(draw, undo); if (kind === 'explore') under.append(report);
    actions.append(el('p', 'muted', r ? `#${r.id} ${word(r.defect)}${r.state ? ' · ' + t[r.state] : ''}` : t.pick), line, under); actions.title = t.keys;
  }
  function keep(draw) { // what had the focus may be drawn anew; keys must not fall through to the notebook then
    return (...args) => { const had = root.contains(document.activeElement); draw(...args); if (had && !root.contains(document.activeElement)) root.focus({preventScroll: true}); };
  }
  const show = keep(() => {
    showTabs(); body.replaceChildren(); body.dataset.tab = tab;
    tab === 'ask' ? showAsk() : tab === 'queue' ? showQueue() : showFindings();
    showActions();
  });
  const tell = () => { status.textContent = model.get('status'); status.title = t.keys; };
  root.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || /INPUT|SELECT|TEXTAREA/.test(e.target.tagName)) { e.stopPropagation(); return; }
    if (e.key.length === 1 || e.key === 'Escape') { model.send({kind: 'key', key: e.key.toLowerCase()}); e.stopPropagation(); if (e.key !== ' ') e.preventDefault(); }
  });
  model.on('msg:custom', m => { if (m.kind === 'step') step(m.by); });
  for (const k of ['verdict', 'busy']) model.on(`change:${k}`, showVerdict);
  for (const k of ['rows', 'queue', 'chat']) model.on(`change:${k}`, show);
  model.on('change:controls', showControls); model.on('change:status', tell);
  model.on('change:selected', keep(() => { root.dataset.selected = model.get('selected'); if (tab === 'findings') showFindings.fill?.(); showActions(); }));
  showVerdict(); showControls(); show(); tell();
}
export default {render};
