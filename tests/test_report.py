"The report of an inspection: one file, no request, two languages, map and table linked, and nothing a file says is believed."
import json, os, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, pytest
from inspection_folder import write_folder
from rsqi import sections
from rsqi.inspection import Inspection
from rsqi.progress import percent
from rsqi.sections import facts as facts_of
from rsqi.report import ReportError, Signer, pdf, report

ROOT    = Path(__file__).parent.parent
HOSTILE = '<img src=x onerror=alert(1)>.tif'

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return write_folder(tmp_path_factory.mktemp('r')/'scene.rsqi', 15, name=HOSTILE)

@pytest.fixture(scope='module')
def page(folder): return report(folder)

@pytest.fixture
def spare(folder, tmp_path):
    "A copy that a test may write to"
    return Path(shutil.copytree(folder, tmp_path/'spare.rsqi'))

def notebook_with(path, *cells):
    "The shipped report with more cells at its end"
    nb = nbformat.read(ROOT/'nbs/reports/scene.ipynb', as_version=4)
    nb.cells += [nbformat.v4.new_code_cell(c) for c in cells]
    nbformat.write(nb, path)
    return path

def small_notebook(path, *cells):
    "A report notebook with nothing but parameters and these cells"
    first = nbformat.v4.new_code_cell("folder = ''\nlang = 'en'", metadata=dict(tags=['parameters']))
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)]), path)
    return path

# --- the file

def test_the_folders_of_these_tests_are_inspections(folder):
    "Made by hand, they still follow the published schema"
    import jsonschema
    schema = json.loads((ROOT/'rsqi/inspection.schema.json').read_text(encoding='utf-8'))
    jsonschema.validate(json.loads((folder/'inspection.json').read_text(encoding='utf-8')), schema)

def test_packaged_reports_are_the_notebooks():
    "`make prep` copies them; a stale copy would report with yesterday's sections"
    own, packaged = (sorted((ROOT/p).glob('*.ipynb')) for p in ('nbs/reports', 'rsqi/reports'))
    assert [p.name for p in own]==[p.name for p in packaged] and own
    for a,b in zip(own, packaged): assert a.read_bytes()==b.read_bytes(), a.name

