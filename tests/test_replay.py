"A replay is quick because it works out little; it says what working out everything would say."
import warnings
from contextlib import suppress
from dataclasses import replace
import numpy as np, pytest, rasterio
from inspection_folder import write_folder
from rsqi.grid import Block
from rsqi.inspection import Inspection
from rsqi.judge import only, pulls, shared, vouched
from rsqi.merge import Bands
from rsqi.polygons import Area, polygonize
from rsqi.redraw import Joined
from rsqi.replay import Overtaken, Replay, _at_scene, choices_of, judged_again, table_of
from rsqi.segmenter import decide, from_steps, whole_steps
from rsqi.taxonomy import default_taxonomy
from rsqi.viewer import COARSE, LiveMask

SIZE, APART, SIDE = 128, 96, 1536
CHOICES = (np.inf, .5), (np.inf, .55), (np.inf, .3), (1., .5), (1., np.inf), (0., .5), (np.inf, .5)

@pytest.fixture(scope='module')
def found(tmp_path_factory):
    "An inspection with logits of smooth clouds and shadows that reach over several blocks."
    found = Inspection.load(write_folder(tmp_path_factory.mktemp('replay')/'scene.rsqi', shape=(SIDE,SIDE)))
    (found.dir/'logits').mkdir()
    rng, n = np.random.default_rng(0), SIDE//4
    yx = np.indices((n,n))
    waves = lambda: sum(np.sin(np.tensordot(rng.normal(0, .12, 2), yx, 1)+rng.uniform(0, 6)) for _ in range(5))
    logits = np.stack([3*waves()-2 for _ in range(6)])
    for y in range(0, SIDE-SIZE+1, APART):
        for x in range(0, SIDE-SIZE+1, APART):
            own = logits[:,y//4:(y+SIZE)//4,x//4:(x+SIZE)//4]
            np.savez(found.dir/f'logits/{SIZE}_{y}_{x}.npz', labels=np.r_[own.max((1,2))-7+rng.normal(size=6), [-5.]*4].astype(np.float32),
                     regions=whole_steps(own), law='asinh')
    return found

def whole_block(stack, i, shift):
    "A block, every cell and class of it."
    seg = from_steps(stack.regions[i])+shift[:,None,None]
    return decide(np.concatenate([np.zeros((1,*seg.shape[1:]), np.float32), seg]))

def everything(stack, alpha, t):
    "What all blocks draw with their neighbours heard, the long way: [(known, muted, classes, confidence)]"
    own, place = pulls(stack, alpha, t), [Block(*map(int, b)) for b in stack.blocks]
    drew = [only(whole_block(stack, i, p.shift)[0], p.sure) for i,p in enumerate(own)]
    out = []
    for i,p in enumerate(own):
        (classes, sure), (more, surer) = whole_block(stack, i, p.shift), whole_block(stack, i, p.lifted)
        near = [(place[j], drew[j]) for j in range(len(own)) if j!=i and shared(place[i], place[j])]
        known = vouched(place[i], more*((classes==0) & np.r_[False, p.half][more]), near)
        mine, doubt = (classes==0) & np.isin(more, [v for v in np.unique(known) if v]), only(classes, p.doubt)
        gone = (doubt>0) & (vouched(place[i], doubt, near)==0) & bool(near)
        classes, sure = np.where(gone, 0, classes), np.where(gone, 0, sure)
        out.append((*(tuple(int(v) for v in np.unique(m) if v) for m in (known, doubt*gone)), np.where(mine, more, classes), np.where(mine, surer, sure)))
    return out

def test_the_short_way_is_the_long_way(found):
    "Bit by bit, and from one choice to the next."
    stack, = Replay(found).stacks
    before = None
    for turn,(alpha,t) in enumerate(CHOICES):
        now, leant, silent = Joined(stack, alpha, t, before), 0, 0
        if turn==3: now.kept.most = 1<<16 # hardly anything is remembered from now on
        assert now.kept.bytes<=max(now.kept.most, 1<<16) or turn==3
        for i,(known,muted,classes,sure) in enumerate(everything(stack, alpha, t)):
            for step in 1, 2, 4:
                at = step//2 if step>1 else 0
                got = now.drawn(i, step)
                assert np.array_equal(got[0], classes[at::step,at::step]) and np.array_equal(got[1], np.where(classes>0, sure, 0)[at::step,at::step])
            assert (tuple(now[i].known), now[i].muted)==(known, muted)
            leant, silent = leant+bool(known), silent+bool(muted)
        before = now
        assert t>1 or alpha==0 or leant>9 and (silent>9 or alpha<np.inf)

def test_choices_one_after_another(found):
    "What is remembered does not change what is said."
    one = Replay(found, cell=4)
    for alpha,t in CHOICES:
        for more in {}, dict(sure=.5), dict(policy='conformance'), dict(smallest=dict(cloud=2000)):
            choices = choices_of(found, alpha=alpha, t=t, **dict(policy='area_linear') | more)
            a, b = judged_again(one, choices), judged_again(Replay(found, cell=4), choices)
            assert np.array_equal(a.mask, b.mask) and a.verdict==b.verdict
            assert [replace(f, polygon=f.polygon.wkb) for f in a.findings]==[replace(f, polygon=f.polygon.wkb) for f in b.findings]

@pytest.mark.parametrize('cell', [1, 4])
def test_what_is_drawn_anew_is_all_that_changes(found, cell, tmp_path):
    "Choice after choice, some of them given up half way, mask and findings are those of merging and outlining the whole scene."
    one, rng = Replay(found, cell=cell), np.random.default_rng(0)
    some = [dict(alpha=a, t=t) for a,t in (CHOICES[0], *CHOICES[1:4:2], *CHOICES[4:])] + [dict(alpha=np.inf, t=t, smallest=dict.fromkeys(default_taxonomy().keys, n)) for t,n in ((.5,3000), (.4,3000), (.4,0))]
    for choices in (choices_of(found, **c) for c in some):
        left = int(rng.integers(5, 400))
        def going():
            nonlocal left
            left -= 1
            if not left: raise Overtaken
        with suppress(Overtaken): one.regions(choices_of(found, alpha=1., t=float(rng.uniform(.2, .8))), going)
        mask, findings = one.regions(choices)
        wanted, outlined = whole_scene(one, choices, tmp_path)
        assert np.array_equal(mask, wanted) and len(findings)>2
        assert told(findings)==told(_at_scene(outlined, one))

@pytest.mark.parametrize('drag', [(0, 500, 1000, 3000), (0, 3000, 3000)])
def test_a_size_that_is_dragged(found, drag, tmp_path):
    "What was begun for sizes in between and given up is done for the last one, though no cell has changed."
    one = Replay(found, cell=4)
    first, *between, last = (choices_of(found, alpha=np.inf, t=.5, smallest=dict.fromkeys(default_taxonomy().keys, n)) for n in drag)
    def overtaken(): raise Overtaken
    many = len(one.regions(first)[1])
    for choices in between:
        with pytest.raises(Overtaken): one.regions(choices, overtaken)
    mask, findings = one.regions(last)
    wanted, outlined = whole_scene(one, last, tmp_path)
    assert np.array_equal(mask, wanted) and 2<len(findings)<many
    assert told(findings)==told(_at_scene(outlined, one))

def whole_scene(replay, choices, folder):
    "Mask and findings in cells, the long way."
    bands = Bands(replay.small, table_of(choices.smallest, replay.cell))
    for said,places in zip(replay.said(choices), replay.places):
        for i in said.live():
            classes, sure = said.drawn(i)
            if classes.any(): bands.add(Block(*places[i].tolist()), classes, np.rint(sure*255).astype(np.uint8))
    mask, sure = (np.concatenate(a) for a in zip(*((b.mask, b.confidence) for b in bands.rows())))
    mask[replay.over] = 0
    for name,values in dict(mask=mask, sure=sure).items():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with rasterio.open(folder/f'{name}.tif', 'w', driver='GTiff', height=mask.shape[0], width=mask.shape[1], count=1, dtype='uint8') as f: f.write(values, 1)
    return mask, polygonize(folder/'mask.tif', folder/'sure.tif', gap=20/replay.cell)

def told(findings): return sorted((f.value, f.area_px, f.bbox, f.confidence, f.polygon.normalize().wkb) for f in findings)

def test_a_view_is_what_it_would_be_at_first_sight(found):
    "At every zoom, from one choice to the next, whether it was begun ahead or not."
    live, zooms = LiveMask(Replay(found), choices_of(found)), range(COARSE.bit_length()+1)
    for turn,(alpha,t) in enumerate(CHOICES):
        live.choices = choices_of(found, alpha=alpha, t=t)
        if turn%2: live.ahead()
        fresh = LiveMask(Replay(found), live.choices)
        for level in reversed(zooms): assert np.array_equal(live.tile(level, 0, 0), fresh.tile(level, 0, 0))

def test_a_view_waits_for_no_ground_far_away(found, monkeypatch):
    import rsqi.redraw as redraw
    asked, pulled = set(), redraw.pulled
    monkeypatch.setattr(redraw, 'pulled', lambda stack, i, *more: asked.add(i) or pulled(stack, i, *more))
    live = LiveMask(Replay(found), choices_of(found))
    stack, = live.replay.stacks
    assert live.tile(0, 0, 0).any() and asked
    assert (stack.blocks[[*asked],:2]<256+SIZE).all()  # the tile's own blocks, and those that share ground with them
    few = len(asked)
    judged_again(live.replay, choices_of(found, policy='area_linear'))
    assert len(asked)>5*few

def test_a_coarse_scene_is_drawn_at_once(found):
    live = LiveMask(Replay(found), choices_of(found, t=.4))
    H, W = (-(-n//COARSE) for n in live.replay.shape)
    tile, block = live.tile(COARSE.bit_length()-1, 0, 0), Block(0, 0, SIDE, SIDE//2)
    assert tile.shape==(H,W) and tile.any()
    class Hasty(LiveMask): coarse = property(lambda self: (None, None), lambda self, made: None) # somebody has put another one there meanwhile
    assert np.array_equal(Hasty(live.replay, live.choices).tile(COARSE.bit_length()-1, 0, 0), tile)
    half = live._laid(live._painted(live.choices, block, (H,W//2), COARSE), live.base.tile(COARSE.bit_length()-1, 0, 0)[:,:W//2])
    assert np.array_equal(half, tile[:,:W//2])

def test_findings_are_wiped_by_their_outline(found):
    "What is not sure enough leaves the mask, all of it and nothing else."
    r = Replay(found, cell=4)
    every, some = (judged_again(r, choices_of(found, policy='area_linear', sure=s)) for s in (None, .9))
    gone = [f for f in every.findings if f.confidence<.9 and f.value<7]
    assert gone and len(gone)<len(every.findings)
    wanted = every.mask.copy()
    import shapely
    for f in gone: wanted[Area('', shapely.transform(f.polygon, lambda xy: xy/4)).mask(Block(0, 0, *wanted.shape)) & (wanted==f.value)] = 0
    assert np.array_equal(np.where(some.mask<7, some.mask, 0), np.where(wanted<7, wanted, 0))
