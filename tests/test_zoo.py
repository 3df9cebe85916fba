"Every network of the paper: it learns a step, is saved, opens again without a network, and answers in the order of the table."
import json, os, pickle, socket, warnings
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from rsqi.cli import main
from rsqi.config import Config
from rsqi.engine import SILENCE, Engine, ModelError, Notice, load_network, model_folder, part, weights_hash
from rsqi.feed import Job, Recipe, toy
from rsqi.network import Inspector, inner_of
from rsqi.nets import Whole, read_net, save_net
from rsqi.refusals import Refused
from rsqi.taxonomy import default_taxonomy
from rsqi.torch_guard import transformers
from rsqi.tune import final_figures, tune
from rsqi.zoo import architectures, new_net, save_pair

TAX = default_taxonomy()
BLOCKS = np.random.default_rng(0).integers(0, 256, (2,64,96,3), dtype=np.uint8)
TEXT = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
SWIN = dict(img_size=64, window_size=4, embed_dim=12, depths=(1,1), num_heads=(2,2))
FORMER = dict(depths=[1,1,1,1], hidden_sizes=[8,16,24,32], num_attention_heads=[1,2,2,2], decoder_hidden_size=16)
GROUPS = dict(TEXT, image_size=224, patch_size=56, num_hidden_layers=2, depths=[1,1], num_group_tokens=[8,0], num_output_groups=[4,4])
SMALL = { # (role, row of architectures.toml, or another name) -> options of the same classes, small
    ('classifier','compact'): {}, ('classifier','resnet50'): dict(layers=[1,1,1,1]),
    ('classifier','swinv2-base'): dict(SWIN, img_size=192, window_size=6), ('classifier','swinv2-tiny'): dict(SWIN, img_size=256),
    ('classifier','blip'): dict(text_config=dict(TEXT, encoder_hidden_size=32), vision_config=dict(TEXT, image_size=384, patch_size=96)),
    ('classifier','mobilenetv3_small_050'): {}, ('classifier','vit'): dict(TEXT, image_size=64, patch_size=16),
    ('segmenter','compact'): {}, ('segmenter','mobilenetv2'): dict(depth_multiplier=.25),
    **{('segmenter',f'segformer-b{i}'): FORMER for i in range(6)},
    ('segmenter','clipseg'): dict(text_config=TEXT, vision_config=dict(TEXT, image_size=352, patch_size=88, num_hidden_layers=2), projection_dim=16,
                                  reduce_dim=8, extract_layers=[0,1], decoder_num_attention_heads=2, decoder_intermediate_size=32),
    ('segmenter','groupvit'): dict(text_config=TEXT, vision_config=GROUPS, projection_dim=16, projection_intermediate_dim=32),
    ('segmenter','beit'): dict(TEXT, image_size=64, patch_size=16, num_hidden_layers=4, out_indices=[1,2,3,4], use_auxiliary_head=False),
}
LESSON = Recipe(epochs=1, batch=4, rate=1e-3, size=64, hold=.25)