def test_one_file_that_asks_for_nothing(page, folder):
    html = page.read_text(encoding='utf-8')
    assert page == folder.resolve()/'report.html'
    assert "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'" in html
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)[^"]+"', html)
    assert not re.findall(r'url\(["\']?https?:|@import', html)
    assert html.count('<h1') == 1 and 'data-lang="zh"' in html and 'Findings' in html and '问题图斑' in html

def test_the_contents_lead_to_headings(page):
    "An address stands once on the page, and each line of the contents has one"
    html = re.sub(r'(<script[^>]*>).*?</script>', r'\1', page.read_text(encoding='utf-8'), flags=re.S)
    ids, lines = re.findall(r'<\w+[^>]*\sid="([^"]+)"', html), re.findall(r'<nav.*?</nav>', html, re.S)[0]
    assert sorted(ids)==sorted({*ids})
    wanted = re.findall('href="#([^"]+)"', lines)
    assert len(wanted)>=7 and all(f'<h2 id="{w}">' in html for w in wanted)

def test_what_files_say_is_escaped(page):
    html = page.read_text(encoding='utf-8')
    assert '<img src=x' not in html and '&lt;img src=x onerror=alert(1)&gt;.tif' in html

def test_only_the_page_is_left_behind(page, folder):
    wanted = {'inspection.json','blocks.parquet','mask.tif','findings.gpkg','quicklook.webp','thumbnails','report.html'}
    assert {p.name for p in folder.iterdir()} == wanted

def test_three_hundred_findings_go_by_mail(tmp_path):
    many = write_folder(tmp_path/'many', 300, shape=(4000,5000))
    assert len(json.loads((many/'inspection.json').read_text(encoding='utf-8'))['findings']) >= 280
    html = report(many).read_text(encoding='utf-8')
    assert len(html.encode()) < 2_000_000
    assert html.count('<tr data-id=') >= 280

def test_a_clean_picture_without_coordinates(tmp_path):
    verdict = dict(outcome='CLEAN', score=100, grade='A', reasons=['No defect was found'], reasons_zh=['未发现缺陷'],
                   inspected_share=1., review=False, score_interval=None)
    html = report(write_folder(tmp_path/'clean', 0, gsd=None, verdict=verdict), lang='zh').read_text(encoding='utf-8')
    assert '<html lang="zh-CN"' in html and '未发现缺陷' in html and 'Nothing was found.' in html

# --- running the notebook

def test_a_new_section_is_a_new_cell(spare, tmp_path):
    "... and the shipped cells never import torch"
    own = notebook_with(tmp_path/'own.ipynb', "heading('Weather', '天气')", "print('wind & rain')",
                        "import sys, warnings; assert 'torch' not in sys.modules; warnings.warn('<b>careful</b>')")
    html = report(spare, name=own, keep=True).read_text(encoding='utf-8')
    assert '<a href="#weather">' in html and 'wind &amp; rain' in html
    assert 'id="warnings"' in html and '&lt;b&gt;careful&lt;/b&gt;' in html
    assert nbformat.read(spare/'report.ipynb', as_version=4).cells[-2].outputs

def test_what_was_decided_is_told_in_both_languages(spare):
    "... and a folder of an older version, which has the English alone, still reads"
    file = spare/'inspection.json'
    facts = json.loads(file.read_text(encoding='utf-8'))
    facts['scene'] |= dict(notes=['Band 3 is shown as grey.'], notes_zh=['第 3 波段按灰度显示。'])
    file.write_text(json.dumps(facts), encoding='utf-8')
    html = str(facts_of(Inspection.load(spare)).data)
    assert '第 3 波段按灰度显示。' in html and 'Band 3 is shown as grey.' in html
    del facts['scene']['notes_zh']
    file.write_text(json.dumps(facts), encoding='utf-8')
    assert facts_of(Inspection.load(spare)).data.count('Band 3 is shown as grey.')==2

def test_failure_is_one_line_and_harms_nothing(folder, tmp_path):
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(ReportError) as e: report(folder, name=small_notebook(tmp_path/'bad.ipynb', "1/0"))
    assert 'ZeroDivisionError' in str(e.value) and 'bad.ipynb' in str(e.value) and '\n' not in str(e.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before

@pytest.mark.parametrize('call,words', [
    (lambda f,t: report(t), 'no inspection.json'),
    (lambda f,t: report(f, lang='fr'), "en or zh; got lang='fr'"),
    (lambda f,t: report(f, name='poem'), "no report 'poem'; give "),
    (lambda f,t: report(f, name=_untagged(t)), 'no cell tagged')])
def test_refusals(folder, tmp_path, call, words):
    with pytest.raises(ReportError, match=re.escape(words)): call(folder, tmp_path)

def _untagged(folder):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('1')]), folder/'untagged.ipynb')
    return folder/'untagged.ipynb'

def test_no_kernelspec_and_no_working_directory_gets_in(spare, tmp_path):
    "A broken kernel in the home folder, and a module in the working directory that would be imported if it were looked at"
    kernel = tmp_path/'data/kernels/python3'
    kernel.mkdir(parents=True)
    (kernel/'kernel.json').write_text(json.dumps(dict(argv=['/nonexistent'], display_name='x', language='python')))
    work = tmp_path/'work'
    work.mkdir()
    (work/'stray.py').write_text('')
    own = small_notebook(tmp_path/'small.ipynb', "import sys; from importlib.util import find_spec; print(sys.executable, find_spec('stray'))")
    env = {**os.environ, 'JUPYTER_DATA_DIR': str(tmp_path/'data'), 'HOME': str(tmp_path/'home')}
    script = tmp_path/'script.py'
    script.write_text(f'from rsqi.report import report; print(report({str(spare)!r}, name={str(own)!r}))')
    done = subprocess.run([sys.executable, script], cwd=work, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode==0 and f'{sys.executable} None' in (spare/'report.html').read_text(encoding='utf-8'), done.stderr
    assert done.stderr == ''

# --- in a browser without a network

QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1']

@pytest.fixture(scope='module')
def browser():
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    chromium = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not chromium: pytest.skip('no chromium on this machine; set CHROMIUM to its path')
    with api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=QUIET)
        yield b
        b.close()

@pytest.fixture
def tab(browser, page):
    "The report in a window that notes every request, error and dialog; a test ends with none"
    context = browser.new_context(viewport=dict(width=1440, height=900))
    tab, wrong = context.new_page(), []
    tab.on('request', lambda r: r.url.startswith(('data:','blob:')) or r.url==page.as_uri() or wrong.append(r.url))
    tab.on('console', lambda m: m.type in ('error','warning') and wrong.append(m.text))
    tab.on('pageerror', lambda e: wrong.append(str(e)))
    tab.on('dialog', lambda d: (wrong.append(d.message), d.dismiss()))
    tab.goto(page.as_uri())
    yield tab
    assert wrong == []
    context.close()

