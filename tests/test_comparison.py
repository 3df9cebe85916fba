"Two deliveries, a machine and a human: `rsqi compare` on the sample scene and its clean twin, and its report."
import json, os, shutil, subprocess, sys
from pathlib import Path
import geopandas as gpd, numpy as np, pyogrio, pytest, rasterio, shapely
from hypothesis import given, settings, strategies as st
from inspection_folder import write_folder
from rsqi.agreement import changes, object_facts
from rsqi.cli import main
from rsqi.comparison import Comparison, compare, compare_report
from rsqi.pipeline import inspect_scene
from rsqi.polygons import Finding
from rsqi.taxonomy import default_taxonomy

ROOT, TAX = Path(__file__).parent.parent, default_taxonomy()
SAMPLES = ROOT/'data_samples'

@pytest.fixture(scope='module')
def twins(tmp_path_factory):
    "Inspections of the sample scene and of its clean twin, by the shipped model"
    room = tmp_path_factory.mktemp('twins')
    return [inspect_scene(SAMPLES/f'{n}.tif', room/f'{n}.rsqi').dir for n in ('defective','clean')]

@pytest.fixture(scope='module')
def truth(twins, tmp_path_factory): return compare(SAMPLES/'defects.shp', twins[0],
                                                   tmp_path_factory.mktemp('t')/'truth')

def mask_of(path):
    with rasterio.open(path) as f: return f.read(1)

def test_a_repaired_delivery(twins, tmp_path):
    "The twin is the scene before anything was done to it: what was found is gone, what is still found was no defect"
    fixed = compare(*twins, tmp_path/'c')
    facts, (hurt, clean) = fixed.facts, (json.loads((d/'inspection.json').read_text(encoding='utf-8')) for d in twins)
    assert fixed.counts['fixed']+fixed.counts['remaining']+fixed.counts['changed']>0 and facts['mode']=='deliveries'
    assert facts['score']==dict(a=hurt['verdict']['score'], b=clean['verdict']['score'],
                                difference=round(clean['verdict']['score']-hurt['verdict']['score'], 2))
    a, b = (mask_of(d/'mask.tif') for d in twins)
    for d in TAX:
        p = facts['pixels'][d.key]
        assert (p['both'], p['only_a'], p['only_b'])==(((a==d.value)&(b==d.value)).sum(),
                                                       ((a==d.value)&(b!=d.value)).sum(),
                                                       ((b==d.value)&(a!=d.value)).sum())
    told = [i for r in facts['changes'] for i in r['ids_a']]
    assert sorted(told)==[f['id'] for f in hurt['findings']], 'every finding is in one object'
    back = compare(*twins[::-1], tmp_path/'d')
    swapped = dict(fixed='new', new='fixed')
    assert back.counts=={swapped.get(k, k): n for k,n in fixed.counts.items()} | {'unseen': fixed.counts['unseen']}

def test_the_same_twice(twins, tmp_path):
    same = compare(twins[0], twins[0], tmp_path/'c')
    n = {k: v for k,v in same.counts.items() if v}
    assert [*n]==['remaining'] and same.facts['alike']==1 and same.facts['score']['difference']==0
    assert all(p['iou'] in (None, 1) for p in same.facts['pixels'].values())

def test_against_the_inspectors_file(truth, twins):
    facts, mask = truth.facts, mask_of(SAMPLES/'mask.tif')
    assert facts['mode']=='truth' and facts['sides']['a']['kind']=='truth' and facts['sides']['a']['name']=='defects.shp'
    drawn = pyogrio.read_dataframe(SAMPLES/'defects.shp')
    assert sum(o['a'] for o in facts['objects'].values())==len(drawn) and facts['sides']['a']['penalty']==drawn.penalty.sum()
    said = mask_of(twins[0]/'mask.tif')
    for key in 'blur', 'pixel_missing': # the outline follows these closely, so the drawn file and the exact mask say the same
        p, v = facts['pixels'][key], TAX[key].value
        assert abs(p['iou']-((mask==v)&(said==v)).sum()/((mask==v)|(said==v)).sum())<.08, key
        assert facts['objects'][key]['recall']==1
    for p in facts['pixels'].values():
        if p['precision'] and p['recall']: assert abs(1/p['iou']-(1/p['precision']+1/p['recall']-1))<1e-3

def test_the_order_of_the_sides_is_no_matter(truth, twins, tmp_path):
    other = compare(twins[0], SAMPLES/'defects.shp', tmp_path/'c')
    assert other.facts==truth.facts

finding = st.builds(lambda key, x, y, w, h: Finding(1, key, TAX[key].value, shapely.box(x, y, x+w, y+h), w*h, None, 1.),
                    st.sampled_from(TAX.keys), st.integers(0,60), st.integers(0,60), st.integers(1,40),
                    st.integers(1,40))

