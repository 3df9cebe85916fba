"Corrections where things go wrong: killed kernels, torn lines, two people at once, strange shapes, scenes without coordinates."
import json, multiprocessing, os, shutil, subprocess, sys
from pathlib import Path
import pytest
from inspection_folder import write_folder
from rsqi.corrections import Corrections, correct, corrections_of, read_corrections
from rsqi.explore import Explorer
from rsqi.handover import from_geopackage, merge_corrections, to_geopackage
from rsqi.cli import main
from rsqi.inspection import Inspection
from rsqi.lessons import lesson_layer, told
from rsqi.refusals import Refused

ROOT = Path(__file__).parent.parent

@pytest.fixture
def found(tmp_path):
    "An inspection by the policy that ships, its folder made by hand"
    from rsqi.score import load_policy
    folder = write_folder(tmp_path/'影像 a.rsqi', 9, shape=(500,700), gsd=None)
    data = json.loads((folder/'inspection.json').read_text(encoding='utf-8'))
    data['policy']['sha256'] = load_policy('gbt24356_like').sha256
    data['verdict']['inspected_share'] = 1.
    (folder/'inspection.json').write_text(json.dumps(data, ensure_ascii=False), encoding='utf-8')
    return Inspection.load(folder)

def test_a_killed_kernel_loses_nothing(tmp_path):
    code = ("import sys; from rsqi.corrections import Corrections\nc = Corrections(sys.argv[1], 'abc', 'a')\n"
            "for i in range(10**6): c.say('reject', i); print(i, flush=True)")
    run = subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'c.jsonl')], stdout=subprocess.PIPE, text=True, env=os.environ|dict(PYTHONPATH=str(ROOT)))
    told = [int(run.stdout.readline()) for _ in range(25)]
    run.kill()
    told += [int(line) for line in run.stdout.read().split('\n')[:-1] if line]
    run.wait()
    rows, bad = read_corrections(tmp_path/'c.jsonl', 'abc')
    assert {c.finding for c in rows}>=set(told) and bad<=1

@pytest.mark.parametrize('cut', [1, 7, 40])
def test_a_torn_line_harms_no_other(tmp_path, cut):
    c = Corrections(tmp_path/'c.jsonl', 'abc', 'a')
    for i in range(3): c.say('accept', i)
    text = (tmp_path/'c.jsonl').read_bytes()
    (tmp_path/'c.jsonl').write_bytes(text[:-cut])
    again = Corrections(tmp_path/'c.jsonl', 'abc', 'b')
    again.say('reject', 9)
    rows, _ = read_corrections(tmp_path/'c.jsonl', 'abc')
    assert [c.finding for c in rows][:2]==[0,1] and rows[-1].finding==9

def _say(path, who):
    c = Corrections(path, 'abc', who)
    for i in range(40): c.say('accept', i)

def test_two_kernels_write_one_file(tmp_path):
    context = multiprocessing.get_context('spawn')
    runs = [context.Process(target=_say, args=(tmp_path/'c.jsonl', w)) for w in 'ab']
    for r in runs: r.start()
    for r in runs: r.join()
    rows, bad = read_corrections(tmp_path/'c.jsonl', 'abc')
    assert (len(rows), bad)==(80, 0)

@pytest.mark.parametrize('text', ['', '\n', 'hello\n', '[]\n', '{"kind":"rsqi corrections","scene":"xyz"}\n', '\x00\xff'])
def test_what_is_no_file_of_ours(tmp_path, text):
    (tmp_path/'c.jsonl').write_text(text, encoding='latin-1')
    if not text.strip(): assert read_corrections(tmp_path/'c.jsonl', 'abc')==([], 0)
    else:
        with pytest.raises(Refused) as e: read_corrections(tmp_path/'c.jsonl', 'abc')
        assert '\n' not in str(e.value)