browser_test = pytest.mark.browser

@browser_test
def test_polygons_are_drawn_over_the_picture(tab, folder):
    findings = json.loads((folder/'inspection.json').read_text(encoding='utf-8'))['findings']
    assert tab.locator('.mapbox path.leaflet-interactive').count() == len(findings) > 10
    loaded = tab.evaluate("Array.from(document.querySelectorAll('.leaflet-image-layer')).map(i => i.naturalWidth)")
    assert len(loaded)==2 and min(loaded)>0
    assert HOSTILE in tab.locator('.verdict').inner_text() and HOSTILE in tab.title()

@browser_test
def test_a_row_moves_the_map_and_a_polygon_finds_its_row(tab):
    place = "document.querySelector('.leaflet-image-layer').getBoundingClientRect().width"
    before = tab.evaluate(place)
    tab.locator('#findings tbody tr').nth(3).click()
    tab.wait_for_selector('.leaflet-popup-content')
    assert tab.evaluate(place) > before*1.3
    assert tab.locator('#findings tr.picked').count() == tab.locator('path.picked').count() == 1
    tab.locator('[data-whole]').click()
    tab.wait_for_timeout(700)
    last = tab.locator('#findings tbody tr').last
    tab.evaluate("""id => { let hit; const paths = document.querySelectorAll('.mapbox path.leaflet-interactive');
        for (const p of paths) { p.dispatchEvent(new MouseEvent('click', {bubbles:true, clientX:300, clientY:300}));
        if (document.querySelector('.mapbox').dataset.picked === id) return; } }""", last.get_attribute('data-id'))
    assert 'picked' in last.get_attribute('class')
    assert last.evaluate("r => { const a = r.getBoundingClientRect(), f = r.closest('.scroll').getBoundingClientRect(); return a.top >= f.top && a.bottom <= f.bottom + 2; }")

@browser_test
def test_keyboard_alone_reaches_a_finding(tab):
    button = tab.locator('#findings tbody tr').first.locator('button.go')
    button.focus()
    tab.keyboard.press('Enter')
    tab.wait_for_selector('.leaflet-popup-content')
    assert tab.locator('#findings tbody tr').first.get_attribute('class') == 'picked'

@browser_test
def test_both_languages(tab):
    heading = tab.locator('h2#findings-heading, h2').first
    assert 'Findings' in tab.locator('main').inner_text() and '问题图斑' not in tab.locator('h2').first.inner_text()
    tab.locator('[data-set-lang=zh]').click()
    assert heading.inner_text().strip()=='问题图斑' and '存在缺陷' in tab.locator('h1').inner_text()
    assert tab.evaluate('document.documentElement.lang') == 'zh-CN' and '质量检查报告' in tab.title()
    tab.locator('[data-set-lang=en]').click()
    assert heading.inner_text().strip() == 'Findings'

ENGLISH = """() => { const said = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) { const text = walk.currentNode.textContent.trim(), box = walk.currentNode.parentElement;
        if (/[a-z]{2,} [a-z]{2,} [a-z]{2,}/i.test(text) && box.checkVisibility() && !box.closest('script, style, pre, code, .scene, span[lang=en]')) said.push(text); }
    return said; }"""

@browser_test
def test_the_chinese_page_speaks_chinese(tab):
    "No sentence stays English: reasons, ground that was not inspected, stages, what a person checks"
    assert len(tab.evaluate(ENGLISH))>10
    tab.locator('[data-set-lang=zh]').click()
    assert tab.evaluate(ENGLISH)==[]
    gaps = tab.locator('#gaps ~ * td:visible').all_inner_texts()
    assert '未检查' in gaps and '3.1% 无法解码' in gaps

@browser_test
def test_whose_severity_it_is_stands_below_the_table(tab):
    "A letter belongs to the whole defect in the scene, and the page says so where it is read"
    note = tab.locator('.tableside .note')
    assert 'Severity is that of the whole defect' in note.inner_text()
    tab.locator('[data-set-lang=zh]').click()
    assert '并非单个图斑的等级' in note.inner_text()

