"From a few images of a rare defect to a dataset with more of it, offline, with small networks of Stable Diffusion's classes."
import errno, json, shutil
from importlib.util import find_spec
from pathlib import Path
import numpy as np, pytest

pytestmark = pytest.mark.skipif(not (find_spec('diffusers') and find_spec('peft')), reason='the extra [diffusion] is not installed')

SAMPLES = Path(__file__).parent.parent/'data_samples'
KEY = 'spectral_overflow'

@pytest.fixture(scope='module')
def room(tmp_path_factory):
    "A folder with a dataset of the sample scene, 数据, and an untrained checkpoint, 模型."
    from rsqi.diffuse import tiny_checkpoint
    root = tmp_path_factory.mktemp('扩充')
    assert build(root) == 0
    tiny_checkpoint(root/'模型')
    return root

def build(root, *more):
    return run('dataset', 'build', SAMPLES/'defective.tif', '--labels', SAMPLES/'defects.shp', '--size', 96, '--out', root/'数据', '--quiet', *more)

def run(*argv):
    from rsqi.cli import main
    return main(list(map(str, argv)))

def teach(root, out, *more): return run('augment', 'train', '--data', root/'数据', '--defect', KEY, '--model', root/'模型', '--out', root/out, '--size', 32,
                                        '--most', 4, '--rate', .01, '--samples', 0, '--quiet', *more)

def paint(root, out, *more): return run('augment', 'generate', '--defect', KEY, '--model', root/'模型', '--out', root/out, '--steps', 3, '--quiet', *more)

def refused(capsys, status, *words):
    "The command ended with one line that holds some words."
    out, err = capsys.readouterr()
    assert status==2 and len(err.strip().splitlines())==1 and all(w in err for w in words), (status, err)

def files(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.suffix in ('.png','.json')}

def test_full_path(room, capsys):
    "Train, generate, rank, accept, add, rebuild; the same seeds give the same pictures."
    from rsqi.dataset import read_dataset
    from rsqi.inpaint import pictures_in
    data, real = room/'数据', len(list(read_dataset(room/'数据')))
    assert teach(room, 'lora', '--epochs', 2)==0
    for out in 'made', 'again': assert paint(room, out, '--lora', room/'lora', '--onto', data, '--count', 3)==0
    assert files(room/'made')==files(room/'again')
    grounds = {e.name: e for e in read_dataset(data, 'train')}
    for p in pictures_in(room/'made'):
        image, mask, ground = p.image(), p.mask(), grounds[p.told['onto']['block']]
        moved = (image!=ground.image()).any(2)
        assert (mask[moved]==5).mean()>.3 and (moved[mask==5]).mean()>.5 and not ground.labels().any()
        assert p.told['lora_sha256'] and p.told['changed']>.5
    assert run('augment', 'curate', room/'made', '--against', data, '--accept', '0-1', '--reject', '2', '--by', '李', '--quiet')==0
    assert '2 accepted, 1 rejected, 0 undecided' in capsys.readouterr().out and (room/'made/sheet.jpg').stat().st_size>2000
    for _ in range(2): assert run('augment', 'add', room/'made', '--data', data)==0
    every = list(read_dataset(data))
    assert (len(every), len(list(read_dataset(data, generated=False))))==(real+2, real)
    told = json.loads(every[-1].more['generated'])
    assert told['decision']['by']=='李' and told['prompt'].startswith('Red, yellow') and set(every[-1].told)=={5}
    before = (data/'data/train-00000.parquet').read_bytes()
    assert build(room, '--overwrite')==0 and len(list(read_dataset(data)))==real+2
    assert (data/'data/train-00000.parquet').read_bytes()==before
    small = '--data', data, '--arch', 'resnet10t', '--weights', 'none', '--size', 32, '--steps', 1, '--quiet'
    for out,n,more in ('all',2,()), ('real',0,('--real-only',)):
        assert run('train', 'classifier', '--out', room/out, *small, *more)==0
        card = json.loads((room/out/'config.json').read_text())['trained']
        assert card['blocks']+card['held_out']['blocks']==real+n
    assert build(room, '--overwrite', '--real-only')==0 and len(list(read_dataset(data)))==real