@pytest.fixture(scope='module', autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    "Whatever asks for another machine fails the test."
    connect = socket.socket.connect
    def refuse(self, address):
        if self.family==socket.AF_UNIX: return connect(self, address)
        raise AssertionError(f'{address} was asked for')
    monkeypatch.setattr(socket.socket, 'connect', refuse)

@pytest.fixture(scope='module')
def data(tmp_path_factory): return toy(tmp_path_factory.mktemp('toy'))

def job(data, out, role, arch, **more):
    known = dict(weights='none', recipe=LESSON, steps=1, device='cpu', options=SMALL.get((role, arch), {}))
    return Job(str(data), str(out), role, arch, **known | more)

def segformer(data, out, **more): return job(data, out, 'segmenter', 'segformer-b0', **more)

def test_every_row_is_tried(): assert {(r,n) for r,rows in architectures().items() for n in rows}<=set(SMALL)

@pytest.mark.parametrize('role,arch', SMALL, ids=lambda v: v)
def test_learns_saves_opens_and_answers(data, tmp_path, role, arch):
    asked = job(data, tmp_path/'run', role, arch)
    fresh, card = new_net(role, arch, 'none', SMALL[role, arch])
    before = {k: v.clone() for k,v in fresh.state_dict().items()}
    report, = tune(asked)
    assert np.isfinite(report['loss']) and report['loss']>0 and report['step']==report['steps']==1
    with torch.no_grad(): labels, regions, lines = Engine(str(tmp_path/'run')).run(BLOCKS)
    assert (labels.shape, regions.shape, lines.shape)==((2,10), (2,7,16,24), (2,4,16,24)) and all(np.isfinite(a).all() for a in (labels, regions))
    from safetensors.torch import load_model
    load_model(fresh, next((tmp_path/'run').glob('checkpoint-*'))/'weights.safetensors')  # what was in memory when it was saved
    with torch.no_grad(): wanted = Whole(**{role: fresh.eval()})(torch.from_numpy(BLOCKS))
    for got,there in zip((labels, regions), wanted): np.testing.assert_allclose(got, there.numpy(), atol=1e-3)
    assert any(not torch.equal(before[k], v) for k,v in fresh.state_dict().items() if v.dtype.is_floating_point)
    saved = json.loads((tmp_path/'run'/'config.json').read_text())
    assert saved['classes']==card['classes'] and saved['trained']['seed']==0 and saved['start']=='none'

@pytest.mark.parametrize('role,arch,millions', [('classifier','resnet50',23.5), ('classifier','swinv2-base',86.9), ('classifier','swinv2-tiny',27.6),
                                                ('segmenter','segformer-b0',3.7), ('segmenter','segformer-b5',84.6), ('segmenter','mobilenetv2',2.5)])
def test_the_real_size(role, arch, millions):
    "The networks that the table names, without their numbers: as large as their authors say"
    with torch.device('meta'): net, _ = new_net(role, arch, 'none')
    assert abs(sum(p.numel() for p in net.parameters())/1e6-millions)<.1

@pytest.mark.skipif(not os.environ.get('RSQI_SLOW'), reason='make slow')
@pytest.mark.parametrize('role,arch', [('classifier','resnet50'), ('classifier','swinv2-base'), ('segmenter','segformer-b5')])
def test_the_real_size_learns(data, tmp_path, role, arch):
    report, = tune(job(data, tmp_path/'run', role, arch, options={}, recipe=replace(LESSON, batch=2)))
    assert np.isfinite(report['loss']) and Engine(str(tmp_path/'run')).run(BLOCKS)[0].shape==(2,10)

def test_bf16(data, tmp_path):
    report, = tune(segformer(data, tmp_path/'run', precision='bf16'))
    assert np.isfinite(report['loss'])

# Training that is stopped, and that goes on

KEPT = 'epoch', 'step', 'loss', 'miou', 'iou', 'rate'

class Stop(Exception): pass

def stops(after):
    "Return a progress that stops a training after some steps."
    def progress(items, total, label):
        for i,x in enumerate(items):
            if i==after: raise Stop
            yield x
    return progress

def test_stopped_in_an_epoch_it_ends_with_the_same_numbers(data, tmp_path, monkeypatch):
    plan = segformer(data, tmp_path/'whole', steps=None, recipe=replace(LESSON, epochs=2, batch=2))
    whole = [[r[k] for k in KEPT] for r in tune(plan)]
    monkeypatch.setattr('rsqi.tune.EVERY', -1)  # a checkpoint after every step
    plan = replace(plan, out=str(tmp_path/'torn'))
    with pytest.raises(Stop): list(tune(plan, progress=stops(2)))
    torn, = (tmp_path/'torn').glob('checkpoint-*')
    assert torn.name=='checkpoint-0000002'
    assert [[r[k] for k in KEPT] for r in tune(plan, resume=True)]==whole
    read = lambda name: (tmp_path/name/'weights.safetensors').read_bytes()
    assert read('torn')==read('whole')

def test_workers_draw_the_same(data, tmp_path):
    losses = [next(iter(tune(segformer(data, tmp_path/str(n), steps=2, workers=n, recipe=replace(LESSON, batch=2)))))['loss'] for n in (0, 2)]
    assert losses[0]==losses[1]

def test_a_damaged_checkpoint_is_refused(data, tmp_path):
    plan = segformer(data, tmp_path/'run', steps=None, recipe=replace(LESSON, epochs=2))
    run = tune(plan); next(run); run.close()
    state = next((tmp_path/'run').glob('checkpoint-*'))/'state.pt'
    for junk in b'junk', pickle.dumps(print):
        state.write_bytes(junk)
        with pytest.raises(Refused, match='damaged.*delete it'): next(tune(plan, resume=True))

def test_another_plan_is_refused_and_nothing_is_lost(data, tmp_path):
    plan = segformer(data, tmp_path/'run')
    list(tune(plan))
    before = {p.name: p.read_bytes() for p in (tmp_path/'run').iterdir() if p.is_file()}
    for change,words in [(dict(seed=1), 'another seed'), (dict(recipe=replace(LESSON, rate=.01)), 'another recipe'), (dict(steps=2), 'another steps')]:
        with pytest.raises(Refused, match=words): next(tune(replace(plan, **change), resume=True))
    with pytest.raises(Refused, match='--resume'): next(tune(plan))
    assert before=={p.name: p.read_bytes() for p in (tmp_path/'run').iterdir() if p.is_file()}

def test_a_folder_of_somebody_else_is_refused(data, tmp_path):
    (tmp_path/'run').mkdir(); (tmp_path/'run'/'thesis.txt').write_text('mine')
    with pytest.raises(Refused, match='nothing was deleted'): next(tune(segformer(data, tmp_path/'run')))

def test_a_loss_that_runs_away_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr('rsqi.nets.SegmenterNet.loss', lambda self, batch: self(batch.image).sum()*float('nan'))
    with pytest.raises(Refused, match='lower --rate'): next(tune(segformer(data, tmp_path/'run')))

@pytest.mark.parametrize('role,words', [('segmenter', '0 blocks with a mask and a region defect'), ('classifier', '1 blocks')])
def test_too_little_to_learn_from(tmp_path, role, words):
    from PIL import Image
    Image.fromarray(np.full((64,64,3), 99, np.uint8)).save(tmp_path/'a.png')
    (tmp_path/'train.json').write_text(json.dumps(dict(image='a.png', cate_ids=[0])))
    with pytest.raises(Refused, match=words): next(tune(job(tmp_path, tmp_path/'run', role, 'compact')))
    assert not (tmp_path/'run').exists()

def test_a_dataset_that_we_built(tmp_path):
    "from scenes to a model: the Parquet files of `rsqi dataset build`, held out by ground, tested at the end"
    from rsqi.dataset import build_dataset
    from rsqi.selection import Recipe as Blocks
    samples = Path(__file__).parents[1]/'data_samples'
    build_dataset([samples/'defective.tif'], samples/'defects.shp', tmp_path/'ds', Blocks(sizes=(256,)))
    report, = tune(segformer(tmp_path/'ds', tmp_path/'run'))
    assert report['miou']>0 and final_figures(segformer(tmp_path/'ds', tmp_path/'run')) is None
    assert json.loads((tmp_path/'run'/'config.json').read_text())['trained']['held_out']['blocks']>0

# The authors' published networks, in small: the same classes, the same names

def publish(folder, auto, config, names, size):
    "Write a checkpoint as its authors did."
    hf = transformers()
    labels = dict(id2label=dict(enumerate(names)), label2id={n: i for i,n in enumerate(names)})
    torch.manual_seed(0)
    net = getattr(hf, auto).from_config(hf.AutoConfig.for_model(**config, **labels)).eval()
    net.save_pretrained(folder)
    (folder/'preprocessor_config.json').write_text(json.dumps(dict(do_resize=True, size=dict(height=size, width=size), resample=3, do_normalize=True,
                                                                    image_mean=[.485,.456,.406], image_std=[.229,.224,.225])))
    return net

PUBLISHED = dict(model_type='swinv2', image_size=32, patch_size=2, embed_dim=16, depths=[1,1], num_heads=[2,2], window_size=4,
                 problem_type='multi_label_classification', path_norm=True, pretrained_window_sizes=[0,0])
NINE = ['云','阴影','拉花','模糊','光谱溢出','扭曲','拼接痕迹','拼接错误','条状噪声']

@pytest.fixture
def cache(tmp_path, monkeypatch):
    "A cache of the Hub that holds both repositories."
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path/'hub'))
    nets = {}
    for role,auto,config,names in (('classifier','AutoModelForImageClassification',PUBLISHED,NINE),
                                   ('segmenter','AutoModelForSemanticSegmentation',dict(FORMER, model_type='segformer'),['背景',*NINE[:6]])):
        repo, _, revision = json.loads((Path(__file__).parents[1]/'rsqi/models/paper/config.json').read_text())[role].partition('@')
        home = tmp_path/'hub'/f"models--{repo.replace('/', '--')}"
        folder = home/'snapshots'/('0'*40)
        folder.mkdir(parents=True)
        ref = home/'refs'/(revision or 'main'); ref.parent.mkdir(parents=True); ref.write_text('0'*40)
        nets[role] = publish(folder, auto, config, names, 64 if role=='segmenter' else 32)
    return nets