@browser_test
def test_sorting(tab):
    values = lambda: tab.eval_on_selector_all('#findings tbody tr td:nth-child(5)', 'cells => cells.map(c => +c.dataset.v)')
    button = tab.locator('#findings thead th').nth(4).locator('button')
    button.click()
    assert values()==sorted(values(), reverse=True) and tab.locator('th[aria-sort=descending]').count()==1
    button.click()
    assert values() == sorted(values())

@browser_test
def test_switches_hide_a_defect_and_dim_the_mask(tab):
    paths, rows = (tab.locator(s) for s in ('.mapbox path.leaflet-interactive', '#findings tbody tr:visible'))
    before = paths.count(), rows.count()
    tab.locator('input[data-defect=cloud]').uncheck()
    gone = tab.locator('#findings tr[data-defect=cloud]').count()
    assert gone>0 and (paths.count(), rows.count()) == (before[0]-gone, before[1]-gone)
    tab.locator('[data-opacity=mask]').fill('0.8')
    assert tab.evaluate("document.querySelector('.mask-layer').style.opacity") == '0.8'

@browser_test
def test_confidence_hides_what_is_unsure(tab):
    paths, rows = (tab.locator(s) for s in ('.mapbox path.leaflet-interactive', '#findings tbody tr:visible'))
    sure = tab.eval_on_selector_all('#findings tbody tr', 'rows => rows.map(r => +r.dataset.sure)')
    tab.locator('[data-least]').fill('0.75')
    left = sum(s>=.75 for s in sure)
    assert 0<left<len(sure) and (paths.count(), rows.count())==(left, left) and tab.locator('output.least').inner_text()=='75 %'
    tab.locator('input[data-defect=cloud]').uncheck()
    assert rows.count()==paths.count()<=left and not tab.locator('#findings tr[data-defect=cloud]:visible').count()
    tab.locator('[data-least]').fill('0')
    tab.locator('input[data-defect=cloud]').check()
    assert (paths.count(), rows.count())==(len(sure),)*2

@browser_test
@pytest.mark.parametrize('width', [800, 1280])
def test_nothing_runs_over_the_edge(tab, width):
    for lang in 'en', 'zh':
        tab.set_viewport_size(dict(width=width, height=900))
        tab.locator(f'[data-set-lang={lang}]').click()
        assert tab.evaluate('document.documentElement.scrollWidth')<=width

@browser_test
def test_the_boxes_to_be_signed(folder, spare, browser):
    "Names are filled in and escaped; the list of what a person checks is there in both languages"
    html = report(spare, 'zh', by=Signer('王<工>', 'A & B 测绘院')).read_text(encoding='utf-8')
    assert '王&lt;工&gt;' in html and 'A &amp; B 测绘院' in html and '<工>' not in html
    assert html.count('<td class="tick">☐</td>')==2*html.count('<td class="known">')>=20
    assert 'Control and check points' in html and '控制点与检查点' in html

@browser_test
def test_pdf(browser, spare, monkeypatch):
    "A PDF of A4 pages under two megabytes; refused in one line where nothing prints it"
    from rsqi.cli import main
    paper = pdf(report(spare))
    data = paper.read_bytes()
    assert data.startswith(b'%PDF') and paper==spare/'report.pdf' and len(data)<2e6 and len(re.findall(rb'/Type\s*/Page\b', data))>=2
    assert {p.name for p in spare.iterdir() if p.name.startswith('.')}==set()
    monkeypatch.setenv('CHROMIUM', '/nonexistent')
    with pytest.raises(ReportError, match='set CHROMIUM to its path, or print report.html'): pdf(spare/'report.html')
    assert main(['report', str(spare), '--pdf'])==2

@browser_test
def test_it_reads_without_javascript(browser, page):
    context = browser.new_context(java_script_enabled=False, viewport=dict(width=1440, height=900))
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator('#findings tbody tr').last.is_visible() and tab.locator('#quicklook').is_visible()
    assert not tab.locator('.mapside').is_visible() and tab.locator('.signoff').is_visible()
    assert tab.evaluate("(f => f.scrollHeight <= f.clientHeight + 1)(document.querySelector('.tableside .scroll'))"), 'rows are cut off'
    context.close()

@browser_test
def test_it_prints(tab, tmp_path):
    tab.emulate_media(media='print')
    assert tab.locator('#quicklook').is_visible() and tab.locator('.pin').count()>10
    assert not tab.locator('.mapside').is_visible() and not tab.locator('nav').is_visible()
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert len(tab.pdf(format='A4', print_background=True)) > 50_000

