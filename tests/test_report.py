"The report of an inspection: one file, no request, two languages, map and table linked, and nothing a file says is believed."
import json, os, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, pytest
from inspection_folder import write_folder
from rsqi.inspection import Inspection
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