@settings(max_examples=80, deadline=None)
@given(st.lists(finding, max_size=6), st.lists(finding, max_size=6))
def test_laws_of_matching(a, b):
    there, back = changes(a, b), changes(b, a)
    for side,fs in ((1,a), (2,b)): assert sorted(i for c in there
                                                 for i in c[side])==list(range(len(fs))), 'each finding once'
    swap = dict(gone='came', came='gone')
    assert sorted((swap.get(c.state, c.state), sorted(c.b), sorted(c.a))
                  for c in there)==sorted((c.state, sorted(c.a), sorted(c.b)) for c in back)
    assert all(c.state=='both' and c.alike==1 for c in changes(a, a) if len(c.a)==1)
    o = object_facts(a, b, there, truth=0)
    for k,v in o.items(): assert v['met_a']<=v['a'] and v['met_b']<=v['b'] and (v['f1'] is None)==(not v['a'] and not v['b'])

# --- the command

def run(capfd, *argv):
    capfd.readouterr()
    status = main(['compare', *map(str, argv)])
    return status, *capfd.readouterr()

def test_the_command_says_and_writes(capfd, twins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capfd, *twins, '--out', 'c', '--json', '--no-report')
    line = json.loads(out)
    assert (status, err)==(0, '') and line['counts']==Comparison.load('c').counts and line['report'] is None
    assert {p.name for p in Path('c').iterdir()}=={'comparison.json','comparison.gpkg','a.webp','b.webp',
                                                   'agreement.png'}
    status, out, err = run(capfd, *twins, '--out', 'c')
    assert (status, out, len(err.splitlines()))==(2, '', 1) and '--overwrite' in err
    status, out, _ = run(capfd, SAMPLES/'defects.shp', twins[0], '--out', 'd', '--no-report')
    assert status==0 and 'precision' in out and 'found' in out

def test_ground_that_was_not_inspected_is_status_three(capfd, tmp_path):
    whole = write_folder(tmp_path/'whole', 5,
                         verdict=dict(outcome='DEFECT', score=70., grade='QUALIFIED', grade_zh='合格', inspected_share=1.,
                         review=False, score_interval=None, reasons=['x'], reasons_zh=['x']))
    assert run(capfd, whole, whole, '--out', tmp_path/'c', '--no-report')[0]==0
    assert run(capfd, whole, write_folder(tmp_path/'part', 5), '--out', tmp_path/'d', '--no-report')[0]==3

def test_refusals(capfd, tmp_path):
    a = write_folder(tmp_path/'a', 5, gsd=None)
    b = write_folder(tmp_path/'b', 5, gsd=None, shape=(450,600))
    gpd.GeoDataFrame(dict(类型=['云']), geometry=[shapely.box(5e6,-5e6,6e6,-4e6)]).to_file(tmp_path/'off.gpkg')
    gpd.GeoDataFrame(dict(x=[1.5]), geometry=[shapely.box(5,-90,60,-4)]).to_file(tmp_path/'untyped.gpkg')
    (tmp_path/'text.shp').write_text('no')
    for other,words in ((b, 'without coordinates'), (tmp_path/'nowhere', 'no such file'),
                        (tmp_path, 'holds no inspection.json'),
                        (tmp_path/'off.gpkg', 'off.gpkg'), (tmp_path/'untyped.gpkg', 'no field'),
                        (tmp_path/'text.shp', 'cannot be read'),
                        (a/'mask.tif', 'not a vector file')):
        status, out, err = run(capfd, a, other, '--out', tmp_path/'never')
        assert (status, out, len(err.splitlines()))==(2, '', 1) and words in err, (other, err)
    status, _, err = run(capfd, tmp_path/'off.gpkg', tmp_path/'untyped.gpkg')
    assert status==2 and 'both files' in err and not (tmp_path/'never').exists()
    status, _, err = run(capfd, a, a, '--out', a, '--overwrite')
    assert status==2 and 'holds other files' in err and (a/'inspection.json').is_file()

def test_a_policy_that_is_gone_costs_the_score_alone(tmp_path):
    a = write_folder(tmp_path/'a', 5)   # its policy has a hash of its own invention
    gpd.GeoDataFrame(dict(类型=['云']), geometry=[shapely.box(700010, 2949900, 700050, 2949990)],
                     crs='EPSG:32648').to_file(tmp_path/'t.gpkg')
    made = compare(a, tmp_path/'t.gpkg', tmp_path/'c')
    assert made.facts['score']['a'] is None and made.facts['score']['difference'] is None
    assert 'has changed' in made.facts['notes'][0]
    assert made.facts['objects']['cloud']['a']==1

def test_other_pixels_are_sampled_and_told(tmp_path):
    "The same picture at half a metre and at a metre: the larger pixels see nearly the same"
    a, b = write_folder(tmp_path/'fine', 12, shape=(800,1000), seed=1), tmp_path/'coarse'
    shutil.copytree(a, b)
    facts = json.loads((b/'inspection.json').read_text(encoding='utf-8'))
    mask, t = mask_of(a/'mask.tif'), facts['scene']['transform']
    facts['scene'].update(shape=[400,500], transform=[t[0]*2, 0, t[2], 0, t[4]*2, t[5]], gsd=1.)
    (b/'inspection.json').write_text(json.dumps(facts), encoding='utf-8')
    with rasterio.open(b/'mask.tif', 'w', driver='GTiff', height=400, width=500, count=1, dtype='uint8', nodata=255,
                       crs='EPSG:32648',
                       transform=rasterio.Affine(*facts['scene']['transform'])) as f: f.write(mask[::2,::2], 1)
    made = compare(a, b, tmp_path/'c')
    assert made.counts['remaining']==len(facts['findings']) and 'has other pixels (500 x 400 px)' in made.facts['notes'][0]
    assert all(p['iou'] is None or p['iou']>.9 for p in made.facts['pixels'].values())

