"Whoever judges a scene says the same: in one go, resumed after a stop, by groups of rows in any order, and replayed from what was stored."
import json
import numpy as np, pytest, rasterio
from affine import Affine
import rsqi.batch as batch, rsqi.guided as guided, rsqi.judge as judge, rsqi.pipeline as pipeline
from rsqi.config import Config
from rsqi.judge import CLEARLY, Layer, heard_seams, is_barely_believed
from rsqi.polygons import SeamLine
from rsqi.replay import Replay, choices_of, judged_again
from rsqi.segmenter import from_steps, whole_steps
from rsqi.taxonomy import IGNORED, default_taxonomy

class Network:
    "Smooth outlines that all blocks agree on, and beliefs that they do not; stops after so many blocks."
    def __init__(self, card, shape, seed, stop=None):
        self.card, self.seed, self.left, rng = card, seed, stop, np.random.default_rng(seed)
        yx = np.indices([n//4+9 for n in shape])
        waves = lambda: sum(np.sin(np.tensordot(rng.normal(0, .15, 2), yx, 1)+rng.uniform(0, 6)) for _ in range(5))
        self.field = from_steps(whole_steps(np.stack([3*waves()-2 for _ in range(6)])))

    def stream(self, asked):
        for window,image in asked:
            if self.left==0: raise KeyboardInterrupt
            self.left = self.left and self.left-1
            b, rng = window.block, np.random.default_rng([window.block.y, window.block.x, window.size, self.seed])
            y, x = ((at+np.arange(-(-n//4))*4*window.shrink)//4 for at,n in zip((b.y,b.x), image.shape))
            own = self.field[:, np.minimum(y, self.field.shape[1]-1)][:,:,np.minimum(x, self.field.shape[2]-1)]
            yield window, np.r_[rng.normal(-2, 2, 6), [-5.]*4].astype(np.float32), np.concatenate([own[:1]*0, own]), np.full((4,*own.shape[1:]), -9, np.float32)

SHAPES = [((300,210),None), ((121,400),(52,116,0,400)), ((170,300),(60,130,90,200)), ((64,300),None)] # and ground without data: y0, y1, x0, x1

def all_ways(tmp_path, monkeypatch, shape, hole, how, network=Network):
    "Inspect a scene in one go, after stops and by groups of rows; return the inspection when all say the same."
    card = pipeline.open_engine('default', 'auto', 'fp32').card
    image = np.random.default_rng(1).integers(40, 200, (3,*shape)).astype(np.uint8)
    if hole: image[:, hole[0]:hole[1], hole[2]:hole[3]] = 0
    with rasterio.open(tmp_path/'s.tif', 'w', driver='GTiff', height=shape[0], width=shape[1], count=3, dtype='uint8', nodata=0,
                       transform=Affine(.5,0,0,0,-.5,0), tiled=True, blockxsize=16, blockysize=16) as f: f.write(image)
    def inspect(name, stop=None):
        monkeypatch.setattr(pipeline, 'open_engine', lambda *_: network(card, shape, 1, stop))
        return pipeline.inspect_scene(tmp_path/'s.tif', tmp_path/name, how)
    def content(name):
        told = json.loads((tmp_path/name/'inspection.json').read_text()); told.pop('timings')
        return [(tmp_path/name/f).read_bytes() for f in ('mask.tif','confidence.tif','blocks.parquet')], told
    found = inspect('once')
    for stop in 1, 4, 6:
        with pytest.raises(KeyboardInterrupt): inspect(f'stopped{stop}', stop)
        inspect(f'stopped{stop}')
        assert content(f'stopped{stop}')==content('once')
    monkeypatch.setattr(batch, 'open_engine', lambda *_: network(card, shape, 1))
    with pipeline.open_scene(tmp_path/'s.tif', how) as scene, pipeline.claim(tmp_path/'shared', pipeline.key_of(scene, how), False):
        rows = batch.rows_in_order(scene.shape, how.sizes)
        for some in rows[len(rows)//2:], rows[:len(rows)//2]: batch.judge_rows(scene, tmp_path/'shared', how, frozenset(some))
    inspect('shared', 0)                              # the network is asked nothing more
    assert content('shared')==content('once')
    return found

@pytest.mark.parametrize('fusion', ['absolute','intermediate'])
@pytest.mark.parametrize('shape,hole', SHAPES)
def test_all_ways_say_the_same(tmp_path, monkeypatch, shape, hole, fusion):
    "Last rows and columns are shifted, and share ground with two others."
    monkeypatch.setitem(judge.CLEARLY, 'distortion', .3) # so that many wait for a word
    monkeypatch.setattr(guided, 'OPEN', 0)               # logits stay the whole steps in which they are stored
    found = all_ways(tmp_path, monkeypatch, shape, hole, Config(sizes=(64,128), fusion=fusion, keep_logits=True))
    with rasterio.open(tmp_path/'once'/'mask.tif') as f: mask = f.read(1)
    again, chosen, regions = Replay(tmp_path/'once', cell=1), choices_of(found), [d.value for d in default_taxonomy().family('region')]
    drawn, known = judged_again(again, chosen).mask, mask!=IGNORED
    assert np.array_equal(np.where(np.isin(drawn, regions), drawn, 0)[known], np.where(np.isin(mask, regions), mask, 0)[known])
    said = [s[i] for s in again.said(chosen) for i in range(len(s.stack.blocks))]
    assert (mask>0).any() and (shape[0]<100 or fusion!='absolute' or any(p.known for p in said) and any(p.muted for p in said))

class Joined(Network):
    "Believes in seams, now barely, now clearly, and in no regions, which might wait for longer."
    def stream(self, asked):
        for window,labels,*maps in super().stream(asked):
            labels[6:8] = np.random.default_rng([window.block.y, window.block.x, window.size, 77]).choice([-2,.2,.5,.9,3], 2)
            maps[0][1:] = -9
            yield window, labels, *maps

def some_seams(p, look, window):
    "Lines that run through the whole scene, of which each block finds some, and others that only it finds; every third cannot be measured"
    b, rng, out = window.block, np.random.default_rng([window.block.y, window.block.x, window.size]), []
    for value,at,length in [(v,at,n) for v in (7,8) for at,n in ((60,999), (150,999), (240,999), (rng.integers(0,300),rng.integers(30,70)))]:
        start, end, first = (b.x, b.w, b.y) if value==7 else (b.y, b.h, b.x)
        if p[value-1]<.5 or not start<=at<start+end or rng.random()<.3: continue
        line = np.array([[first,at],[first+min(length, b.h if value==7 else b.w),at]], float)
        line, mask = line if value==7 else line[:,::-1], np.zeros(window.image.shape[:2], np.uint8)
        y, x = ((line-(b.y,b.x))/window.shrink).astype(int).T
        mask[y.min():y.max()+1, x.min():x.max()+1] = value
        out.append(Layer(mask, np.uint8(rng.integers(30, 255)), SeamLine(value, line, float(rng.uniform(1, 9)) if rng.random()<.7 else None)))
    return tuple(out)

@pytest.mark.parametrize('shape,hole', SHAPES)
def test_seams_wait_for_a_word_and_for_nothing_else(tmp_path, monkeypatch, shape, hole):
    "What is drawn is what the rule says when all blocks are known at once, however the scene is judged; measured lines go along."
    runs, key = [], lambda block, seam: (tuple(block), seam.value, seam.line.tolist(), seam.measure)
    class Work(pipeline.Work):
        def __init__(self, *args): super().__init__(*args); runs.append((self, found := [], drawn := [])); self.found, self.drawn = found, drawn
        def settle(self, window, row, found): self.found += [(window, found)] if found else []; super().settle(window, row, found)
        def draw(self, block, layer): self.drawn += [key(block, layer.seam)] if layer.seam else []; super().draw(block, layer)
    monkeypatch.setattr(pipeline, 'Work', Work); monkeypatch.setattr(judge, 'seams_of', some_seams); monkeypatch.setattr(judge, 'hear', lambda labels, *_: labels)
    all_ways(tmp_path, monkeypatch, shape, hole, Config(sizes=(64,128)), Joined)
    work, found, drawn = runs[0]
    wanted = []
    for window,said in found:
        around = [(w.block, f) for w,f in found if w.size==window.size]
        lines, seams = [(b, l.seam.line) for b,f in around for l in f.layers if l.seam], [l for l in said.layers if l.seam]
        barely = [l for l in seams if is_barely_believed(l, said.p)]
        heard = heard_seams(barely, window.block, lines, [b for b,_ in around], window.shrink)
        wanted += [key(window.block, l.seam) for l in seams if not any(l is b for b in barely) or any(l is h for h in heard)]
    assert sorted(drawn, key=str)==sorted(wanted, key=str)
    assert sorted(key((), s) for s in work.seams)==sorted(((), *k[1:]) for k in drawn if k[3] is not None)
    lost = sum(l.seam is not None for _,f in found for l in f.layers)-len(drawn)
    assert drawn and (shape[0]<100 or lost), (len(drawn), lost)

def test_what_waits():
    "Every region and boundary defect, beyond a step that leaves the sure ones free"
    keys = {d.key for f in ('region','boundary') for d in default_taxonomy().family(f)}
    assert {*CLEARLY}==keys and all(.05<=step<=.3 for step in CLEARLY.values())
