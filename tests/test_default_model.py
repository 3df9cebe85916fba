"The model that travels with the package: its two files agree, are small, and find what they are shipped to find."
from pathlib import Path
import numpy as np, pytest, rasterio
from rsqi.classifier import load_classifier
from rsqi.config import Config
from rsqi.engine import Engine, model_card, model_folder
from rsqi.pipeline import inspect_scene
from rsqi.taxonomy import default_taxonomy

SAMPLES = Path(__file__).parents[1]/'data_samples'
pytestmark = pytest.mark.skipif(not (Path(__file__).parents[1]/'rsqi/models/default/config.json').is_file(), reason='this checkout ships no model')

def pixels(path):
    with rasterio.open(path) as f: return f.read()

@pytest.fixture(scope='module')
def scene(): return np.ascontiguousarray(pixels(SAMPLES/'defective.tif').transpose(1,2,0))

@pytest.fixture(scope='module')
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp('samples')
    for name in 'clean', 'defective': inspect_scene(SAMPLES/f'{name}.tif', out/name, Config())
    return {name: pixels(out/name/'mask.tif')[0] for name in ('clean', 'defective')}

def test_weights_and_graph_agree(scene):
    blocks = np.stack([scene[y:y+256,x:x+256] for y,x in ((0,0), (300,700), (900,400))])
    for a,b in zip(Engine('default','openvino').run(blocks), Engine('default','torch').run(blocks)):
        assert np.abs(a-b).max()<.02*max(1, np.abs(b).max())

def test_it_is_small():
    files = [p for p in model_folder('default').iterdir() if p.suffix in ('.safetensors','.bin','.xml')]
    assert sum(p.stat().st_size for p in files)<=16e6

def test_its_card_names_the_labels_in_order(): assert tuple(model_card()['labels'])==default_taxonomy().keys

def test_clean_ground_is_left_alone(found): assert (found['clean']>0).mean()<.02

@pytest.mark.parametrize('key,least', [('shadow',.5), ('spectral_overflow',.5), ('blur',.8), ('stripe_noise',.8), ('pixel_missing',.95)])
def test_it_finds_what_the_sample_holds(found, key, least):
    value = default_taxonomy()[key].value
    said, true = found['defective']==value, pixels(SAMPLES/'mask.tif')[0]==value
    assert (said&true).sum()/(said|true).sum()>=least

def test_the_classifier_hears_the_pixels(scene):
    struck = scene[:512,:512].copy()
    struck[100:102,50:300] = 0
    assert 'pixel_missing' in load_classifier().labels(struck[None])[0]

Y = np.arange(512)[:,None,None]
UNEVEN = dict(restless=np.random.default_rng(0).normal(0, 12, (512,1,1)), hum=6*np.sin(2*np.pi*Y/9.3), sweep=np.random.default_rng(1).normal(0, 5, (16,1,1))[Y[:,0,0]%16],
              one_side=12*np.sin(2*np.pi*Y/17)*(Y.reshape(1,512,1)<256), one_band=9*np.sin(2*np.pi*Y/12)*np.float32([0,0,1]))

@pytest.mark.parametrize('name', UNEVEN)
@pytest.mark.parametrize('turned', [False, True])
def test_the_classifier_hears_uneven_rows(scene, name, turned):
    uneven = (scene[:512,:512]+UNEVEN[name]).clip(1,254).astype(np.uint8)
    said = load_classifier().labels(np.stack([np.swapaxes(b, 0, 1) if turned else b for b in (scene[:512,:512], uneven)]))
    assert 'stripe_noise' not in said[0] and 'stripe_noise' in said[1]

@pytest.mark.parametrize('name', ['benchmark','answers','realism','mechanisms','clean'])
def test_published_figures_are_of_these_weights(name):
    "New weights want new figures: the executed notebooks say whose theirs are."
    import json
    from pathlib import Path
    from rsqi.engine import weights_hash
    book = json.loads((Path(__file__).parent.parent/f'nbs/results/{name}.ipynb').read_text(encoding='utf-8'))
    told = ''.join(''.join(o.get('text', '')) for c in book['cells'] for o in c.get('outputs', []))
    assert f'weights {weights_hash()[:16]}' in told