def test_the_preset_paper(cache):
    from rsqi.classifier import load_classifier
    from rsqi.segmenter import load_segmenter
    with pytest.warns(Notice, match='paper: licence CC-BY-NC-4.0, not for commercial use'): engine = Engine('paper')
    labels, regions, _ = engine.run(BLOCKS)
    eye = engine.net.net.names.classifier.eye
    with torch.no_grad(): theirs = cache['classifier'](eye(torch.from_numpy(BLOCKS))).logits.numpy()
    np.testing.assert_allclose(labels[:,:9], theirs, atol=1e-4)
    assert (labels[:,9]==SILENCE).all() and regions.shape==(2,7,16,24)
    heard = load_classifier('paper').logits(BLOCKS)
    assert heard.shape==(2,10) and load_segmenter('paper').logits(BLOCKS).shape==(2,7,16,24)
    assert weights_hash('paper')!=weights_hash('default')

def test_names_decide_and_not_positions(tmp_path):
    order = np.random.default_rng(1).permutation(9)
    net = publish(tmp_path/'mixed', 'AutoModelForImageClassification', PUBLISHED, [NINE[i] for i in order], 32)
    engine = Engine(str(tmp_path/'mixed'))
    with torch.no_grad(): theirs = net(engine.net.net.classifier.eye(torch.from_numpy(BLOCKS))).logits.numpy()
    np.testing.assert_allclose(engine.run(BLOCKS)[0][:,order], theirs, atol=1e-4)