def test_datasets_library_reads_both(room):
    "To the Hugging Face library what was generated is a configuration of its own."
    from rsqi.curate import PAINTED
    from rsqi.dataset import KIND, card
    known = json.loads((room/'数据'/KIND[2]).read_text(encoding='utf-8'))
    head = card(known | {PAINTED: {KEY: 2}}).split('---')[1]
    assert 'config_name: generated' in head and 'generated/train-*.parquet' in head
    assert 'generated' not in card(known).split('---')[1]

def test_resumed_training_ends_the_same(room):
    "Stopped after an epoch and taken up again, a LoRA is the same to the byte."
    from rsqi.diffuse import LORA, Lesson, train_lora
    lesson = lambda out: Lesson(str(room/'数据'), str(room/out), str(room/'模型'), (KEY,), epochs=2, size=32, most=4, rate=.01, samples=0)
    whole = list(train_lora(lesson('whole')))
    first = train_lora(lesson('parts')); next(first); first.close()
    rest = list(train_lora(lesson('parts'), resume=True))
    assert rest[-1]['loss']==whole[-1]['loss'] and (room/'whole'/LORA).read_bytes()==(room/'parts'/LORA).read_bytes()

def test_whole_pictures_have_no_mask(room):
    from rsqi.curate import row_of
    from rsqi.inpaint import pictures_in
    assert paint(room, 'whole pictures', '--count', 1, '--size', 32, '--lang', 'zh')==0
    p, = pictures_in(room/'whole pictures')
    row = row_of(p, dict(accepted=True, by='x', at=''), None)
    assert p.mask() is None and row['mask'] is None and row['labels']==[5] and row['scene']=='generated' and '红' in p.told['prompt']

def test_whole_pictures_are_added_and_learnt_from(room, capsys):
    "Accepted without masks, they join a dataset, are read from it, and teach a classifier."
    from rsqi.dataset import read_dataset
    data = room/'整幅数据'
    assert run('dataset', 'build', SAMPLES/'defective.tif', '--labels', SAMPLES/'defects.shp', '--size', 96, '--out', data, '--quiet')==0
    real = len(list(read_dataset(data)))
    assert paint(room, 'whole ones', '--count', 2, '--size', 32)==0
    assert run('augment', 'curate', room/'whole ones', '--against', data, '--accept', 'all', '--quiet')==0
    assert run('augment', 'add', room/'whole ones', '--data', data)==0 and '2 pictures added' in capsys.readouterr().out
    added = [e for e in read_dataset(data) if e.more.get('generated')]
    assert [(e.mask(), set(e.told), e.image().shape) for e in added]==[(None, {5}, (32,32,3))]*2 and not list(room.glob('.整幅数据*'))
    assert run('train', 'classifier', '--data', data, '--arch', 'resnet10t', '--weights', 'none', '--size', 32, '--steps', 1, '--out', room/'named', '--quiet')==0
    card = json.loads((room/'named/config.json').read_text())['trained']
    assert card['blocks']+card['held_out']['blocks']==real+2

def made(room, out, n=3, shade=90, key=KEY):
    "Write a folder as `generate` leaves it, without a painter."
    from rsqi.show import encode
    for i in range(n):
        told = dict(id=f'{key}/{i:05d}', defect=key, seed=i, model_sha256='0'*64, lora_sha256=None, mask=False, shape=(32,32))
        (room/out/key).mkdir(parents=True, exist_ok=True)
        (room/out/key/f'{i:05d}.png').write_bytes(encode(np.full((32,32,3), shade+i, np.uint8)))
        (room/out/key/f'{i:05d}.json').write_text(json.dumps(told))
    return room/out

def test_other_pictures_are_no_duplicates(room):
    "The same number, seed and checkpoint may give another picture; each is added, and none twice."
    from rsqi.curate import add_accepted, curate
    data = room/'added to'
    assert run('dataset', 'build', SAMPLES/'defective.tif', '--labels', SAMPLES/'defects.shp', '--size', 96, '--out', data, '--quiet')==0
    for out,shade in (('one',90), ('two',120)): curate(made(room, out, shade=shade), 'all')
    assert [add_accepted(room/out, data) for out in ('one', 'two', 'one', 'two')]==[3, 3, 0, 0]
    assert not list(room.glob('.added to*')) and not list(room.glob('.one*'))

