"Whoever judges a scene says the same: in one go, resumed after a stop, by groups of rows in any order, and replayed from what was stored."
import numpy as np, pytest, rasterio
from affine import Affine
import rsqi.batch as batch, rsqi.judge as judge, rsqi.pipeline as pipeline
from rsqi.config import Config
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

@pytest.mark.parametrize('fusion', ['absolute','intermediate'])
@pytest.mark.parametrize('shape,hole', [((300,210),None), ((121,400),(52,116,0,400)), ((170,300),(60,130,90,200)), ((64,300),None)])
def test_all_ways_say_the_same(tmp_path, monkeypatch, shape, hole, fusion):
    "`hole` is ground without data: y0, y1, x0, x1. Last rows and columns are shifted, and share ground with two others."
    monkeypatch.setitem(judge.CLEARLY, 'distortion', .3) # so that many wait for a word
    card, how = pipeline.open_engine('default', 'auto', 'fp32').card, Config(sizes=(64,128), fusion=fusion, keep_logits=True)
    image = np.random.default_rng(1).integers(40, 200, (3,*shape)).astype(np.uint8)
    if hole: image[:, hole[0]:hole[1], hole[2]:hole[3]] = 0
    with rasterio.open(tmp_path/'s.tif', 'w', driver='GTiff', height=shape[0], width=shape[1], count=3, dtype='uint8', nodata=0,
                       transform=Affine(.5,0,0,0,-.5,0), tiled=True, blockxsize=16, blockysize=16) as f: f.write(image)
    def inspect(name, stop=None):
        monkeypatch.setattr(pipeline, 'open_engine', lambda *_: Network(card, shape, 1, stop))
        return pipeline.inspect_scene(tmp_path/'s.tif', tmp_path/name, how)
    content = lambda name: [(tmp_path/name/f).read_bytes() for f in ('mask.tif','confidence.tif','blocks.parquet')]
    found = inspect('once')
    for stop in 1, 4, 6:
        with pytest.raises(KeyboardInterrupt): inspect(f'stopped{stop}', stop)
        inspect(f'stopped{stop}')
        assert content(f'stopped{stop}')==content('once')
    monkeypatch.setattr(batch, 'open_engine', lambda *_: Network(card, shape, 1))
    with pipeline.open_scene(tmp_path/'s.tif', how) as scene, pipeline.claim(tmp_path/'shared', pipeline.key_of(scene, how), False):
        rows = batch.rows_in_order(scene.shape, how.sizes)
        for some in rows[len(rows)//2:], rows[:len(rows)//2]: batch.judge_rows(scene, tmp_path/'shared', how, frozenset(some))
    inspect('shared', 0)                              # the network is asked nothing more
    assert content('shared')==content('once')
    with rasterio.open(tmp_path/'once'/'mask.tif') as f: mask = f.read(1)
    again, chosen, regions = Replay(tmp_path/'once', cell=1), choices_of(found), [d.value for d in default_taxonomy().family('region')]
    drawn, known = judged_again(again, chosen).mask, mask!=IGNORED
    assert np.array_equal(np.where(np.isin(drawn, regions), drawn, 0)[known], np.where(np.isin(mask, regions), mask, 0)[known])
    said = [s[i] for s in again.said(chosen) for i in range(len(s.stack.blocks))]
    assert (mask>0).any() and (shape[0]<100 or fusion!='absolute' or any(p.known for p in said) and any(p.muted for p in said))