def test_what_is_missing_never_fires_and_pixels_still_speak(cache):
    from rsqi.classifier import load_classifier
    blank = np.full((1,256,256,3), 90, np.uint8); blank[0,60:90,40:200] = 0
    classifier = load_classifier('paper')
    assert classifier.engine.run(blank)[0][0,9]==SILENCE and classifier.logits(blank)[0,9]>0
    assert load_classifier('paper').logits(np.full((1,256,256,3), 90, np.uint8))[0,9]<0

# Pairs

def test_the_classifier_decides_what_is_asked(data, tmp_path):
    "the input-side constraint: what is not seen is no prompt, and cannot be outlined"
    for role,arch in ('classifier','resnet50'), ('segmenter','clipseg'): list(tune(job(data, tmp_path/arch, role, arch)))
    save_pair(tmp_path/'pair', tmp_path/'resnet50', tmp_path/'clipseg')
    labels, regions, _ = Engine(str(tmp_path/'pair')).run(BLOCKS)
    for z,maps in zip(labels, regions): assert [bool(m.max()>SILENCE) for m in maps[1:]]==[bool(v>0) for v in z[:6]]
    assert (labels[:,:6]>0).any() and (labels[:,:6]<=0).any()

def test_a_pair_inspects_a_scene_and_can_be_moved(data, tmp_path):
    from conftest import land, write
    from rsqi.pipeline import inspect_scene
    for role,arch in ('classifier','resnet50'), ('segmenter','segformer-b0'): list(tune(job(data, tmp_path/'home'/arch, role, arch)))
    save_pair(tmp_path/'home'/'pair', tmp_path/'home'/'resnet50', tmp_path/'home'/'segformer-b0')
    os.rename(tmp_path/'home', tmp_path/'away')
    write(tmp_path/'s.tif', land(150, 200))
    found = inspect_scene(tmp_path/'s.tif', tmp_path/'out', Config(model=str(tmp_path/'away'/'pair'), sizes=(128,)))
    assert found.verdict['outcome'] in ('CLEAN','DEFECT') and found.verdict['inspected_share']==1
    assert found.models['classifier']['sha256']==weights_hash(str(tmp_path/'away'/'pair'))

