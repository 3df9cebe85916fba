"What the doctor sees in a file, what it advises, and that its prescriptions help."
import json, re, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest
from conftest import land, write
from test_cli import PLACED, refused, rsqi_, tree  # noqa: F401 (a fixture)
import rsqi.doctor
from rsqi.config import Config
from rsqi.doctor import diagnose

TILED = dict(tiled=True, blockxsize=256, blockysize=256, compress='deflate', photometric='rgb', **PLACED)
KEYS = {'path','header','reads','blocks','estimate','notes','notes_zh','doubts','doubts_zh','advice'}

@pytest.fixture
def config(model): return Config(model=str(model))

def keys(found): return [a['key'] for a in found.advice]

def rio(words):
    "Run a command that was advised."
    assert words[0]=='rio'
    subprocess.run([Path(sys.executable).parent/'rio', *words[1:]], check=True, capture_output=True)

def test_a_sound_scene_needs_nothing_and_gets_nothing_written(rsqi_, model, tmp_path):
    path = write(tmp_path/'a.tif', land(400, 500), **TILED)  # one window is the whole of it
    before = tree(tmp_path)
    said = rsqi_('doctor', path, '--model', model)
    assert said.status==0 and said.err=='' and said.out.startswith('a.tif\n') and 'Nothing to advise' in said.out
    rows = [line for line in said.out.splitlines() if line.startswith('  ') and 'note: ' not in line][:-1]
    assert {re.match(r'  \w+( \w+)? +', line).end() for line in rows}=={15}  # one column
    said = rsqi_('doctor', path, '--model', model, '--json')
    found = json.loads(said.out)
    assert set(found)==KEYS and said.out.count('\n')==1 and found['blocks']=={'512':1} and found['estimate']['blocks_timed']==1
    assert found['header']['bytes']==path.stat().st_size and tree(tmp_path)==before

def test_it_counts_the_blocks_of_the_inspection(rsqi_, model, tmp_path):
    import pyarrow.parquet as pq
    path = write(tmp_path/'a.tif', land(700, 900), **TILED)
    rsqi_('inspect', path, '--model', model, '--no-report', '--quiet')
    sizes = pq.read_table('a.rsqi/blocks.parquet')['size'].to_pylist()
    assert diagnose(path, Config(model=str(model))).blocks=={s: sizes.count(s) for s in set(sizes)}=={512:4, 2048:1}

def test_prescriptions_help(config, tmp_path, monkeypatch):
    "strips become tiles, overviews come, and the advice is gone"
    monkeypatch.setattr(rsqi.doctor, 'LARGE', 1e4)
    path = write(tmp_path/'plain.tif', land(900, 800), photometric='rgb', **PLACED)
    found = diagnose(path, config)
    assert keys(found)==['strips','overviews'] and found.estimate['readings']==3
    rio(found.advice[0]['command'])
    tiled = diagnose(tmp_path/'plain_tiled.tif', config)
    assert keys(tiled)==['overviews'] and tiled.header['tile']==[512,512] and tiled.header['compression']=='DEFLATE'
    rio(tiled.advice[0]['command'])
    assert keys(diagnose(tmp_path/'plain_tiled.tif', config))==[]

def test_where_nothing_is_declared(config, tmp_path):
    a = land(400, 500, 4)
    a[:, :, :90], a[:, :60, 100:] = 0, 255
    found = diagnose(write(tmp_path/'a.tif', a, photometric='minisblack', tiled=True, blockxsize=256, blockysize=256), config)
    assert keys(found)==['scale','colours','black','white'] and found.advice[1]['command'][-2:]==['--bands','R,G,B']
    declared = diagnose(write(tmp_path/'b.tif', a[:3], nodata=0, **TILED), config)
    assert keys(declared)==['white'] and .75<declared.reads['ground_share']<.9 and declared.header['nodata']==[0,0,0]

def test_turned_deep_and_with_a_palette(config, tmp_path):
    from rasterio.transform import Affine
    turned = Affine.translation(5e5,3e6) @ Affine.rotation(30) @ Affine.scale(.5,-.5)
    found = diagnose(write(tmp_path/'a.tif', land(300, 300).astype(np.uint16)*9, **{**TILED, 'transform': turned, 'nbits':12}), config)
    assert found.header['rotated'] and found.header['bits']==12 and found.reads['contrast'] is None and keys(found)==[]
    assert any('are shown as 1 to 254' in n for n in found.notes)