# --- the report

@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "A comparison with objects of every state, of folders with hostile names"
    room = tmp_path_factory.mktemp('r')
    a, b = write_folder(room/'<img src=x onerror=alert(1)>', 12), write_folder(room/'b', 30, seed=2)
    made = compare(a, b, room/'c')
    assert sum(n>0 for n in made.counts.values())>=3
    return compare_report(made)

def test_the_page_is_one_file_and_escapes(page):
    html = page.read_text(encoding='utf-8')
    assert "default-src 'none'" in html and len(html.encode())<2e6 and html.count('<h1')==1
    assert 'overlap count as one' in html and 'agree on less than half' in html and 'Alike: the ground that both mark' in html
    assert '<img src=x' not in html and '&lt;img src=x' in html and '比对报告' in html and 'id="warnings"' not in html

def test_it_reads_its_folder_alone(page, tmp_path):
    "Moved away from the inspections, the folder still makes its report; torch is not asked"
    copy = shutil.copytree(page.parent, tmp_path/'c')
    (copy/'report.html').unlink()
    code = ("import sys; from rsqi.comparison import Comparison, compare_report; "
            f"compare_report(Comparison.load({str(copy)!r}), 'zh'); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)
    assert '<html lang="zh-CN"' in (copy/'report.html').read_text(encoding='utf-8')

def test_the_command_makes_the_page_again(page, tmp_path, capsys):
    from rsqi.cli import main
    copy = shutil.copytree(page.parent, tmp_path/'c')
    (copy/'report.html').unlink()
    assert main(['report', str(copy), '--lang', 'zh', '--inspector', '王'])==0
    assert capsys.readouterr().out.strip()==str(copy/'report.html') and '<p class="filled">王</p>' in (copy/'report.html').read_text(encoding='utf-8')

@pytest.mark.browser
def test_in_a_browser_without_a_network(page):
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    names = 'chromium', 'chromium-browser', 'google-chrome'
    chromium = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, names)), None)
    if not chromium: pytest.skip('no chromium on this machine; set CHROMIUM to its path')
    facts = json.loads((page.parent/'comparison.json').read_text(encoding='utf-8'))
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium,
                                    args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND'])
        tab, wrong = browser.new_page(viewport=dict(width=1440, height=900)), []
        tab.on('request', lambda r: r.url.startswith(('data:','blob:')) or r.url==page.as_uri() or wrong.append(r.url))
        tab.on('console', lambda m: m.type in ('error','warning') and wrong.append(m.text))
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.goto(page.as_uri())
        n = len(facts['changes'])
        paths, rows = tab.locator('.mapbox path.leaflet-interactive'), tab.locator('#findings tbody tr:visible')
        assert paths.count()==rows.count()==n
        rows.nth(1).click()
        tab.wait_for_selector('.leaflet-popup-content')
        assert tab.locator('path.picked').count()>=1 and tab.locator('#findings tr.picked').count()==1
        some = next(s for s in facts['states'] if s['count'])
        tab.locator(f"input[data-defect={some['key']}]").uncheck()
        assert rows.count()==n-some['count']
        assert tab.evaluate("document.querySelectorAll('.leaflet-image-layer').length")==3   # B, A over it, and the mask
        look = "Array.from(document.querySelectorAll('.leaflet-image-layer')).map(i => i.style.opacity)"
        before = tab.evaluate(look)
        tab.locator('[data-opacity=other]').fill('0.25')
        assert [a for a,b in zip(tab.evaluate(look), before) if a!=b]==['0.75']
        tab.locator('[data-whole]').click()
        tab.wait_for_timeout(600)
        last = tab.locator('#findings tbody tr:visible').last
        tab.evaluate("""id => { for (const p of document.querySelectorAll('.mapbox path.leaflet-interactive')) {
            p.dispatchEvent(new MouseEvent('click', {bubbles:true, clientX:300, clientY:400}));
            if (document.querySelector('.mapbox').dataset.picked === id) return; } }""", last.get_attribute('data-id'))
        assert 'picked' in last.get_attribute('class')
        tab.locator('[data-set-lang=zh]').click()
        assert some['zh'] in tab.locator('h1').inner_text() and '比对报告' in tab.title()
        tab.emulate_media(media='print')
        assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth') and tab.locator('#quicklook').is_visible()
        tab.emulate_media(media='screen')
        tab.set_viewport_size(dict(width=390, height=800))
        assert tab.evaluate('document.documentElement.scrollWidth')<=390
        browser.close()
    assert wrong==[]