def test_the_default_network_can_name_for_another(data, tmp_path, model):
    list(tune(segformer(data, tmp_path/'former')))
    save_pair(tmp_path/'pair', model, tmp_path/'former')
    labels, regions, lines = Engine(str(tmp_path/'pair')).run(BLOCKS)
    alone = Engine(str(model), 'torch').run(BLOCKS)
    np.testing.assert_allclose(labels, alone[0], atol=1e-4); np.testing.assert_allclose(lines, alone[2], atol=1e-4)
    np.testing.assert_allclose(regions, Engine(str(tmp_path/'former')).run(BLOCKS)[1], atol=1e-4)

# One line

@pytest.fixture
def refused(capsys):
    def line(*argv):
        status = main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert (status, out, len(err.strip().splitlines()))==(2, '', 1), err
        return err
    return line

@pytest.mark.parametrize('argv,words', [
    ('train classifier --data D --out O --arch swim2-base --weights none', ('swim2-base', 'did you mean', 'swinv2-base')),
    ('train segmenter --data D --out O --arch segformer --weights nowhere', ('nowhere', '--weights none')),
    ('train classifier --data D --out O --arch resnet50', ('timm/resnet50', 'hf download', '--weights none')),
    ('train segmenter --data D --out O --arch beit', ('nobody knows weights', 'none')),
    ('train segmenter --data nowhere --out O --weights none', ('nowhere', 'give a dataset')),
    ('train classifier --data D --out O --recipe fast --weights none', ('fast', 'paper, scratch, quick')),
    ('train classifier --data D --out O --size 100 --weights none', ('100', 'multiple of 32')),
    ('train classifier --data D --out O --rate 5 --weights none', ('rate', '5')),
    ('train classifier --data D --out O --device cuda:9 --weights none', ('cuda:9', 'use auto or cpu')),
    ('train classifier --data D --out O --device tpu --weights none', ('tpu',)),
    ('train classifier --data D --out D/train.json --weights none', ('is a file',)),
    ('model pair --classifier default --segmenter nowhere --out O', ('nowhere',)),
    ('model pair --classifier default --segmenter default --out D', ('is there already',)),
    ('model convert D', ('pytorch_model.bin',)),
    ('train', ('WHICH',)), ('train painter', ('painter',)), ('model pair', ('--classifier',))], ids=lambda v: v if isinstance(v, str) else '')
def test_what_is_wrong_is_one_line(data, tmp_path, monkeypatch, refused, argv, words):
    monkeypatch.setattr(socket.socket, 'connect', lambda *_: (_ for _ in ()).throw(OSError('no network')))
    said = refused(*(w.replace('D', str(data), 1) if w[:1]=='D' else str(tmp_path/'O') if w=='O' else w for w in argv.split()))
    assert all(w in said for w in words), said
    assert not (tmp_path/'O').exists()