@browser_test
def test_it_fits_a_telephone(tab):
    tab.set_viewport_size(dict(width=390, height=800))
    assert tab.evaluate('document.documentElement.scrollWidth') <= 390

# --- every kind

def kinds(tmp_path):
    "Yield the page of a dataset and of a benchmark, each with a name in it that would like to be markup"
    import numpy as np
    from PIL import Image
    from rsqi.benchmark import Tally, save_quality
    from rsqi.cli import main
    blocks, measured = tmp_path/'blocks', tmp_path/'<i>measured'
    blocks.mkdir()
    rng = np.random.default_rng(0)
    for n in range(2): Image.fromarray(rng.integers(0, 255, (64,64,3), dtype=np.uint8)).save(blocks/f'{n}.png')
    (blocks/'train.json').write_text('\n'.join(json.dumps(dict(image=f'{n}.png', cate_ids=[n], caption='<b>云')) for n in range(2)), encoding='utf-8')
    (blocks/'manifest.json').write_text('{"problems": []}', encoding='utf-8')
    tally, two = Tally(), np.full(10, 2)
    tally.rows = [dict(place='a', clean=c, labels=np.stack([two, two*0, two]), exact=1, known=1, region=np.eye(7, dtype=int), pixel=np.array([[4,0,0]]*2), alarm=c) for c in (False, True)]
    save_quality(tally, measured, model='<b>mine', fusion='absolute', split='test', each=1)
    for dir,page in (blocks, 'audit.html'), (measured, 'report.html'):
        assert main(['report', str(dir), '--inspector', '<王>'])==0
        yield dir/page

@browser_test
def test_datasets_and_benchmarks_have_reports_as_well(browser, tmp_path):
    "One file that asks for nothing, in two languages, on paper too; nothing a file says is believed"
    for page in kinds(tmp_path):
        html, wrong = page.read_text(encoding='utf-8'), []
        assert '&lt;王&gt;' in html and not re.search('<王>|<b>云|<b>mine|<i>measured', html) and len(html)<1e6
        context = browser.new_context(offline=True, viewport=dict(width=1280, height=900))
        tab = context.new_page()
        tab.on('request', lambda r: r.url.startswith(('data:','blob:')) or r.url==page.as_uri() or wrong.append(r.url))
        tab.on('console', lambda m: m.type in ('error','warning') and wrong.append(m.text))
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.goto(page.as_uri())
        first = tab.locator('h2').first
        english = first.inner_text()
        tab.locator('[data-set-lang=zh]').click()
        assert first.inner_text()!=english and tab.evaluate('document.documentElement.lang')=='zh-CN'
        tab.emulate_media(media='print')
        assert tab.locator('.signoff').is_visible() and not tab.locator('nav').is_visible()
        assert tab.evaluate('document.documentElement.scrollWidth')<=1280 and wrong==[]
        context.close()

# --- scenes of which a part was read, or nothing

def told(folder, **changes):
    "The folder with other facts in its verdict and of its scene"
    file = folder/'inspection.json'
    facts = json.loads(file.read_text(encoding='utf-8'))
    for part,more in changes.items(): facts[part] |= more
    file.write_text(json.dumps(facts), encoding='utf-8')
    return Inspection.load(folder)

def test_valid_ground_means_one_thing(spare):
    "Of a scene that was read in part the pixels with a verdict are ground inspected, not all that is valid; a part never reads as the whole"
    i = told(spare, verdict=dict(inspected_share=.0556), scene=dict(valid_pixels=60048))
    page = ''.join(str(part(i).data) for part in (sections.facts, sections.classes, sections.checklist))
    both = lambda en, zh: f'<span data-lang="en">{en}</span><span data-lang="zh" lang="zh-CN">{zh}</span>'
    assert both('Ground inspected', '已检查区域') in page and both('Pixels inspected', '已检查像素') in page
    assert 'Valid ground' not in page and 'Ground inspected' in page and 'Share of ground inspected' in page and 'of it valid' not in page
    import pandas as pd
    blocks = pd.read_parquet(i.dir/'blocks.parquet')
    blocks.assign(state='inspected').to_parquet(i.dir/'blocks.parquet')
    assert 'partly inspected' in str(sections.gaps(i).data) and '部分检查' in str(sections.gaps(i).data)
    assert 'Valid ground' in str(sections.facts(told(spare, verdict=dict(inspected_share=1.))).data)
    assert [percent(s) for s in (0, .0556, .99996, 1)]==['0 %', '5.56 %', '> 99.9 %', '100 %']

