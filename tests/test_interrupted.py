"An inspection of a real size, interrupted: killed, its source gone, its disk full. What it says afterwards is what it would have said."
import os, signal, subprocess, sys, time
from importlib.resources import files
from pathlib import Path
import numpy as np, pyarrow.parquet as pq, pytest
from conftest import land, read, write
from test_cli import PLACED, process
from rsqi.config import Config
from rsqi.pipeline import inspect_scene
from rsqi.scene import Scene

TILED = dict(tiled=True, blockxsize=64, blockysize=64, compress='deflate', nodata=7, **PLACED)

SAMPLE = Path(str(files('rsqi')/'sample'/'defective.tif'))

@pytest.fixture(scope='module')
def large(tmp_path_factory):
    "3000 x 2800 pixels with defects; the left half of every second band of rows is no ground, so that rows hold blocks of both kinds"
    a = read(SAMPLE)[0]
    a = np.concatenate([a, a[:,:,::-1]], 2)
    a = np.tile(np.concatenate([a, a[:,::-1]], 1), (1, 3000//a.shape[1]+1, 2800//a.shape[2]+1))[:,:3000,:2800]
    a[:, (np.arange(3000)//300%2==0)[:,None] & (np.arange(2800)<1500)] = 7
    return write(tmp_path_factory.mktemp('scene')/'scene.tif', a, **TILED)

@pytest.fixture(scope='module')
def undisturbed(large, tmp_path_factory):
    "What an undisturbed run with the shipped model says, and how long it takes."
    out, start = tmp_path_factory.mktemp('whole')/'out', time.monotonic()
    found = inspect_scene(large, out)
    assert len(found.findings)>20
    return found, time.monotonic()-start

@pytest.fixture(scope='module')
def config(model): return Config(sizes=(64,256), model=str(model))

@pytest.fixture(scope='module')
def scene(tmp_path_factory): return write(tmp_path_factory.mktemp('scene')/'scene.tif', land(900, 400), **TILED)

@pytest.fixture(scope='module')
def whole(scene, config, tmp_path_factory): return inspect_scene(scene, tmp_path_factory.mktemp('whole')/'out', config)

@pytest.fixture
def low_strips(monkeypatch):
    "Scenes are read 64 rows at a time, so that much is left to read when something happens."
    strips = Scene.strips
    monkeypatch.setattr(Scene, 'strips', lambda self, rows=None: strips(self, 64))

def same(a, b):
    for name in 'mask.tif', 'confidence.tif': assert (read(a.dir/name)[0]==read(b.dir/name)[0]).all(), name
    assert a.findings==b.findings and a.verdict==b.verdict and a.defects==b.defects
    assert (a.dir/'blocks.parquet').read_bytes()==(b.dir/'blocks.parquet').read_bytes()

CODE = 'import sys; from rsqi.pipeline import inspect_scene; inspect_scene(sys.argv[1], sys.argv[2])'
SEEDS = range(20 if os.environ.get('RSQI_SLOW') else 3)

@pytest.mark.parametrize('seed', SEEDS)
def test_killed_at_a_random_moment(large, undisturbed, tmp_path, seed):
    "... of the run itself, whatever it does then; what it leaves is finished by the next"
    run = subprocess.Popen([sys.executable, '-c', CODE, large, tmp_path/'out'], stderr=subprocess.PIPE)
    until = time.monotonic()+120
    while not (tmp_path/'out'/'.journal').exists() and run.poll() is None and time.monotonic()<until: time.sleep(.002)
    time.sleep(float(np.random.default_rng([7, seed]).uniform(0, undisturbed[1])))
    run.send_signal(signal.SIGKILL)
    assert run.communicate()[1]==b''
    same(inspect_scene(large, tmp_path/'out'), undisturbed[0])
    assert not (tmp_path/'out'/'.journal').exists()

def stopped(share):
    "A progress that interrupts the run after a share of its blocks."
    def progress(iterable, total, label):
        for i in iterable:
            if i==int(share*total): raise KeyboardInterrupt
            yield i
    return progress

def test_rows_of_ground_and_no_ground_come_back_in_order(tmp_path, model):
    "a block without ground is settled before its neighbours, and once stood in their place after a resume"
    a, config = land(600, 900), Config(sizes=(64,256), model=str(model))
    a[:, (np.arange(600)//100%2==0)[:,None] ^ (np.arange(900)//100%2==0)] = 7
    path = write(tmp_path/'a.tif', a, nodata=7, **PLACED)
    with pytest.raises(KeyboardInterrupt): inspect_scene(path, tmp_path/'out', config, stopped(.8))
    assert [*(tmp_path/'out'/'.journal').glob('*.npz')]
    same(inspect_scene(path, tmp_path/'out', config), inspect_scene(path, tmp_path/'whole', config))

# The source

def during(share, act):
    "A progress that does something after a share of the blocks."
    def progress(iterable, total, label):
        for i in iterable:
            if i==int(share*total): act()
            yield i
    return progress

def test_a_source_that_is_cut_off_while_it_is_read(config, scene, whole, low_strips, tmp_path):
    "what is left is inspected, the rest is stated, and the hash is that of the file that was opened"
    path = tmp_path/'scene.tif'
    path.write_bytes(scene.read_bytes())
    found = inspect_scene(path, tmp_path/'out', config, during(.1, lambda: os.truncate(path, 9000)))
    assert .05<found.verdict['inspected_share']<.9 and found.verdict['review'] and 'could be inspected' in found.verdict['reasons'][-1]
    assert found.scene['sha256']==whole.scene['sha256']
    rows = pq.read_table(tmp_path/'out'/'blocks.parquet').to_pylist()
    assert {'inspected','not_inspected'}=={r['state'] for r in rows}
    lost, mask = (read(p/'mask.tif')[0][0] for p in (tmp_path/'out', whole.dir))
    assert abs((lost==255).mean()-1+found.verdict['inspected_share'])<.01 and (mask!=255).all()
    top = min(r['y'] for r in rows if r['state']=='not_inspected')-256
    assert (lost[:top]==mask[:top]).mean()>.99  # what was read is judged as ever

def test_a_source_that_is_deleted_while_it_is_read(config, scene, whole, low_strips, tmp_path):
    "this system keeps an open file"
    path = tmp_path/'scene.tif'
    path.write_bytes(scene.read_bytes())
    same(inspect_scene(path, tmp_path/'out', config, during(.1, path.unlink)), whole)

def test_a_part_of_a_mosaic_that_vanishes(config, low_strips, tmp_path):
    "a virtual raster opens its parts when they are read; the part that is gone is not inspected, and nothing of it is clean"
    for n in 0, 1: write(tmp_path/f'{n}.tif', land(900, 300, seed=n))
    rect = lambda kind, y: f'<{kind} xOff="0" yOff="{y}" xSize="300" ySize="900"/>'
    part = lambda n, b: f'<SimpleSource><SourceFilename relativeToVRT="1">{n}.tif</SourceFilename><SourceBand>{b}</SourceBand>' \
                        f'<SourceProperties RasterXSize="300" RasterYSize="900" DataType="Byte" BlockXSize="300" BlockYSize="9"/>' \
                        f'{rect("SrcRect", 0)}{rect("DstRect", 900*n)}</SimpleSource>'
    bands = ''.join(f'<VRTRasterBand dataType="Byte" band="{b}">{part(0,b)}{part(1,b)}</VRTRasterBand>' for b in (1,2,3))
    (tmp_path/'m.vrt').write_text(f'<VRTDataset rasterXSize="300" rasterYSize="1800">{bands}</VRTDataset>')
    found = inspect_scene(tmp_path/'m.vrt', tmp_path/'out', config.replace(collar='none'), during(0, (tmp_path/'1.tif').unlink))
    assert .49<found.verdict['inspected_share']<=.5 and (read(tmp_path/'out'/'mask.tif')[0][0,900:]==255).all()

# The disk

LIMITED = 'import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))\n' \
          'from rsqi.cli import main; sys.exit(main())'

@pytest.mark.parametrize('size', [3_000, 12_000, 60_000], ids=['journal','mask','findings'])
def test_files_that_may_not_grow(scene, config, whole, tmp_path, size):
    "a write that the system refuses is one line of ours, and a later run goes on"
    (tmp_path/'c.toml').write_text('sizes = [64, 256]\n')
    said = process(size, 'inspect', scene, '--model', config.model, '--config', tmp_path/'c.toml', '--no-report', '--quiet', '--out', tmp_path/'out', code=LIMITED)
    lines = [line for line in said.lines if not line.startswith('_tiff')]  # libtiff has its own say
    assert (said.status, said.out, len(lines))==(2, '', 1) and 'too large' in lines[0] and 'resume' in lines[0], said
    assert not (tmp_path/'out'/'inspection.json').exists() and (tmp_path/'out'/'.journal').exists()
    same(inspect_scene(scene, tmp_path/'out', config), whole)