def test_a_full_disk_is_said(tmp_path):
    "Not a word is taken for written of which the disk has a part."
    resource = pytest.importorskip('resource')
    c = Corrections(tmp_path/'c.jsonl', 'abc', 'a')
    c.say('reject', 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (c.path.stat().st_size+40, limits[1]))
    try:
        with pytest.raises(OSError): c.say('reject', 2)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    c.say('reject', 3)
    assert [r.finding for r in c.rows]==[r.finding for r in read_corrections(c.path)[0]]==[1,3] and c.damaged==1

SAID = dict(id='a1', time='2026-01-01T00:00:00Z', who='Li', action='accept', finding=1)

@pytest.mark.parametrize('line,told', [
    (SAID|dict(undoes=[1]), '1 damaged line'), (SAID|dict(action='undo', undoes={}), '1 damaged line'), (SAID|dict(note=float('nan')), '1 damaged line'),
    (SAID|dict(before=dict(share=float('nan'))), '1 damaged line'),
    (SAID|dict(action='add', finding='a1', after=dict(outline='POLYGON ((1 1, 9 1, 9 9, 1 1))')), '1 damaged line'),
    (SAID|dict(note='\ud800'), ''), (SAID|dict(who='\udcff'), '')])
def test_a_line_that_somebody_else_wrote(found, capsys, line, told):
    said = corrections_of(_whole(found), who='Zhang')
    said.say('reject', 2)
    with open(said.path, 'a') as f: f.write(json.dumps(line)+'\n')
    assert main(['correct', str(found.dir), '--no-report'])==0
    assert told in (err := capsys.readouterr().err) and bool(told)==('damaged' in err)
    assert corrections_of(found).say('accept', 3, note='\ud800').note=='?'

@pytest.mark.parametrize('text', ['', '["rsqi corrections"]\n', '{"kind":"rsqi corrections"}\n', '{"kind":"rsqi corrections","scene":[1]}\n',
                                  ''.join(f'{{"kind":"rsqi corrections","scene":"{s}"}}\n' for s in 'ab')])
def test_a_file_that_tells_no_scene(found, tmp_path, text):
    "Two files in one, such as `cat` makes, tell none either: their numbers are of two inspections."
    (tmp_path/'c.jsonl').write_text(text)
    for read in told, merge_corrections:
        with pytest.raises(Refused, match='c.jsonl.*name another file'): read([tmp_path/'c.jsonl'])

def test_whose_corrections_become_lessons(found, tmp_path):
    "Those beside an inspection always, a colleague's beside them; two inspections of one scene number their findings each in its own way."
    s, t = found.dir, Path(shutil.copytree(found.dir, tmp_path/'t.rsqi'))
    mine, other, li = corrections_of(s, who='a'), corrections_of(t, who='b'), corrections_of(s, tmp_path/'li.jsonl', 'Li')
    mine.say('reject', 1); other.say('accept', 1); li.say('relabel', 2, after=dict(defect='blur'))
    spoke = lambda *paths: [(c.who, c.finding) for _,rows in told(paths).values() for c in rows]
    for both in (s, t), (mine.path, other.path), (s, other.path):
        with pytest.raises(Refused, match='one scene') as e: told(both)
        assert s.name in str(e.value) and t.name in str(e.value)
    for some in [s], [mine.path], [s, mine.path], [s, s.parent/'.'/s.name]: assert spoke(*some)==[('a',1)]
    for some in (s, li.path), (li.path, mine.path): assert spoke(*some)==[('a',1), ('Li',2)]
    mine.path.unlink()
    assert spoke(s, li.path)==[('Li',2)] and spoke(s)==[]

def test_ground_of_a_rejected_finding_is_no_annotation(found):
    said = corrections_of(found)
    for f in found.findings[:2]: said.say('reject', f['id'])
    said.say('accept', 3)
    kinds = lesson_layer(found, said.rows)['defect'].tolist()
    assert '0' not in kinds and len(kinds)==len(found.findings)-2+('255'==kinds[-1] and len(kinds)>len(found.findings)-2)

