"Many scenes: what is named, skipped, resumed, refused and written, here and on a cluster whose workers die."
import csv, errno, json, os, re, shutil, signal, subprocess, sys, threading, time
from pathlib import Path
import numpy as np, pyarrow.parquet as pq, pyogrio, pytest
from conftest import land, read, write
from inspection_folder import write_folder
from test_cli import PLACED, refused, rsqi_  # noqa: F401 (a fixture)
import rsqi.batch, rsqi.pipeline
from rsqi.batch import Manner, run_batch
from rsqi.config import Config
from rsqi.ledger import COLUMNS, Job, Ledger

WRITE_PAGE = rsqi.batch.write_page

@pytest.fixture(autouse=True)
def light_pages(monkeypatch):
    "A page takes a kernel and two seconds; most of these tests do not look at it."
    monkeypatch.setattr(rsqi.batch, 'write_page', lambda dir, lang='en': (dir/'report.html').write_text('a page'))

@pytest.fixture(scope='module')
def config(model): return Config(sizes=(64,256), model=str(model))

@pytest.fixture(scope='module')
def fine(tmp_path_factory):
    path = tmp_path_factory.mktemp('config')/'fine.toml'
    path.write_text('sizes = [64, 256]\n')
    return path

@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    "Three scenes, two of one name, one without coordinates; and a file that is none."
    home = tmp_path_factory.mktemp('scenes')
    (home/'东').mkdir()
    write(home/'a.tif', land(150, 200), **PLACED)
    write(home/'东'/'A.tif', land(160, 130, seed=2))
    write(home/'=b.tif', land(100, 170, seed=3), nodata=7, crs='EPSG:4490', transform=PLACED['transform'].translation(106,26) @ PLACED['transform'].scale(1e-5,-1e-5))
    (home/'none.tif').write_text('no image')
    return home

@pytest.fixture
def batch(rsqi_, model, fine):
    "Run `rsqi batch` with the untrained model, without reports and progress."
    return lambda *argv: rsqi_('batch', *argv, '--model', model, '--config', fine, '--no-report', '--quiet')

def table(out):
    with open(out/'summary.csv', encoding='utf-8-sig', newline='') as f: return list(csv.DictReader(f))

def same(a, b):
    "Two folders hold the same inspection."
    for name in 'mask.tif', 'confidence.tif', 'blocks.parquet', 'quicklook.webp': assert (a/name).read_bytes()==(b/name).read_bytes(), name
    one, two = (json.loads((p/'inspection.json').read_text(encoding='utf-8')) for p in (a, b))
    assert {**one, 'timings':0}=={**two, 'timings':0}

# What a batch leaves

@pytest.fixture(scope='module')
def finished(scenes, config, tmp_path_factory):
    out = tmp_path_factory.mktemp('finished')/'out'
    rows = [*run_batch([scenes], out, config, Manner(reports=False))]
    return out, rows

def test_every_scene_has_a_folder_and_a_row(finished, scenes):
    out, rows = finished
    assert {r['folder'] for r in rows}=={'=b.rsqi','A.rsqi','a_2.rsqi','none.rsqi'}  # capitals are no difference to every disk
    told = table(out)
    assert list(told[0])==list(COLUMNS) and told[0]['state']=='failed' and 'cannot be opened' in told[0]['error'] and str(scenes) not in told[0]['error']
    assert {r['scene'] for r in told}=={"'=b.tif",'a.tif','A.tif','none.tif'}  # no spreadsheet takes a name for a formula
    exact = pq.read_table(out/'summary.parquet').to_pylist()
    assert [r['scene'].lstrip("'") for r in told]==[r['scene'] for r in exact]
    for r in exact:
        if r['state']!='done': continue
        found = json.loads((out/r['folder']/'inspection.json').read_text(encoding='utf-8'))
        assert (r['score'], r['findings'], r['outcome'])==(found['verdict']['score'], len(found['findings']), found['verdict']['outcome'])
        assert r['share_cloud']==found['defects']['cloud']['share'] and r['seconds']>0
        assert r['review_reasons']=='; '.join(found['verdict']['review_reasons']) and r['review_reasons_zh']=='；'.join(found['verdict']['review_reasons_zh'])
    scores = [r['score'] for r in exact if r['score'] is not None]
    assert scores==sorted(scores)

