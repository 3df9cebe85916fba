"Files that appear whole or not at all, caches that may be torn, and paths with a `!`."
import json, os
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest
from conftest import land, write
from inspection_folder import write_folder
from test_cli import PLACED, refused, rsqi_  # noqa: F401 (a fixture)
from rsqi.inspection import Inspection

SAMPLES = Path(__file__).parent.parent/'data_samples'

# A `!` is no archive

def test_mark_in_a_path(rsqi_, model, tmp_path):
    "A scene, its folder and a batch's may have it: layers are written and read."
    home = tmp_path/'影像!2024'
    home.mkdir()
    write(home/'a!b.tif', land(200, 200), **PLACED)
    how = '--model', model, '--no-report', '--quiet'
    said = rsqi_('inspect', home/'a!b.tif', '--out', home/'a!b.rsqi', *how)
    assert said.status==0, said.err
    found = Inspection.load(home/'a!b.rsqi')
    assert len(found.polygons())==len(found.findings)==len(found.outlines())>0
    said = rsqi_('batch', home, '--out', tmp_path/'lot!', *how)
    assert said.status==0 and (tmp_path/'lot!/summary.gpkg').stat().st_size and not list(tmp_path.glob('*.gpkg*')), said.err
    (area := home/'area!.geojson').write_text(json.dumps(dict(type='Polygon', coordinates=[[[105,27.1],[105.001,27.1],[105.001,27.101],[105,27.1]]])))
    assert 'cannot be read' not in rsqi_('inspect', home/'a!b.tif', '--area', area, '--out', tmp_path/'part', *how).err

def test_labels_with_a_mark(tmp_path):
    "Annotations of a Shapefile and a GeoPackage beside a scene are read."
    import shutil
    from rsqi.archive import read_layer
    for p in SAMPLES.glob('defects.*'): shutil.copy(p, tmp_path/f'de!fects{p.suffix}')
    n = len(read_layer(SAMPLES/'defects.shp').geometry)
    assert len(read_layer(tmp_path/'de!fects.shp').geometry)==n>0

# Written beside, and renamed

def policy(path):
    from rsqi.policy_fit import Fit
    Fit(None, {}, {}, 1, 0, 'new').save(path/'policy.toml')

def pair(path):
    from rsqi.zoo import save_pair
    save_pair(path, 'default', 'default')

def pickled(path):
    import torch
    from rsqi.zoo import convert
    torch.save(dict(a=torch.zeros(3)), path/'pytorch_model.bin')
    convert(path)

def plan(path):
    from rsqi.tune import claim
    claim(path, dict(a=1), True).close()

def drawn(path):
    import shapely
    from rsqi.label import Labels
    from rsqi.polygons import Finding
    finding = Finding(1, 'cloud', 1, shapely.box(0, 0, 9, 9), 81, None, .9, bbox=(0,0,9,9))
    Labels.save(SimpleNamespace(all=[SimpleNamespace(state='', finding=finding)], inspection=SimpleNamespace(place=(None,None))), path/'drawn.gpkg')

def checkpoint(path):
    if not (find_spec('diffusers') and find_spec('peft')): pytest.skip('the extra [diffusion] is not installed')
    from rsqi import diffuse
    def save(folder): (Path(folder)/'model_index.json').write_text('new')
    card = SimpleNamespace(out=path, rank=0, model='m', defects=(), lang='en', size=32, seed=0)
    diffuse.publish(SimpleNamespace(lesson=card, folder=path, examples=[], taught=[], pipe=SimpleNamespace(save_pretrained=save)), {})

@pytest.mark.parametrize('make,name', [(policy,'policy.toml'), (pair,'config.json'), (pickled,'model.safetensors'), (plan,'plan.json'),
                                       (drawn,'drawn.gpkg'), (checkpoint,'model_index.json')], ids=lambda v: getattr(v, '__name__', v))