def test_a_finding_beside_lost_ground_has_its_picture(tmp_path):
    "... of what can be read, also where its margin reaches into what cannot"
    import numpy as np, rasterio, shapely
    from types import SimpleNamespace
    from rsqi.inspection import _pictures
    from rsqi.scene import Scene
    image = np.random.default_rng(0).integers(1, 255, (3,512,512), np.uint8)
    with rasterio.open(tmp_path/'cut.tif', 'w', driver='GTiff', height=512, width=512, count=3, dtype='uint8', tiled=True, blockxsize=256, blockysize=256) as d: d.write(image)
    data = (tmp_path/'cut.tif').read_bytes()
    (tmp_path/'cut.tif').write_bytes(data[:len(data)//3])
    place = lambda id, *box: SimpleNamespace(id=id, deduction=1, area_px=9, bbox=(box[1],box[0],box[3],box[2]), polygon=shapely.box(*box))
    with Scene.open(tmp_path/'cut.tif') as scene: _pictures(tmp_path, scene, [place(1, 200, 10, 250, 60), place(2, 400, 400, 450, 450)])
    assert [p.name for p in (tmp_path/'thumbnails').iterdir()]==['1.webp']

def test_the_map_shows_what_was_not_inspected_and_no_more(tmp_path):
    "... though it lies in blocks that were inspected in part, and the large one covers all"
    import cv2, numpy as np
    from rsqi.pipeline import inspect_scene
    ground = np.random.default_rng(0).integers(60, 120, (640,560,3), dtype=np.uint8)
    data = cv2.imencode('.jpg', cv2.GaussianBlur(ground, (0,0), 2))[1].tobytes()
    (tmp_path/'cut.jpg').write_bytes(data[:len(data)//2])
    i = inspect_scene(tmp_path/'cut.jpg', tmp_path/'o')
    rings, share = sections.gap_outlines(i), i.verdict['inspected_share']
    assert .3<share<.7 and len(rings)==1 and len(rings[0])==1
    y, x = np.array(rings[0][0]).T
    assert abs(y.min()/640-share)<.02 and (y.max(), x.min(), x.max())==(640,0,560)
    assert '"gap-blocks">[[[' in str(sections.findings(i).data)

def test_a_scene_without_ground_is_not_incomplete(tmp_path):
    "Nothing was left out, for there was nothing to look at"
    verdict = dict(outcome='NOT_INSPECTED', score=None, grade=None, grade_zh=None, reasons=['There is no ground to judge'], reasons_zh=['没有可检查的有效区域'],
                   inspected_share=1., review=False, score_interval=None)
    i = told(write_folder(tmp_path/'black', 0, verdict=verdict), scene=dict(valid_pixels=0))
    (i.dir/'blocks.parquet').unlink()
    page = ''.join(str(part(i).data) for part in (sections.verdict, sections.findings, sections.gaps))
    assert 'Nothing to inspect' in page and '没有可检查的区域' in page and 'There is no ground to inspect.' in page
    assert 'incomplete' not in page and '100 %' not in page and 'All valid ground' not in page and 'Nothing was found' not in page

def test_a_grade_that_passes_says_so_beside_the_defects(spare):
    "... and the classes, the units and the grades are explained below the table"
    assert 'Passes, with defects' in str(sections.verdict(told(spare, verdict=dict(inspected_share=1.))).data)
    assert 'Passes' not in str(sections.verdict(told(spare, verdict=dict(inspected_share=.94))).data)
    legend = str(sections.classes(told(spare)).data)
    for words in 'A is the gravest, D the slightest', 'fails the scene', 'Excellent from 90', '优 90 分', 'difference in colour', '色差': assert words in legend
    assert 'fails the scene' not in str(sections.classes(told(spare, policy=dict(name='area_linear'))).data)

@browser_test
@pytest.mark.parametrize('width', [1120, 1200, 1280])
def test_the_table_of_findings_is_as_wide_as_its_frame(tab, width):
    tab.set_viewport_size(dict(width=width, height=900))
    assert tab.locator('.tableside .scroll').evaluate('e => e.scrollWidth<=e.clientWidth')

def test_an_inspection_is_told_in_a_line(spare):
    "Outside Jupyter too, without the numbers of every finding"
    i = told(spare, verdict=dict(score=0.))
    assert repr(i)==f'Inspection({str(i.dir)!r}: DEFECT  score 0.0  QUALIFIED  {len(i.findings)} findings)'