def test_without_coordinates_and_with_a_bow_tie(found):
    e = Explorer(found)
    n = len(e.findings)
    e.add('cloud', [(10,10), (60,60), (60,10), (10,60)])                    # crosses itself
    e.add('blur', [(-50,-50), (40,-50), (40,40), (-50,40)])                 # sticks out, and lies over the other
    assert [f.area_px for f in e.findings[n:]]==[790, 1600] and e.findings[-1].area_m2 is None
    with pytest.raises(Refused): e.add('cloud', [(1,1), (2,2)])
    with pytest.raises(Refused): e.add('cloud', [(1,1), (float('nan'),2), (3,3)])
    with pytest.raises((Refused, KeyError)): e.relabel(1, 'clowd')
    assert len(Explorer(found).findings)==n+2

def test_all_rejected_is_clean_and_a_folder_with_gaps_is_refused(found):
    e = Explorer(found)
    for f in list(e.findings): e.reject(f.id)
    assert e.verdict['outcome']=='CLEAN' and e.verdict['score']==100
    with pytest.raises(Refused, match='has lost'): correct(found)           # made by hand, this folder has no confidence.tif
    assert not found.dir.with_name('影像 a.corrected.rsqi').exists()        # and nothing half-written is left

def test_a_geopackage_without_coordinates(found, tmp_path):
    said = corrections_of(found)
    assert from_geopackage(found, to_geopackage(found, tmp_path/'编辑.gpkg', said), said)==[]
    (tmp_path/'no.gpkg').write_bytes(b'nothing')
    for path in 'no.gpkg', 'missing.gpkg':
        with pytest.raises(Refused): from_geopackage(found, tmp_path/path, said)

def test_merging_says_who_disagrees_in_safe_html(found, tmp_path):
    a, b = (corrections_of(found, tmp_path/f'{n}.jsonl', w) for n,w in (('a','<script>'), ('b','b')))
    a.say('reject', 1); b.say('relabel', 1, after=dict(defect='blur'))
    made = merge_corrections([a.path, b.path])
    assert len(made.conflicts)==1 and '<script>' not in made._repr_html_()
    other = Corrections(tmp_path/'o.jsonl', 'f'*64)
    other.say('accept', 1)
    with pytest.raises(Refused, match='about 2 scenes'): merge_corrections([a.path, other.path])
    with pytest.raises(Refused, match='no such file'): merge_corrections([tmp_path/'x.jsonl'])

def _whole(found):
    "Give a folder made by hand the files that it lacks"
    import numpy as np
    from rsqi.inspection import strips
    from rsqi.merge import Band, write_bands
    from rsqi.polygons import to_frame, write_findings
    from rsqi.sheets import findings_of
    mask = next(strips(found.dir/'mask.tif', 10**6))[1]
    write_findings(found.dir, to_frame(findings_of(found, found.outlines()), *found.place))
    write_bands(found.dir, [Band(0, mask, ((mask>0) & (mask<255)).astype(np.uint8)*200)], mask.shape, *found.place)
    return found

def test_correct_at_the_desk(found, capsys):
    home, beside = _whole(found).dir, found.dir.parent
    data = json.loads((home/'inspection.json').read_text(encoding='utf-8'))
    data['verdict'] |= dict(inspected_share=.5)
    (home/'inspection.json').write_text(json.dumps(data), encoding='utf-8')
    a, b = (corrections_of(found, beside/f'{w}.jsonl', w) for w in ('甲','乙'))
    a.say('reject', 1), b.say('relabel', 1, after=dict(defect='blur'))
    b.say('add', None, after=dict(defect='cloud', outline='POLYGON ((1 1, 1.1 1, 1.1 1.1, 1 1))'))
    with open(a.path, 'ab') as f: f.write(b'{"half')
    both = ['correct', str(home), '--corrections', str(a.path), '--corrections', str(b.path)]
    before = a.path.read_bytes(), b.path.read_bytes()
    assert main([*both, '--json', '--lang', 'zh', '--organisation', '某院'])==3                # half of it was not inspected
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert Path(told['report']).is_file() and '某院' in Path(told['report']).read_text(encoding='utf-8')
    assert set(told['conflicts'][0]['said'])=={'甲','乙'}
    assert '1 damaged line' in err and 'covers no pixel' in err and 'Traceback' not in err
    assert main([*both, '--from-gpkg', str(beside/'edit.gpkg')])==2                           # into which of the two?
    assert 'one file of corrections' in capsys.readouterr().err
    assert (a.path.read_bytes(), b.path.read_bytes())==before