def test_a_look_that_the_model_does_not_know(rsqi_, model, config, tmp_path):
    "is a loud warning here, and a reason for a review in the inspection"
    card = json.loads((model/'config.json').read_text())
    path = write(tmp_path/'grey.tif', land(300, 300, 1)//8+90, **{**TILED, 'photometric':'minisblack'})
    found = diagnose(path, config)
    assert keys(found)==['outside','contrast'] and 'grey' in found.doubts[0] and 'gsd' not in card
    said = rsqi_('doctor', path, '--model', model)
    assert said.status==0 and '  ! It is grey' in said.out and '  ! It has little contrast' in said.out
    assert rsqi_('inspect', path, '--model', model, '--no-report', '--quiet').status==0
    verdict = json.loads(Path('grey.rsqi/inspection.json').read_text())['verdict']
    assert verdict['review'] and any('It is grey' in r for r in verdict['reasons']) and any('灰度' in r for r in verdict['reasons_zh'])

def test_a_file_that_was_cut_off(config, tmp_path):
    path = write(tmp_path/'a.tif', land(800, 800), **TILED)
    path.write_bytes(path.read_bytes()[:path.stat().st_size*2//3])
    found = diagnose(path, config)
    assert keys(found)==['cut_off'] and 4<=found.reads['cut_off']<=12 and found.reads['damaged']

def test_a_piece_that_does_not_decode(config, tmp_path):
    path = write(tmp_path/'a.tif', land(800, 800), **TILED)
    data = bytearray(path.read_bytes())
    data[len(data)//2:len(data)//2+3000] = b'\xff'*3000
    path.write_bytes(data)
    found = diagnose(path, config)
    assert keys(found)==['damaged'] and found.reads['cut_off']==0 and 0<len(found.reads['damaged'])<30

def test_reads_that_crawl_are_cut_short(config, tmp_path, monkeypatch):
    whole = rsqi.doctor.read_raw
    monkeypatch.setattr(rsqi.doctor, 'read_raw', lambda *a: time.sleep(.05) or whole(*a))
    found = diagnose(write(tmp_path/'a.tif', land(1200, 1200), **TILED), config, seconds=.3)
    assert 4<=found.reads['tried']<=8 and found.reads['planned']==64

def test_too_little_room(config, tmp_path, monkeypatch):
    from types import SimpleNamespace
    monkeypatch.setattr(rsqi.doctor.shutil, 'disk_usage', lambda p: SimpleNamespace(free=2**20))
    assert keys(diagnose(write(tmp_path/'a.tif', land(200, 200), **TILED), config))==['room']

def test_nothing_can_be_read(config, tmp_path):
    path = write(tmp_path/'a.tif', land(300, 300), **TILED)
    data = bytearray(path.read_bytes())
    data[2000:] = b'\xaa'*(len(data)-2000)
    path.write_bytes(data)
    found = diagnose(path, config)
    assert keys(found)==['damaged'] and found.estimate['blocks_timed']==0 and not found.reads['ground_share']

@pytest.mark.parametrize('argv,words', [(['nowhere.tif'], ['no such file', 'give the path']), (['text.tif'], ['cannot be opened']), (['.'], ['is a folder']),
                                        (['a.tif','--seconds','soon'], ['--seconds', 'not a number']), (['a.tif','--bands','9'], ['bands=', '1 to 3'])])
def test_refusals(rsqi_, tmp_path, argv, words):
    (tmp_path/'text.tif').write_text('Dear all')
    write(tmp_path/'a.tif', land(90, 90))
    refused(rsqi_('doctor', *argv), *words)

def test_it_speaks_chinese(rsqi_, model, tmp_path):
    path = write(tmp_path/'bare.tif', land(80, 100))
    en, zh = (rsqi_('doctor', path, '--model', model, '--lang', l).out for l in ('en','zh'))
    assert '像元    未知' in zh and '未说明像元大小' in zh and not any(w in zh for w in ('note:', 'size', 'unknown', 'windows', 'about'))
    assert len(zh.splitlines())==len(en.splitlines())

def test_a_jpeg_that_was_cut_off_is_not_inspected_below(rsqi_, model, config, tmp_path):
    "Its decoder fills the rest with grey, which is no lost pixel of a sensor; doctor and inspection agree"
    import cv2, rasterio
    path = tmp_path/'cut.jpg'
    data = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 255, (640,520,3), dtype=np.uint8))[1].tobytes()
    path.write_bytes(data[:len(data)//2])
    found = diagnose(path, config)
    held = found.reads['rows_held']
    assert 280<held<340 and {tuple(b) for b in found.reads['damaged']}=={b for b in rsqi.doctor.lattice((640,520), 8) if b.y+b.h>held}
    assert keys(found)[0]=='torn' and f'down to row {held} only' in found.advice[0]['text'] and f'第 {held} 行' in found.advice[0]['text_zh']
    said = rsqi_('inspect', path, '--model', model, '--out', 'o', '--no-report', '--quiet', '--json')
    assert said.status==3 and json.loads(said.out)['inspected_share']==pytest.approx(held/640, abs=.01)
    with rasterio.open(tmp_path/'o/mask.tif') as f: assert (f.read(1)[held+16:]==255).all()