def test_footprints_lie_where_the_scenes_are(finished):
    frame = pyogrio.read_dataframe(finished[0]/'summary.gpkg', layer='scenes').set_index('scene')
    assert frame.crs.to_epsg()==4326 and frame.loc['A.tif'].geometry is None and frame.loc['none.tif'].geometry is None
    assert np.allclose(frame.loc['=b.tif'].geometry.bounds, (106, 26-.001, 106+.0017, 26), atol=1e-6)
    assert frame.loc['a.tif'].geometry.is_valid and 104.9<frame.loc['a.tif'].geometry.centroid.x<105.1
    assert frame.loc['a.tif'].score==next(float(r['score']) for r in table(finished[0]) if r['scene']=='a.tif')

def test_the_page_says_why_scenes_should_be_looked_at_again(tmp_path, config, monkeypatch):
    "... all of those that the headline counts, also one that was not inspected whole"
    write(tmp_path/'tiny.tif', land(20, 30), **PLACED)
    data = write(tmp_path/'cut.tif', land(700, 300), **PLACED).read_bytes()
    (tmp_path/'cut.tif').write_bytes(data[:len(data)*2//3])
    write(tmp_path/'large.tif', land(90, 90), **PLACED)
    monkeypatch.setattr(rsqi.batch, 'write_page', WRITE_PAGE)
    [*run_batch([tmp_path], tmp_path/'out', config, Manner(reports=False))]
    page = (tmp_path/'out/report.html').read_text(encoding='utf-8')
    told = page[page.index('id="review"'):page.index('id="defects"')]
    assert 'needs at least 64 px' in told and '边长不足 64' in told and 'of the valid ground could be inspected' in told
    assert all((f'>{r["scene"]}<' in told)==(r['review']=='True') for r in table(tmp_path/'out')) and told.count('<tr>')==1+sum(r['review']=='True' for r in table(tmp_path/'out'))

def test_nothing_else_is_left(finished):
    names = {p.name for p in finished[0].iterdir()}
    assert {n for n in names if not n.endswith('.rsqi')}=={'batch.json','summary.csv','summary.parquet','summary.gpkg','report.html'} and 'none.rsqi' not in names

def test_the_command(batch, scenes, tmp_path):
    said = batch(scenes, '--out', 'out', '--json')
    line = json.loads(said.out)
    assert (said.status, said.err, said.out.count('\n'))==(3, '', 1)
    assert (line['scenes'], line['failed'], line['unfinished'], line['CLEAN']+line['DEFECT']+line['NOT_INSPECTED'])==(4, 1, 0, 3)
    said = batch(scenes/'a.tif', '--out', 'whole')
    assert said.status==0 and said.out.startswith('1 scene: 1 ') and 'report: ' in said.out
    same(tmp_path/'whole/a.rsqi', tmp_path/'out/a_2.rsqi')

def test_ground_that_was_not_inspected_is_status_three(batch, tmp_path):
    data = write(tmp_path/'whole.tif', land(700, 300), **PLACED).read_bytes()
    (tmp_path/'cut.tif').write_bytes(data[:len(data)*2//3])
    assert batch('cut.tif', '--out', 'out').status==3 and batch('whole.tif', '--out', 'two').status==0

# Skip, resume, retry

def test_finished_scenes_are_not_read_again(batch, scenes, tmp_path, monkeypatch):
    assert batch(scenes, '--out', 'out').status==3
    before = {p: p.stat().st_mtime_ns for p in (tmp_path/'out').glob('*.rsqi/inspection.json')}
    monkeypatch.setattr(rsqi.batch, 'inspect_job', None)
    for words in [scenes], [], [scenes/'*.tif']: assert batch(*words, '--out', 'out').status==3
    assert before=={p: p.stat().st_mtime_ns for p in (tmp_path/'out').glob('*.rsqi/inspection.json')} and len(before)==3

def test_failed_scenes_wait_for_a_better_file_or_a_word(batch, tmp_path):
    (tmp_path/'a.tif').write_text('no image')
    assert batch('a.tif', '--out', 'out').status==3
    write(tmp_path/'a.tif', land(90, 90), **PLACED)
    assert batch('a.tif', '--out', 'out').status==0  # the file has changed
    (tmp_path/'b.tif').write_text('no image')
    assert batch('b.tif', '--out', 'out').status==3
    book = Ledger.load(tmp_path/'out')
    job = book.jobs[str(tmp_path/'b.tif')]
    write(tmp_path/'b.tif', land(90, 90), **PLACED)
    book.note(job.stamped())  # as if nothing had changed
    assert batch('b.tif', '--out', 'out').status==3 and batch('--out', 'out', '--retry-failed').status==0

def test_a_file_that_changed_is_not_passed_off_as_the_old(batch, tmp_path):
    write(tmp_path/'a.tif', land(90, 90), **PLACED)
    assert batch('a.tif', '--out', 'out').status==0
    write(tmp_path/'a.tif', land(90, 90, seed=5), **PLACED)
    said = batch('a.tif', '--out', 'out')
    assert said.status==3 and 'another scene' in said.out and '--overwrite' in said.out

def test_other_choices_are_refused_or_replace(batch, tmp_path):
    write(tmp_path/'a.tif', land(90, 90), **PLACED)
    assert batch('a.tif', '--out', 'out').status==0
    refused(batch('a.tif', '--out', 'out', '--t', '.3'), 'with another config', '--overwrite')
    assert batch('a.tif', '--out', 'out', '--t', '.3', '--overwrite').status==0
    assert json.loads((tmp_path/'out/a.rsqi/inspection.json').read_text())['config']['t']==.3
    refused(batch('a.tif', '--out', 'out'), 'with another config')

def test_ctrl_c_and_on(batch, scenes, finished, tmp_path, monkeypatch):
    whole, n = rsqi.pipeline.judge, []
    def stop(*args):
        n.append(1)
        if len(n)==20: raise KeyboardInterrupt
        return whole(*args)
    monkeypatch.setattr(rsqi.pipeline, 'judge', stop)
    said = batch(scenes, '--out', 'out')
    assert said==(130, '', 'rsqi: stopped; run the same command again to resume\n')
    states = [r['state'] for r in table(tmp_path/'out')]
    assert 'waiting' in states and not (tmp_path/'out/report.html').exists()
    assert batch('--out', 'out').status==3
    for job in Ledger.load(tmp_path/'out').jobs.values():
        if job.state=='done': same(tmp_path/'out'/job.folder, finished[0]/Ledger.load(finished[0]).jobs[job.source].folder)

def test_killed_and_on(scenes, model, fine, finished, tmp_path):
    argv = [sys.executable, '-c', 'import sys; from rsqi.cli import main; sys.exit(main())', 'batch', scenes, '--out', tmp_path/'out',
            '--model', model, '--config', fine, '--no-report', '--quiet', '--json']
    run = subprocess.Popen([*map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic()+120
    while not [*tmp_path.glob('out/*.rsqi/.journal/*.npz')] and run.poll() is None and time.monotonic()<until: time.sleep(.005)
    run.send_signal(signal.SIGKILL); run.communicate()
    assert 'started' in {j.state for j in Ledger.load(tmp_path/'out').jobs.values()} or run.returncode==3
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, json.loads(done.stdout)['unfinished'])==(3, '', 0)
    for job in Ledger.load(finished[0]).jobs.values():
        if job.state=='done': same(tmp_path/'out'/Ledger.load(tmp_path/'out').jobs[job.source].folder, finished[0]/job.folder)

def test_a_scene_that_kills_the_process_is_given_up(config, scenes, tmp_path):
    book = Ledger(tmp_path/'out', rsqi.batch.batch_key(config), config.to_dict())
    (tmp_path/'out').mkdir()
    book.note(book.enter([str(scenes/'a.tif')])[0]._replace(state='started', tries=2))
    row, = run_batch([], tmp_path/'out', config, Manner(reports=False))
    assert row['state']=='failed' and 'took the whole process with it' in row['error']

def test_a_bug_costs_one_scene(config, scenes, tmp_path, monkeypatch):
    whole = rsqi.batch.inspect_scene
    def buggy(source, *args): return [][1] if Path(source).name=='=b.tif' else whole(source, *args)
    monkeypatch.setattr(rsqi.batch, 'inspect_scene', buggy)
    rows = {r['scene']: r for r in run_batch([scenes/'a.tif', scenes/'=b.tif'], tmp_path/'out', config, Manner(reports=False))}
    assert rows['a.tif']['state']=='done' and rows['=b.tif']['error'].startswith('a bug: IndexError')

def test_a_full_disk_ends_the_batch_and_a_later_run_goes_on(batch, scenes, tmp_path, monkeypatch):
    def full(*_, **__): raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(rsqi.pipeline, 'finish', full)
        refused(batch(scenes, '--out', 'out'), 'No space left', 'free space', 'resume')
    assert batch(scenes, '--out', 'out').status==3 and {r['state'] for r in table(tmp_path/'out')}=={'done','failed'}

def test_reports_can_be_had_later(batch, rsqi_, model, fine, tmp_path, monkeypatch):
    monkeypatch.setattr(rsqi.batch, 'write_page', WRITE_PAGE)
    write(tmp_path/'a.tif', land(90, 90), **PLACED)
    assert batch('a.tif', '--out', 'out').status==0 and not (tmp_path/'out/a.rsqi/report.html').exists()
    assert rsqi_('batch', '--out', 'out', '--model', model, '--config', fine, '--quiet').status==0
    assert 'href="a.rsqi/report.html"' in (tmp_path/'out/report.html').read_text(encoding='utf-8') and (tmp_path/'out/a.rsqi/report.html').exists()

def written_batch(dir):
    "A batch on disk: two scenes of three grades, and one that failed"
    from inspection_folder import VERDICT
    from rsqi.score import load_policy
    dir.mkdir()
    book = Ledger(dir, dict(policy=load_policy('gbt24356_like').sha256), dict(policy='gbt24356_like', alpha='inf', bands=None))
    fair = dict(VERDICT, grade='GOOD', grade_zh='良', score=80., review=False)
    for n,verdict in enumerate((dict(VERDICT, grade='UNQUALIFIED', grade_zh='不合格', score=12.), fair)):
        write_folder(dir/f'{n}.rsqi', 5, name=f'scene_{n}.tif', verdict=verdict)
        book.note(Job(f'/x/scene_{n}.tif', f'{n}.rsqi', 'done'))
    book.note(Job('/x/broken.tif', '2.rsqi', 'failed', 'cannot be opened; copy it again'))
    return dir

@pytest.mark.browser
def test_the_page_in_a_browser_without_a_network(tmp_path):
    "Filters, sorting, both languages, paper and two widths; the lot has its verdict; no request, no error"
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    chromium = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('google-chrome')
    if not chromium: pytest.skip('no chromium on this machine; set CHROMIUM to its path')
    page = WRITE_PAGE(written_batch(tmp_path/'out'))
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND'])
        tab, wrong = browser.new_page(viewport=dict(width=1280, height=900)), []
        tab.on('request', lambda r: r.url.startswith(('data:','blob:')) or r.url==page.as_uri() or wrong.append(r.url))
        tab.on('console', lambda m: m.type in ('error','warning') and wrong.append(m.text))
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.goto(page.as_uri())
        rows = tab.locator('#scenes tbody tr:visible')
        n = rows.count()
        tab.locator('[data-find]').fill('scene_1')
        assert rows.count()==1
        tab.locator('[data-find]').fill('')
        tab.locator('input[data-state=failed]').uncheck()
        assert rows.count()==n-1
        assert 'Lot returned' in tab.locator('.lot').inner_text()
        tab.locator('#scenes thead button').nth(3).click()
        tab.locator('[data-set-lang=zh]').click()
        assert '批成果不合格' in tab.locator('.lot').inner_text() and '批量检查报告' in tab.title()
        for media,width in ('screen',1280), ('screen',800), ('print',720):
            tab.emulate_media(media=media)
            tab.set_viewport_size(dict(width=width, height=900))
            assert tab.evaluate('document.documentElement.scrollWidth')<=width
        tab.emulate_media(media='screen')
        tab.set_viewport_size(dict(width=390, height=900))
        seen = tab.locator('.classes tbody tr').first.locator('td:visible')
        assert seen.count()==3 and all(seen.all_inner_texts()) # a phone leaves out no number of this table
        browser.close()
    assert wrong==[]

# Refusals

@pytest.mark.parametrize('argv,words', [
    (['x*.tif'], ['x*.tif', 'such a name']), (['@list.txt'], ['list.txt', 'cannot be read']), ([], ['holds no scenes', 'name files']),
    (['a.tif','--workers','-1'], ['--workers', 'at least 0']), (['a.tif','--gsd','0'], ['gsd', 'above 0']), (['a.tif','--model','none'], ["no model 'none'"]),
    (['a.tif','--scheduler','tcp://127.0.0.1:9'], ['127.0.0.1:9', 'tcp://HOST:PORT'])])
def test_refusals(rsqi_, tmp_path, argv, words, monkeypatch):
    monkeypatch.setattr('rsqi.batch.TIMEOUT', 1)
    write(tmp_path/'a.tif', land(90, 90))
    refused(rsqi_('batch', *argv, '--out', 'out', '--quiet'), *words)
    assert not Path('out').exists()

def test_foreign_folders_are_kept(batch, tmp_path):
    write(tmp_path/'a.tif', land(90, 90))
    (tmp_path/'out').mkdir(); (tmp_path/'out/thesis.txt').write_text('do not delete')
    for more in [], ['--overwrite']: refused(batch('a.tif', '--out', 'out', *more), 'holds no batch', 'nothing was deleted')
    assert [p.name for p in (tmp_path/'out').iterdir()]==['thesis.txt']
    refused(batch('a.tif', '--out', 'a.tif'), 'is a file')

def test_two_runs_on_one_folder(batch, scenes, config, tmp_path):
    run = run_batch([scenes], tmp_path/'out', config, Manner(reports=False))
    next(run)
    refused(batch(scenes, '--out', 'out'), 'another run is using')
    run.close()

def test_without_dask_it_says_what_to_install(batch, scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, 'dask.distributed', None)
    refused(batch(scenes, '--out', 'out', '--workers', '2'), "pip install 'rsqi[cluster]'")
    assert not Path('out').exists()

# The page

def invented(tmp_path, n, hostile=''):
    "A batch of `n` inspections made by hand."
    first = write_folder(tmp_path/'out/0.rsqi', 6, shape=(300,400), thumbnails=0)
    book = Ledger(tmp_path/'out', dict(config='ab'*32), Config().to_dict())
    for i in range(n):
        if i: shutil.copytree(first, tmp_path/f'out/{i}.rsqi')
        book.jobs[f'/x/{i}{hostile}.tif'] = Job(f'/x/{i}{hostile}.tif', f'{i}.rsqi', 'done', seconds=9.)
    book.save()
    return tmp_path/'out'

def test_three_hundred_scenes_go_by_mail(tmp_path):
    out = invented(tmp_path, 300)
    html = WRITE_PAGE(out).read_text(encoding='utf-8')
    assert html.count('<tr data-state=')==300 and len(html.encode())<2_000_000
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)[^"]+"', html) and "default-src 'none'" in html

def test_what_names_say_is_escaped(tmp_path):
    html = WRITE_PAGE(invented(tmp_path, 2, '<img src=x onerror=alert(1)>'), 'zh').read_text(encoding='utf-8')
    assert '<img src=x' not in html and '&lt;img src=x' in html and '<html lang="zh-CN"' in html and '批量检查报告' in html

def test_a_batch_is_told_in_chinese(tmp_path):
    "The same facts in either language, and no English word beside the scenes' names"
    from rsqi.roundup import Batch
    from rsqi.workload_desk import batch_lines, ended_line
    book = Ledger.load(invented(tmp_path, 14))
    for i in range(11): book.jobs[f'/x/{i}.tif'] = Job(f'/x/{i}.tif', f'{i}.rsqi', 'failed' if i%2 else 'running', seconds=1., error='坏' if i%2 else '')
    book.save()
    found = Batch(tmp_path/'out')
    en, zh = ([*batch_lines(found, lang)][:-1] for lang in ('en','zh'))
    numbers = lambda lines: [sorted(re.findall(r'\d+(?:\.\d+)?', l)) for l in lines]
    assert numbers(en)==numbers(zh) and len(zh)==1+10+1+3
    assert not re.search('[A-Za-z]{3,}', re.sub(r'\w+\.(tif|csv)', '', ' '.join(zh))), zh
    for row in found.rows:
        told = ended_line(row, 'zh')
        assert numbers([told])==numbers([ended_line(row)]) and not re.search('[A-Za-z]{3,}', re.sub(r'\w+\.tif|rsqi', '', told)), told

# On a cluster

@pytest.fixture(scope='module')
def cluster():
    dask = pytest.importorskip('dask.distributed', reason='rsqi[cluster] is not installed')
    import logging
    with dask.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL, env={'RSQI_THREADS':'1'}) as c: yield c

def test_a_cluster_gives_the_same(cluster, scenes, config, finished, tmp_path):
    rows = [*run_batch([scenes], tmp_path/'out', config, Manner(reports=False, scheduler=cluster.scheduler_address))]
    assert sorted(r['state'] for r in rows)==['done','done','done','failed']
    for r in rows:
        if r['state']=='done': same(tmp_path/'out'/r['folder'], finished[0]/r['folder'])

def test_one_scene_by_strips_and_a_worker_that_is_killed(cluster, config, tmp_path):
    "in every second band of rows most blocks hold no ground, so that rows hold blocks of both kinds"
    a = land(900, 700)
    a[:, (np.arange(900)//150%2==0)[:,None] & (np.arange(700)>140)] = 7
    path = write(tmp_path/'tall.tif', a, nodata=7, **PLACED)
    alone = rsqi.pipeline.inspect_scene(path, tmp_path/'alone', config)
    killed = []
    def kill():
        until = time.monotonic()+60
        while len([*tmp_path.glob('out/tall.rsqi/.journal/*.npz')])<4 and time.monotonic()<until: time.sleep(.005)
        killed.append(next(iter(cluster.workers.values())).process.pid)
        os.kill(killed[0], signal.SIGKILL)
    watch = threading.Thread(target=kill); watch.start()
    row, = run_batch([path], tmp_path/'out', config, Manner(reports=False, scheduler=cluster.scheduler_address))
    watch.join()
    assert killed and row['state']=='done', row
    same(tmp_path/'out/tall.rsqi', tmp_path/'alone')
    assert alone.findings