def test_correct_deletes_nothing_of_others(found, tmp_path, capsys):
    home = str(_whole(found).dir)
    (tmp_path/'mine').mkdir()
    for name in 'corrections.jsonl', 'thesis.tex': (tmp_path/'mine'/name).write_text('years of work')
    (tmp_path/'notes.gpkg').write_text('mine')
    run = lambda *more: main(['correct', home, '--no-report', *map(str, more)])
    assert [run('--out', tmp_path/'mine'), run('--out', tmp_path/'mine', '--overwrite'), run('--to-gpkg', tmp_path/'notes.gpkg'),
            run('--to-gpkg', found.dir/'findings.gpkg', '--overwrite'), run('--out', found.dir/'x')]==[2]*5
    assert (tmp_path/'mine'/'thesis.tex').read_text()==(tmp_path/'notes.gpkg').read_text().replace('mine', 'years of work')
    assert [run('--out', tmp_path/'new'), run('--out', tmp_path/'new'), run('--out', tmp_path/'new', '--overwrite')]==[0,2,0]
    assert [run(), run()]==[0,0]                                                              # the folder beside follows each time

def test_shares_stay_shares(found):
    _whole(found)
    e = Explorer(found)
    for k in 'cloud', 'shadow', 'cloud', 'stitching_trace': e.add(k, [(0,0), (700,0), (700,500), (0,500)])
    e.redraw(1, [(0,0), (700,0), (700,500), (0,500)])
    better = correct(found, e.corrections)
    from rsqi.inspection import strips
    mask = next(strips(better.dir/'mask.tif', 10**6))[1]
    assert sum(d['share'] for d in better.defects.values())<=1
    from rsqi.taxonomy import default_taxonomy
    assert {k: d['pixels'] for k,d in better.defects.items()}=={d.key: int((mask==d.value).sum()) for d in default_taxonomy()}

def test_two_explorers_at_once(found):
    "What another process has written meanwhile is read before the next word; a file that was taken away is no empty one."
    a, b = Explorer(found, corrections_of(found, who='Li')), Explorer(found, corrections_of(found, who='Zhang'))
    n = len(a.findings)
    b.add('cloud', [(10,10), (60,10), (60,60)])
    a.reject(1)
    assert [c.who for c in a.corrections.rows]==['Zhang', 'Li'] and len(a.findings)==n+1
    b.undo()                                       # his own word, not the last one
    assert b.states[1]=='rejected' and len(b.findings)==n and [r.action for r in b.corrections.rows]==['add', 'reject', 'undo']
    a.corrections.path.rename(a.corrections.path.with_suffix('.away'))
    with pytest.raises(Refused, match='is gone'): a.accept(1)
    assert not a.corrections.path.exists()         # and none is begun that lacks the earlier ones

def test_the_live_score_is_that_of_the_corrected_inspection(found):
    "A seam under a cloud, a cloud over a seam, half a finding hidden: what is shown while drawing is what will be written."
    _whole(found)
    e, (y0,x0,y1,x1) = Explorer(found), found.findings[0]['bbox']
    e.add('cloud', [(x0,y0), (x1,y0), (x1,(y0+y1)/2), (x0,(y0+y1)/2)])
    e.add('stitching_trace', [(0,100), (250,100), (250,120), (0,120)])
    e.add('pixel_missing', [(5,90), (60,90), (60,130)])
    made = correct(found, e.corrections)
    assert made.verdict['score']==e.verdict['score'] and {k: d['pixels'] for k,d in made.defects.items() if d['count']}=={
        k: sum(f.area_px for f in e.score.findings if f.defect==k) for k in {f.defect for f in e.score.findings}}
