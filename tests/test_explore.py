"The explorers in a real JupyterLab in headless Chromium: what is clicked, dragged and typed does what it says, and nothing is asked of any network."
import json, os, re, shutil, socket, subprocess, sys, time, urllib.request
from pathlib import Path
import pytest

QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1']
ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.browser

@pytest.fixture(scope='module')
def chromium():
    pytest.importorskip('jupyterlab', reason='jupyterlab is not installed')
    pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    found = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not found: pytest.skip('no chromium on this machine; set CHROMIUM to its path')
    return found

@pytest.fixture(scope='module')
def work(chromium, tmp_path_factory):
    "A folder with a scene, two inspections of it, painted pictures, and notebooks that show them"
    from rsqi.cli import sample_scene
    from rsqi.config import Config
    from rsqi.pipeline import inspect_scene
    folder = tmp_path_factory.mktemp('work')
    shutil.copy(sample_scene(), folder/'影像.tif')
    mild = re.sub(r'weight *= *[\d.]+', 'weight = 0.5', (ROOT/'rsqi/policies/area_linear.toml').read_text(encoding='utf-8'))
    (folder/'mild.toml').write_text(mild, encoding='utf-8') # so that the score is not 0 whatever is said
    inspect_scene(folder/'影像.tif', folder/'影像.rsqi', Config(keep_logits=True, policy=folder/'mild.toml'))
    model = "class Parrot:\n    name = '<i>模型</i>'\n    def see(self, images): return images\n    def say(self, *asked, **more): return ['否,没有<b>阴影</b>。']\n"
    other_opinion(folder)
    painted(folder/'painted')
    cells = [model+"from rsqi import explore\nreview = explore('影像.rsqi', who='王', model=Parrot())\nreview", "from rsqi.explore import tune\nknobs = tune('影像.rsqi')\nknobs",
             "from rsqi import view\nview('再看.rsqi', before='影像.rsqi', scene='影像.tif', height=420)", "from rsqi import gallery\ngallery('painted', by='李')"]
    notebook(folder/'看.ipynb', cells)
    notebook(folder/'页.ipynb', ["from rsqi import explore\nexplore('影像.rsqi', corrections='voila.jsonl', who='赵')"])
    return folder

def notebook(path, cells):
    import nbformat
    kernel = dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'))
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel), path)

def other_opinion(folder):
    "The same scene without its largest finding"
    from rsqi.corrections import Corrections, correct
    from rsqi.inspection import Inspection
    found = Inspection.load(folder/'影像.rsqi')
    said = Corrections(folder/'other.jsonl', found.scene['sha256'], '钱')
    said.say('reject', max(found.findings, key=lambda f: f['area_px'])['id'])
    correct(found, said, folder/'再看.rsqi')

def painted(folder, n=7):
    "Pictures as `rsqi augment generate` leaves them, two of them ranked"
    import cv2, numpy as np
    from rsqi.curate import Mark
    rng = np.random.default_rng(0)
    (folder/'cloud').mkdir(parents=True)
    for i in range(n):
        image, mask = rng.integers(60, 120, (128,128,3)).astype(np.uint8), np.zeros((128,128), np.uint8)
        cv2.circle(mask, (30+12*i, 60), 26, 1, -1)
        image[mask>0] = 235
        cv2.imwrite(str(folder/f'cloud/{i:05d}.png'), image); cv2.imwrite(str(folder/f'cloud/{i:05d}-mask.png'), mask)
        (folder/f'cloud/{i:05d}.json').write_text(json.dumps(dict(id=f'cloud/{i:05d}', defect='cloud', mask=True)))
    marks = [Mark(f'cloud/{i:05d}', .9-.1*k, 1., 1., '', .8-.1*k) for k,i in enumerate((5, 2))]
    (folder/'ranks.json').write_text(json.dumps([m._asdict() for m in marks]))