def test_hostile_and_torn_pictures(room):
    from rsqi.inpaint import pictures_in
    from rsqi.refusals import Refused
    path = made(room, 'hostile')/KEY/'00001.json'
    whole = json.loads(path.read_text())
    for text in (json.dumps(whole|dict(id='../one/'+KEY+'/00000')), json.dumps(whole|dict(id=7)), json.dumps(whole|dict(defect='x')), '[]', '{"id": "spe'):
        path.write_text(text)
        with pytest.raises(Refused, match='00001.json'): pictures_in(room/'hostile')

def test_decisions_of_two(room, monkeypatch):
    "Automatic ones are so many in all, what somebody else wrote meanwhile stays, and a user without a name is somebody."
    import getpass
    from rsqi import curate as c
    from rsqi.refusals import Refused, holding
    folder = made(room, 'decided', 6)
    (folder/'ranks.json').write_text(json.dumps([c.Mark(f'{KEY}/{i:05d}', .5, 1., 1., '', 1-i/9)._asdict() for i in range(6)]))
    for best,n in ((2,2), (2,2), (3,3)): assert sum(v['accepted'] for v in c.curate(folder, best=best).values())==n
    def nobody(): raise KeyError('getpwuid(): uid not found: 12345')
    monkeypatch.setattr(getpass, 'getuser', nobody)
    for name in 'RSQI_USER', 'JUPYTERHUB_USER': monkeypatch.delenv(name, raising=False)
    numbers = c.numbers_of
    def meanwhile(text, pictures):
        (folder/'decisions.json').write_text(json.dumps({f'{KEY}/00005': dict(accepted=True, by='李', at='')}))
        return numbers(text, pictures)
    monkeypatch.setattr(c, 'numbers_of', meanwhile)
    assert {i[-1]: v['by'] for i,v in c.curate(folder, accept='4').items()}=={'4': 'somebody', '5': '李'}
    with holding(folder), pytest.raises(Refused, match='another run'): c.curate(folder, accept='1')
    monkeypatch.setattr(c, 'numbers_of', numbers)
    (folder/'decisions.json').write_text('{"clo')
    with pytest.raises(Refused, match='decisions.json'): c.curate(folder, accept='1')

def test_stopped_by_a_full_disk(room, capsys, monkeypatch):
    "What is painted stays; the same command goes on."
    from rsqi import inpaint
    put, n = inpaint.put_made, []
    def full(path, data):
        n.append(path)
        if len(n)>3: raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        put(path, data)
    monkeypatch.setattr(inpaint, 'put_made', full)
    order = 'full', '--count', 2, '--size', 32
    refused(capsys, paint(room, *order), 'No space left', 'free space')
    monkeypatch.setattr(inpaint, 'put_made', put)
    assert paint(room, *order)==0 and '1 picture painted' in capsys.readouterr().out

def test_training_on_a_full_disk(room, capsys, monkeypatch):
    "One line, whatever cannot be written; the same command with --resume then makes what it would have made."
    import torch
    from rsqi import diffuse
    full = lambda *a, **k: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left on device'))
    broken = lambda *a, **k: (_ for _ in ()).throw(RuntimeError('unexpected pos 134848 vs 134740')) # what torch says of a full disk
    for where,name,how,words in (diffuse,'put',full,'No space left'), (torch,'save',broken,'cannot be written'):
        with monkeypatch.context() as m:
            m.setattr(where, name, how)
            refused(capsys, teach(room, 'filled', '--epochs', 2, *(['--resume'] if (room/'filled').exists() else [])), words)
    assert teach(room, 'filled', '--epochs', 2, '--resume')==0 and teach(room, 'roomy', '--epochs', 2)==0
    assert (room/'filled'/diffuse.LORA).read_bytes()==(room/'roomy'/diffuse.LORA).read_bytes()

