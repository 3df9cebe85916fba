// Language, sorting, and the link between the map and the table. The page reads without it.
(function () {
'use strict';
var root = document.documentElement, still = window.matchMedia && matchMedia('(prefers-reduced-motion: reduce)').matches;
root.classList.add('js');

function all(selector, inside) { return Array.prototype.slice.call((inside || document).querySelectorAll(selector)); }
function make(tag, text) { var e = document.createElement(tag); if (text) e.textContent = text; return e; }

function speak(lang) {
  root.lang = lang === 'zh' ? 'zh-CN' : 'en';
  document.title = root.getAttribute('data-title-' + lang);
  all('[data-set-lang]').forEach(function (b) { b.setAttribute('aria-pressed', String(b.getAttribute('data-set-lang') === lang)); });
  all('option[data-' + lang + ']').forEach(function (o) { o.textContent = o.getAttribute('data-' + lang); });
}

function sortBy(th) {
  var table = th.closest('table'), body = table.tBodies[0], kind = th.querySelector('button').getAttribute('data-sort'), i = th.cellIndex;
  var now = th.getAttribute('aria-sort'), down = now ? now === 'ascending' : kind === 'number' && i > 0;
  function key(row) { var c = row.cells[i], v = c.getAttribute('data-v'); if (v === null) v = c.innerText.trim(); return kind === 'number' ? parseFloat(v) || 0 : v; }
  var rows = Array.prototype.map.call(body.rows, function (row, n) { return { row: row, key: key(row), n: n }; });
  rows.sort(function (a, b) { var d = kind === 'number' ? a.key - b.key : a.key.localeCompare(b.key, root.lang); return (down ? -d : d) || a.n - b.n; });
  rows.forEach(function (r) { body.appendChild(r.row); });
  all('th', table.tHead).forEach(function (o) { o.removeAttribute('aria-sort'); });
  th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
}

// The card that opens on the map: the cells of the finding's row under their headings.
function card(row) {
  var box = make('div'), list = make('dl'), heads = row.closest('table').tHead.rows[0].cells, picture = row.querySelector('img');
  var title = box.appendChild(make('h4', row.cells[0].textContent.trim() + ' · '));
  title.append.apply(title, Array.prototype.map.call(row.cells[2].childNodes, function (n) { return n.cloneNode(true); }));
  if (picture) box.appendChild(picture.cloneNode());
  [3, 4, 5, 6].forEach(function (i) {
    var dt = list.appendChild(make('dt')), dd = list.appendChild(make('dd'));
    all('span', heads[i]).forEach(function (s) { dt.appendChild(s.cloneNode(true)); });
    Array.prototype.forEach.call(row.cells[i].childNodes, function (n) { dd.appendChild(n.cloneNode(true)); });
  });
  box.appendChild(list);
  if (row.getAttribute('data-place')) box.appendChild(make('p', row.getAttribute('data-place'))).className = 'note';
  return box;
}

function boundsOf(row) {
  var b = row.getAttribute('data-bbox').split(' ').map(Number);
  return L.latLngBounds([[-b[2], b[1]], [-b[0], b[3]]]);
}

// Called by the map's own script, which runs before the rest of the page is read.
window.rsqiLink = function (map, layers, mask) { document.addEventListener('DOMContentLoaded', function () { link(map, layers, mask); }); };

function link(map, layers, mask) {
  var box = map.getContainer().closest('.mapbox'), whole = map.getBounds(), shapes = {}, rows = {}, chosen = null, popup = L.popup({ maxWidth: 240 });
  var metres = parseFloat(box.getAttribute('data-gsd')), where = box.querySelector('.where');
  all('#findings tbody tr').forEach(function (row) { rows[row.getAttribute('data-id')] = row; });
  Object.keys(layers).forEach(function (key) {
    layers[key].eachLayer(function (s) { var id = String(s.feature.properties.id); shapes[id] = s; s.on('click', function (e) { pick(id, e.latlng); }); });
  });

  function light(on) {
    if (!chosen) return;
    if (rows[chosen]) rows[chosen].classList.toggle('picked', on);
    var s = shapes[chosen]; if (!s) return;
    (s.getLayers ? s.getLayers() : [s]).forEach(function (p) { var e = p.getElement && p.getElement(); if (e) e.classList.toggle('picked', on); });
    if (on && s.bringToFront) s.bringToFront();
  }
  function pick(id, at) {                       // `at`: clicked on the map there; otherwise chosen in the table
    var row = rows[id];
    light(false); chosen = id; light(true);
    box.setAttribute('data-picked', id);
    if (!row) return;
    if (at) { show(row); popup.setLatLng(at).openOn(map); return; }
    var b = boundsOf(row), spot = L.latLng(b.getNorth(), b.getCenter().lng);
    map.closePopup();
    map.once('moveend', function () { if (chosen === id) popup.setContent(card(row)).setLatLng(spot).openOn(map); });
    map.fitBounds(b, { maxZoom: 1, padding: [70, 90], animate: !still, duration: .4 });
  }
  function show(row) {
    popup.setContent(card(row));
    var frame = row.closest('.scroll');
    frame.scrollTop = row.offsetTop - frame.clientHeight / 2;
  }

  Object.keys(rows).forEach(function (id) { rows[id].addEventListener('click', function () { pick(id); }); });
  var hidden = {}, least = box.parentNode.querySelector('[data-least]');   // by class, and by confidence
  function filter() {
    Object.keys(rows).forEach(function (id) {
      var row = rows[id], key = row.getAttribute('data-defect'), on = !hidden[key] && !(least && +row.getAttribute('data-sure') < +least.value);
      row.hidden = !on;
      if (layers[key] && shapes[id]) layers[key][on ? 'addLayer' : 'removeLayer'](shapes[id]);
    });
    light(true);
  }
  all('[data-defect]', box.parentNode).forEach(function (tick) {
    tick.addEventListener('change', function () { hidden[tick.getAttribute('data-defect')] = !tick.checked; filter(); });
  });
  if (least) least.addEventListener('input', function () { least.parentNode.querySelector('output').textContent = Math.round(least.value * 100) + ' %'; filter(); });
  var first = document.getElementById('look-a'), other = null; // the other picture of a comparison, below the mask
  if (first && box.parentNode.querySelector('[data-opacity=other]') && mask) {
    other = L.imageOverlay(first.src, mask.getBounds(), { opacity: 0 }).addTo(map);
    mask.bringToFront();
  }
  all('[data-opacity]').forEach(function (slide) {
    slide.addEventListener('input', function () {
      if (slide.getAttribute('data-opacity') === 'other') { if (other) other.setOpacity(1 - slide.value); return; }
      if (slide.getAttribute('data-opacity') === 'mask') { if (mask) mask.setOpacity(+slide.value); }
      else map.getPane('overlayPane').querySelector('svg').style.opacity = slide.value;
    });
  });
  all('[data-whole]').forEach(function (b) { b.addEventListener('click', function () { map.closePopup(); map.fitBounds(whole, { animate: !still }); }); });

  var gaps = L.layerGroup(JSON.parse(document.getElementById('gap-blocks').textContent).map(function (g) {
    return L.polygon(g.map(function (ring) { return ring.map(function (p) { return [-p[0], p[1]]; }); }), { color: '#fff', weight: 1.5, dashArray: '5 5', fillColor: '#20262d', fillOpacity: .45, interactive: false });
  })).addTo(map);
  all('[data-gaps]').forEach(function (tick) { tick.addEventListener('change', function () { gaps[tick.checked ? 'addTo' : 'removeFrom'](map); }); });

  map.scrollWheelZoom.disable();               // the page scrolls until the map is meant
  map.on('click focus', function () { map.scrollWheelZoom.enable(); }).on('blur', function () { map.scrollWheelZoom.disable(); });
  map.on('mousemove', function (e) { where.textContent = 'x ' + Math.floor(e.latlng.lng) + '  y ' + Math.floor(-e.latlng.lat); }).on('mouseout', function () { where.textContent = ''; });
  if (metres > 0) {
    map.options.crs = L.extend({}, map.options.crs, { distance: function (a, b) { return metres * L.CRS.Simple.distance(a, b); } });
    L.control.scale({ imperial: false }).addTo(map);
  }
}

// Filters above a table of scenes: words of the name, states, a defect.
function sift(box) {
  var rows = all('#' + box.getAttribute('data-filters') + ' tbody tr'), find = box.querySelector('[data-find]'), kind = box.querySelector('[data-with]');
  function apply() {
    var words = find.value.toLowerCase().split(/\s+/), off = all('[data-state]', box).filter(function (t) { return !t.checked; }).map(function (t) { return t.getAttribute('data-state'); }), n = 0;
    rows.forEach(function (row) {
      var text = row.getAttribute('data-text'), named = words.every(function (w) { return text.indexOf(w) >= 0; });
      row.hidden = !named || off.indexOf(row.getAttribute('data-state')) >= 0 || (kind.value && row.getAttribute('data-with').split(' ').indexOf(kind.value) < 0);
      n += !row.hidden;
    });
    box.querySelector('.shown').textContent = n + ' / ' + rows.length;
  }
  box.addEventListener('input', apply);
  apply();
}

document.addEventListener('DOMContentLoaded', function () {
  all('[data-filters]').forEach(sift);
  all('[data-set-lang]').forEach(function (b) { b.addEventListener('click', function () { speak(b.getAttribute('data-set-lang')); }); });
  speak(root.lang.slice(0, 2));
  all('[data-sort]').forEach(function (b) { b.addEventListener('click', function () { sortBy(b.closest('th')); }); });
  all('[data-print]').forEach(function (b) { b.addEventListener('click', function () { print(); }); });
});
})();