@pytest.fixture(scope='module')
def lab(work, tmp_path_factory):
    "The address of a JupyterLab of its own, with settings, caches and kernels of its own"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    tmp = tmp_path_factory.mktemp('jupyter')
    env = os.environ | {f'JUPYTER_{k}_DIR': str(tmp/k.lower()) for k in ('CONFIG','DATA','RUNTIME')}
    env |= dict(JUPYTERLAB_WORKSPACES_DIR=str(tmp/'ws'), JUPYTERLAB_SETTINGS_DIR=str(tmp/'set'), RSQI_CACHE=str(tmp/'cache'), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    news = tmp/'set/@jupyterlab/apputils-extension'
    news.mkdir(parents=True)
    (news/'notification.jupyterlab-settings').write_text('{"fetchNews":"false","checkForUpdates":false}')
    argv = [sys.executable, '-m', 'jupyterlab', '--allow-root', '--no-browser', f'--port={port}', '--ServerApp.port_retries=0',
            '--IdentityProvider.token=t', f'--ServerApp.root_dir={work}', '--LabApp.expose_app_in_browser=True']
    with open(tmp/'log', 'w') as log: server = subprocess.Popen(argv, env=env, stdout=log, stderr=subprocess.STDOUT)
    url = f'http://127.0.0.1:{port}'
    for _ in range(480):
        try: urllib.request.urlopen(f'{url}/api?token=t', timeout=1); break
        except OSError: time.sleep(.25)
        assert server.poll() is None, (tmp/'log').read_text()
    yield url
    server.terminate()
    server.wait(20)

@pytest.fixture(scope='module')
def browser(chromium):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()

@pytest.fixture(scope='module')
def tab(browser, lab):
    "The notebook after Run All; in the end nothing was asked of the network and nothing went wrong"
    wrong = []
    tab = browser.new_page(viewport=dict(width=1500, height=2800))
    ours = lab, lab.replace('http', 'ws'), 'data:', 'blob:'
    tab.on('request', lambda r: r.url.startswith(ours) or wrong.append(r.url))
    tab.on('console', lambda m: m.type=='error' and wrong.append(m.text))
    tab.on('pageerror', lambda e: wrong.append(str(e)))
    tab.set_default_timeout(60_000)
    tab.goto(f'{lab}/lab/tree/看.ipynb?reset&token=t')
    tab.wait_for_selector('.jp-Notebook .jp-Cell')
    tab.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status=='idle'")
    tab.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    tab.wait_for_function("document.querySelectorAll('.rsqi-viewer').length==3 && document.querySelector('.rsqi-gallery') || document.querySelector('[data-mime-type=\"application/vnd.jupyter.error\"]')")
    assert not tab.locator('[data-mime-type="application/vnd.jupyter.error"]').count(), tab.locator('.jp-OutputArea').first.inner_text()
    yield tab
    tab.close()
    assert wrong == []

def shot(tab, name):
    "Leave a picture where somebody wants to look at some."
    if where := os.environ.get('RSQI_SHOTS'): tab.screenshot(path=f'{where}/{name}.png')

def told(tab, which, n): return tab.evaluate(f"({{...document.querySelectorAll('{which}')[{n}].dataset}})")
def until(tab, which, n, test): tab.wait_for_function(f"(d => {test})(document.querySelectorAll('{which}')[{n}]?.dataset || {{}})")

def test_the_scene_is_seen_and_moves(tab):
    until(tab, '.rsqi-viewer', 0, "d.fill && +d.tiles>0 && d.pending=='0'")
    view, before = tab.locator('.rsqi-viewer').first, told(tab, '.rsqi-viewer', 0)
    view.scroll_into_view_if_needed()
    first, box = view.screenshot(), view.bounding_box()
    tab.mouse.move(box['x']+300, box['y']+300)
    for _ in range(3): tab.mouse.wheel(0, -240)
    until(tab, '.rsqi-viewer', 0, f"+d.scale>{before['scale']}*3 && +d.fills>{before['fills']} && d.pending=='0'")
    near = view.screenshot()
    tab.mouse.down()
    tab.mouse.move(box['x']+180, box['y']+240, steps=5)
    tab.mouse.up()
    tab.wait_for_timeout(600)
    assert len({first, near, view.screenshot()})==3
    assert view.locator('.rsqi-place').inner_text().startswith('x ') and view.locator('.rsqi-scale').inner_text().strip()

def test_rejecting_changes_file_score_and_picture(tab, work):
    panel, saved = tab.locator('.rsqi-panel').first, work/'影像.rsqi.corrections.jsonl'
    score = float(told(tab, '.rsqi-panel', 0)['score'])
    panel.locator('.row').first.click()
    until(tab, '.rsqi-viewer', 0, 'd.selected')
    id = told(tab, '.rsqi-viewer', 0)['selected']
    tab.keyboard.press('r')                                              # the list was drawn anew, and the key still is ours
    panel.locator(f'.row[data-id="{id}"][data-state=rejected]').wait_for()
    line = json.loads(saved.read_text(encoding='utf-8').splitlines()[-1])
    assert (line['who'], line['action'], str(line['finding']))==('王', 'reject', id)
    until(tab, '.rsqi-panel', 0, f"+d.score>{score}")
    panel.locator('[data-action=undo]').click()
    until(tab, '.rsqi-panel', 0, f"+d.score=={score}")
    assert json.loads(saved.read_text(encoding='utf-8').splitlines()[-1])['action']=='undo'

def test_what_was_missed_is_drawn(tab, work):
    panel, box = tab.locator('.rsqi-panel').first, tab.locator('.rsqi-viewer').first.bounding_box()
    panel.locator('[data-action=draw]').select_option('cloud')
    tab.wait_for_selector('.rsqi-note:not([hidden])')
    for x,y in ((200,200), (300,200), (300,300)): tab.mouse.click(box['x']+x, box['y']+y)
    tab.locator('.rsqi-viewer').first.focus()
    tab.keyboard.press('Enter')
    panel.locator('.row[data-state=added]').wait_for()
    added = json.loads((work/'影像.rsqi.corrections.jsonl').read_text(encoding='utf-8').splitlines()[-1])
    assert added['after']['defect']=='cloud' and added['after']['outline'].startswith('POLYGON')

def test_an_answer_points_to_the_picture(tab):
    panel = tab.locator('.rsqi-panel').first
    panel.locator('.row').last.click()
    panel.locator('[data-tab=ask]').click()
    panel.locator('form input').fill('有阴影吗？')
    tab.keyboard.press('Enter')
    cite = panel.locator('.cite').first
    cite.wait_for()
    before, number = told(tab, '.rsqi-viewer', 0), cite.get_attribute('data-cite')
    assert before['selected']!=number
    cite.click()
    until(tab, '.rsqi-viewer', 0, f"d.selected=='{number}' && +d.drawn>{before['drawn']}")
    said = panel.locator('.said[data-model=disputed]')                   # the model under it, in its own time; its words stay words
    said.wait_for()
    assert all(w in said.inner_text() for w in ('<i>模型</i>', '<b>阴影</b>')) and said.locator('li').count()==2
    if shots := os.environ.get('RSQI_SHOTS'): panel.screenshot(path=f'{shots}/ask.png')
    panel.locator('[data-tab=findings]').click()

def test_a_report_of_what_people_left(tab, work):
    tab.locator('.rsqi-panel').first.locator('[data-action=report]').click()
    tab.wait_for_function("document.querySelector('.rsqi-panel .status').textContent.startsWith('report: ')")
    page = (work/'影像.corrected.rsqi/report.html').read_text(encoding='utf-8')
    assert 'reviewed by a person' in page

def test_a_slider_moves_the_score(tab):
    tab.locator('.rsqi-viewer').nth(1).scroll_into_view_if_needed()
    until(tab, '.rsqi-panel', 1, "+d.listed>0 && d.busy=='0'")
    until(tab, '.rsqi-viewer', 1, "d.fill && d.pending=='0'")
    score, version = float(told(tab, '.rsqi-panel', 1)['score']), int(told(tab, '.rsqi-viewer', 1)['version'])
    slider = tab.locator('[data-control=sure]').first
    slider.focus()
    slider.press('End')
    until(tab, '.rsqi-viewer', 1, f"+d.version>{version} && d.pending=='0'")       # the view at once,
    until(tab, '.rsqi-panel', 1, f"+d.score>{score} && d.busy=='0'")               # the score of the whole scene after it
    slider.press('Home')
    until(tab, '.rsqi-panel', 1, f"+d.score=={score} && d.busy=='0'")

def in_kernel(tab, code):
    "Run code where the notebook runs; return how that ended"
    return tab.evaluate("code => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.requestExecute({code}).done.then(r => r.content.status)", code)

def test_a_cell_moves_the_sliders(tab):
    groups, alpha, blur = tab.locator('.rsqi-panel').nth(1).locator('details'), tab.locator('[data-control=alpha]').first, tab.locator('[data-control="sure.blur"]').first
    before = alpha.input_value()
    groups.first.locator('summary').click()                                         # what somebody has opened stays open
    assert in_kernel(tab, "knobs.choose(alpha=2.5, sure=dict(blur=.5))")=='ok'
    tab.wait_for_function("document.querySelector('[data-control=alpha]').value=='2.5'")
    assert float(blur.input_value())==.5 and groups.first.evaluate('d => d.open')
    shot(tab, 'tune')
    alpha.focus()
    alpha.press('ArrowRight')                                                       # moved by hand, taken back in a cell
    until(tab, '.rsqi-panel', 1, "d.busy=='0'")
    assert in_kernel(tab, "knobs.choose(alpha=None, sure=None)")=='ok'
    tab.wait_for_function(f"document.querySelector('[data-control=alpha]').value=='{before}'")
    groups.first.locator('summary').click()

def test_a_handle_sweeps_over_two_inspections(tab):
    "What only one of them found is seen on its side alone."
    view = tab.locator('.rsqi-viewer').nth(2)
    view.scroll_into_view_if_needed()
    until(tab, '.rsqi-viewer', 2, "d.fill && d.pending=='0'")
    handle, box, before = view.locator('.rsqi-swipe'), view.bounding_box(), view.screenshot()
    assert '再看.rsqi' in view.inner_text() and '影像.rsqi' in view.inner_text()
    at = handle.bounding_box()
    for share in .1, .9:
        now = handle.bounding_box()
        drawn = told(tab, '.rsqi-viewer', 2)['drawn']
        tab.mouse.move(now['x']+now['width']/2, now['y']+now['height']/2)
        tab.mouse.down()
        tab.mouse.move(box['x']+share*box['width'], now['y']+now['height']/2, steps=6)
        tab.mouse.up()
        until(tab, '.rsqi-viewer', 2, f"+d.drawn>{drawn} && d.pending=='0'")
        after = view.screenshot()
        assert after!=before and abs(handle.bounding_box()['x']+at['width']/2-box['x']-share*box['width'])<12
        before = after
    shot(tab, 'swipe')

def test_a_gallery_by_keyboard(tab, work):
    "Accept, reject and undo by key; each decision is in the file with its name before the next picture."
    wall = tab.locator('.rsqi-gallery')
    wall.scroll_into_view_if_needed()
    until(tab, '.rsqi-gallery', 0, "d.fetched=='7' && d.listed=='7' && d.open=='7'")
    decided = lambda: {k: (v['accepted'], v['by']) for k,v in json.loads((work/'painted/decisions.json').read_text(encoding='utf-8')).items()}
    wall.locator('.card').first.click()
    assert told(tab, '.rsqi-gallery', 0)['picked']=='cloud/00005'                       # the likeliest comes first
    tab.keyboard.press('a')
    until(tab, '.rsqi-gallery', 0, "d.accepted=='1' && d.picked=='cloud/00002'")        # and the next is picked
    tab.keyboard.press('r')
    until(tab, '.rsqi-gallery', 0, "d.rejected=='1'")
    assert decided()=={'cloud/00005': (True,'李'), 'cloud/00002': (False,'李')}
    tab.keyboard.press('u')
    until(tab, '.rsqi-gallery', 0, "d.rejected=='0' && d.picked=='cloud/00002'")
    assert decided()=={'cloud/00005': (True,'李')}
    tab.keyboard.press('ArrowRight')
    until(tab, '.rsqi-gallery', 0, "d.picked=='cloud/00000'")
    tab.keyboard.press('Enter')
    until(tab, '.rsqi-gallery', 0, "d.large=='cloud/00000'")
    shot(tab, 'gallery-large')
    tab.keyboard.press('Escape')
    with_line = wall.locator('.card').first.screenshot()
    tab.keyboard.press('m')
    until(tab, '.rsqi-gallery', 0, "d.fetched=='14'")
    assert wall.locator('.card').first.screenshot()!=with_line
    wall.locator('[data-filter=state]').select_option('accepted')
    until(tab, '.rsqi-gallery', 0, "d.listed=='1'")
    wall.locator('[data-filter=state]').select_option('all')
    shot(tab, 'gallery')

def test_the_explorer_under_voila(browser, work, tmp_path):
    "The same widgets on a page without code; only Voilà's own template asks for anything, and is refused."
    pytest.importorskip('voila', reason="voila is not installed: pip install 'rsqi[app]'")
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = os.environ | {f'JUPYTER_{k}_DIR': str(tmp_path/k.lower()) for k in ('CONFIG','DATA','RUNTIME')} | dict(RSQI_CACHE=str(tmp_path/'cache'), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    argv = [sys.executable, '-m', 'voila', str(work/'页.ipynb'), '--no-browser', f'--port={port}', '--Voila.ip=127.0.0.1']
    with open(tmp_path/'log', 'w') as log: server = subprocess.Popen(argv, env=env, cwd=work, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(480):
            try: socket.create_connection(('127.0.0.1', port), 1).close(); break
            except OSError: time.sleep(.25)
            assert server.poll() is None, (tmp_path/'log').read_text()
        tab, wrong = browser.new_page(viewport=dict(width=1400, height=900)), []
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.on('request', lambda r: r.url.startswith((f'http://127.0.0.1:{port}', f'ws://127.0.0.1:{port}', 'data:', 'blob:')) or 'font' in r.url or wrong.append(r.url))
        tab.set_default_timeout(90_000)
        tab.goto(f'http://127.0.0.1:{port}/')
        until(tab, '.rsqi-viewer', 0, "d.fill && +d.tiles>0 && d.pending=='0'")
        panel = tab.locator('.rsqi-panel')
        panel.locator('.row').first.click()
        until(tab, '.rsqi-viewer', 0, 'd.selected')
        tab.keyboard.press('r')
        panel.locator('.row[data-state=rejected]').wait_for()
        shot(tab, 'voila')
        tab.close()
        line = json.loads((work/'voila.jsonl').read_text(encoding='utf-8').splitlines()[-1])
        assert (line['who'], line['action'])==('赵', 'reject') and not wrong
    finally:
        server.terminate()
        server.wait(20)