def test_extra_is_named(room, capsys, monkeypatch):
    from rsqi import diffuse
    from rsqi.refusals import Refused
    monkeypatch.setattr(diffuse, 'find_spec', lambda name: None)
    refused(capsys, teach(room, 'x'), "pip install 'rsqi[diffusion]'")
    refused(capsys, paint(room, 'x'), "pip install 'rsqi[diffusion]'")
    monkeypatch.setattr(diffuse, 'hub_folder', lambda *args: pytest.fail('asked the Hub first'))
    with pytest.raises(Refused, match='diffusion'): diffuse.checkpoint_folder('owner/of-no-such-name')
    assert not (room/'x').exists()
    made(room, 'no extra')
    assert run('augment', 'curate', room/'no extra', '--against', room/'数据', '--accept', 'all', '--quiet')==0   # these two paint nothing
    assert run('augment', 'add', room/'no extra', '--data', room/'数据')==0

def index(room, name, **said):
    "Copy the checkpoint and change its index."
    shutil.copytree(room/'模型', room/name)
    path = room/name/'model_index.json'
    path.write_text(json.dumps(json.loads(path.read_text())|said))
    return room/name

def test_wrong_checkpoints(room, capsys):
    "Each is refused in one line, before anything is written."
    (room/'empty').mkdir()
    pickled = index(room, 'pickled')
    for p in pickled.rglob('*.safetensors'): p.rename(p.with_suffix('.bin'))
    damaged = index(room, 'damaged')
    (damaged/'unet/diffusion_pytorch_model.safetensors').write_bytes(b'no weights')
    (index(room, 'torn')/'model_index.json').write_text('{')
    cases = {'empty': 'nothing', 'pickled': 'only safetensors', 'damaged': 'cannot be opened', 'torn': 'cannot be read',
             index(room, 'xl', _class_name='StableDiffusionXLPipeline').name: 'StableDiffusionXLPipeline',
             index(room, 'code', unet=['evil_unet', 'Evil']).name: 'code is not run', index(room, 'custom', _class_name=['pipe.py', 'Evil']).name: 'StableDiffusionPipeline'}
    for name,words in cases.items():
        status = run('augment', 'train', '--data', room/'数据', '--defect', KEY, '--model', room/name, '--out', room/'never', '--size', 32, '--quiet')
        refused(capsys, status, words)
    assert not (room/'never').exists()

def test_lora_of_another_checkpoint(room, capsys):
    from rsqi.diffuse import tiny_checkpoint
    assert (room/'whole/lora.json').exists() or teach(room, 'whole', '--epochs', 2)==0
    tiny_checkpoint(room/'other', seed=1)
    argv = 'augment', 'generate', '--lora', room/'whole', '--defect', KEY, '--out', room/'y', '--size', 32, '--model'
    refused(capsys, run(*argv, room/'other'), 'was taught on')
    refused(capsys, run(*argv, room/'whole'), 'a LoRA (name it with --lora)')

def test_hub_without_a_network(room, capsys, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    import huggingface_hub.constants as c
    monkeypatch.setattr(c, 'HF_HUB_OFFLINE', True)
    status = run('augment', 'generate', '--model', 'nobody/no-such-checkpoint', '--out', room/'z', '--quiet')
    refused(capsys, status, 'hf download nobody/no-such-checkpoint')

def test_no_data(room, capsys):
    (room/'bare').mkdir()
    refused(capsys, run('augment', 'train', '--data', room/'bare', '--model', room/'模型', '--out', room/'b', '--size', 32, '--quiet'), 'give a dataset')
    refused(capsys, run('augment', 'train', '--data', room/'数据', '--defect', KEY, '--model', room/'模型', '--out', room/'数据', '--size', 32, '--quiet'), 'nothing was deleted')

@pytest.mark.parametrize('seed', range(6))
def test_outside_stays(seed):
    "Whatever is painted, of any shape and region, the ground outside is the same to the bit, and the mask lies inside."
    from rsqi.fields import outline
    from rsqi.inpaint import composite, confined, weight_of
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 90, 2))
    ground, painted = (rng.integers(0, 256, (*shape,3)).astype(np.uint8) for _ in range(2))
    region = outline(shape, rng, float(rng.uniform(.01, 1)))
    after = composite(ground, painted, region, int(rng.integers(0, 9)))
    assert (after[~region]==ground[~region]).all() and not (weight_of(region, 4)[~region]>0).any()
    confined(ground, after, region)
    if not region.all():
        with pytest.raises(ValueError, match='outside'): confined(ground, np.where(region[...,None], ground, ground^255).astype(np.uint8), region)