def test_old_file_or_new(make, name, tmp_path, monkeypatch):
    "A write that does not come to its end leaves the old file, and nothing beside it."
    old, replace = (b'{"a": 1}' if make is plan else b'old'), os.replace
    (tmp_path/name).write_bytes(old)
    def stopped(a, b):
        if Path(b).name==name: raise KeyboardInterrupt
        replace(a, b)
    monkeypatch.setattr(os, 'replace', stopped)
    with pytest.raises(KeyboardInterrupt): make(tmp_path)
    assert (tmp_path/name).read_bytes()==old and {p.name for p in tmp_path.iterdir()}<={name, '.lock', 'pytorch_model.bin'}
    monkeypatch.setattr(os, 'replace', replace)
    make(tmp_path)
    assert (tmp_path/name).read_bytes()!=old

def test_torn_plan(tmp_path):
    from rsqi.refusals import Refused
    (tmp_path/'plan.json').write_text('{"a"')
    (tmp_path/'log.csv').touch() # a plan alone may be begun anew
    with pytest.raises(Refused, match='plan.json'): plan(tmp_path)

# A cache is no necessity

@pytest.fixture(scope='module')
def logits(tmp_path_factory):
    "An inspection with the logits of four blocks."
    found = Inspection.load(write_folder(tmp_path_factory.mktemp('replay')/'scene.rsqi', shape=(192,192)))
    (found.dir/'logits').mkdir()
    rng = np.random.default_rng(0)
    for y in 0, 64:
        for x in 0, 64:
            np.savez(found.dir/f'logits/128_{y}_{x}.npz', labels=rng.normal(size=10).astype(np.float32), regions=rng.integers(-99, 99, (6,32,32)).astype(np.int8), law='asinh')
    return found

@pytest.mark.parametrize('left', [0, 60, 200])
def test_torn_cache_is_made_again(logits, tmp_path, left):
    from rsqi.replay import Replay
    want = Replay(logits)
    Replay(logits, folder=tmp_path)
    kept = sorted(tmp_path.glob('*.npy'))
    for p in kept: p.write_bytes(p.read_bytes()[:left])
    got = Replay(logits, folder=tmp_path)
    assert len(kept)==5 and np.array_equal(got.other, want.other)
    assert all(np.array_equal(a, b) for s,t in zip(got.stacks, want.stacks) for a,b in zip(s, t))
    assert sorted(tmp_path.iterdir())==kept and all(len(np.load(p)) for p in kept)

@pytest.mark.parametrize('where', ['a file', '/proc/nowhere', 'a folder'])
def test_no_cache_at_all(logits, tmp_path, where, monkeypatch):
    from rsqi.replay import Replay
    (tmp_path/'a file').touch()
    if where=='a folder':
        def full(*a): raise OSError(28, 'No space left on device')
        monkeypatch.setattr(np, 'save', full)
    assert len(Replay(logits, folder=tmp_path/where).stacks[0].blocks)==4

# Refusals that say the way

def test_data_comes_first(rsqi_):
    if not find_spec('diffusers'): pytest.skip('the extra [diffusion] is not installed')
    refused(rsqi_('augment', 'train', '--data', 'nowhere', '--out', 'lora'), 'nowhere: no such file or folder')
    refused(rsqi_('augment', 'generate', '--onto', 'nowhere', '--out', 'painted'), 'nowhere: no such file or folder')

@pytest.mark.parametrize('what', ['doctor', 'inspect'])
def test_folder_of_scenes(rsqi_, tmp_path, what):
    (tmp_path/'my scenes').mkdir()
    refused(rsqi_(what, 'my scenes'), 'is a folder', "rsqi batch 'my scenes' --out DIR")

def test_no_network_in_one_line(monkeypatch):
    import huggingface_hub
    from rsqi.engine import ModelError, hub_folder
    def lost(*a, **k): raise OSError('Got: ConnectError: [Errno -2] Name or service not known\nAn error happened while trying to locate the files')
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lost)
    with pytest.raises(ModelError, match=r'\(Got: ConnectError: \[Errno -2\] Name or service not known\)'): hub_folder('a/b', ('*.json',), '*.json', 'and name DIR')