def test_models_that_cannot_be_opened(data, tmp_path, refused):
    from conftest import land, write
    scene = write(tmp_path/'s.tif', land(64, 64))
    list(tune(segformer(data, tmp_path/'run')))
    inspect = lambda name: refused('inspect', scene, '--model', tmp_path/name, '--out', tmp_path/'out', '--quiet')
    (tmp_path/'run'/'weights.safetensors').write_bytes(b'junk')
    assert 'copy the model again' in inspect('run')
    (tmp_path/'run'/'weights.safetensors').unlink()
    assert 'no weights.safetensors' in inspect('run')
    publish(tmp_path/'numbers', 'AutoModelForImageClassification', PUBLISHED, ['LABEL_0','LABEL_1'], 32)
    assert 'name no defect' in inspect('numbers')
    publish(tmp_path/'twice', 'AutoModelForImageClassification', PUBLISHED, ['云','cloud'], 32)
    assert "two labels of this model are 'cloud'" in inspect('twice')
    publish(tmp_path/'pickled', 'AutoModelForImageClassification', PUBLISHED, NINE, 32)
    os.rename(tmp_path/'pickled'/'model.safetensors', tmp_path/'pickled'/'pytorch_model.bin')
    assert 'rsqi model convert' in inspect('pickled')
    (tmp_path/'odd').mkdir(); (tmp_path/'odd'/'config.json').write_text('{"family": "oracle"}')
    assert "family 'oracle'" in inspect('odd')
    (tmp_path/'odd'/'config.json').write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    assert 'BertModel' in inspect('odd')
    (tmp_path/'odd'/'config.json').write_text('not json')
    inspect('odd')
    assert not (tmp_path/'out').exists()

def test_weights_of_another_network_are_refused(data, tmp_path):
    list(tune(segformer(data, tmp_path/'former')))
    with pytest.raises(ModelError, match='fit 0%.*or none'): new_net('segmenter', 'mobilenetv2', str(tmp_path/'former'), SMALL['segmenter','mobilenetv2'])
    with pytest.raises(ModelError, match='no classifier to teach'): new_net('classifier', str(tmp_path/'former'))

def test_a_licence_is_handed_down(data, tmp_path):
    "what is taught from non-commercial weights says so, and so does a pair with it"
    publish(tmp_path/'theirs', 'AutoModelForSemanticSegmentation', dict(FORMER, model_type='segformer'), ['背景',*NINE[:6]], 64)
    (tmp_path/'theirs'/'README.md').write_text('---\nlanguage: zh\nlicense: cc-by-nc-4.0\n---\n')
    with pytest.warns(Notice): list(tune(job(data, tmp_path/'mine', 'segmenter', str(tmp_path/'theirs'), weights=None)))
    with pytest.warns(Notice, match='cc-by-nc-4.0'): Engine(str(tmp_path/'mine'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        save_pair(tmp_path/'pair', 'default', tmp_path/'mine')
    assert 'cc-by-nc-4.0' in json.loads((tmp_path/'pair'/'config.json').read_text())['licence']

def test_the_command_line_says_how_it_goes(data, tmp_path, capsys):
    asked = ['train', 'segmenter', '--data', data, '--arch', 'compact', '--weights', 'none', '--out', tmp_path/'run', '--batch', 4, '--size', 64, '--epochs', 2, '--device', 'cpu']
    assert main(list(map(str, asked)))==0
    out, err = capsys.readouterr()
    lines = out.strip().splitlines()
    assert len(lines)==3 and lines[0].startswith('epoch 1/2  step 2/4  loss') and 'mIoU' in lines[0] and 'left' in lines[0] and lines[-1]==f"model: {tmp_path/'run'}"
    assert 'steps 2/2' in err
    assert len((tmp_path/'run'/'log.csv').read_text().splitlines())==3 and (tmp_path/'run'/'loss.png').read_bytes()[1:4]==b'PNG'

@pytest.mark.parametrize('role', ['classifier', 'segmenter'])
def test_the_compact_network_starts_from_the_default_model(role, tmp_path):
    "Whose bottlenecks are narrower than those of its architecture."
    net, card = new_net(role, 'compact', 'default')
    assert tuple(card['options']['inner'])==inner_of(load_network(model_folder('default')).state_dict())!=inner_of(Inspector().state_dict())
    save_net(net, tmp_path/'model', card)
    assert inner_of(load_network(tmp_path/'model').state_dict())==tuple(card['options']['inner'])
