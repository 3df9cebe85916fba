"The exam of the simulator, on made-up folders laid out like the real ones: pairs, what is left out, what a control tells."
import csv
import cv2, numpy as np, pytest
import rsqi.realism as realism
from rsqi.benchmark import graded
from rsqi.imagery import cloud_bank, places
from rsqi.realism import (MatchedPair, TWINS, blank_pairs, boxed, clean_window, controls, fault_pairs, told_apart,
                          weather_pairs)
from rsqi.simulate import cloud_with_shadow
from rsqi.taxonomy import default_taxonomy
from rsqi.terrain import land

def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[...,::-1] if image.ndim==3 else image)

def rng(*seed): return np.random.default_rng(seed)

def cloudy_twins(root, names, edge=256):
    for i,name in enumerate(names):
        clear = land((edge,edge), rng(1, i))
        cloudy, cloud, shadow = cloud_with_shadow(clear.astype(np.float32), rng(2, i), .4)
        save(root/TWINS/f'{name}_clear.png', clear)
        save(root/TWINS/f'{name}_cloudy.png', np.clip(np.rint(cloudy), 1, 254).astype(np.uint8))

def test_weather_is_paired_with_its_own_ground(tmp_path):
    cloudy_twins(tmp_path, ['spring_1_p1', 'spring_1_p2', 'fall_85_p492', 'summer_3_p4'])
    pairs = list(weather_pairs(tmp_path, 1, rng(3), each=4))
    used = {p.group for p in pairs}
    assert used=={f'{n}_cloudy' for n in ('spring_1_p1','spring_1_p2','summer_3_p4')} # not the one that is badly placed
    assert all(p.real.shape==p.simulated.shape==p.ground.shape==(64,64,3) for p in pairs)
    for p in controls(pairs): # no cloud: the picture is what its twin is
        clear = cv2.imread(str(tmp_path/TWINS/f"{p.group.replace('cloudy','clear')}.png"))[...,::-1]
        at = cv2.matchTemplate(np.ascontiguousarray(clear), p.real, cv2.TM_SQDIFF).min()/p.real.size
        assert at<40, at
    assert controls(pairs)

def test_clouds_that_are_judged_are_not_drawn_from(tmp_path):
    "the bank holds no shape that it would be compared with"
    cloudy_twins(tmp_path, ['a'])
    assert TWINS in places('cloud', 'train') and cloud_bank(tmp_path) and cloud_bank(tmp_path, without=(TWINS,)) is None

def test_blank_areas(tmp_path):
    tile = land((400,400), rng(4))
    tile[:,:150] = 255
    for i in range(2): save(tmp_path/'background'/'massroads'/f'{i}.png', land((400,400), rng(5, i)))
    home = tmp_path/'real_labelled'/'massroads_missing'
    save(home/'images'/'t.png', tile)
    save(home/'masks'/'t.png', np.where((tile==255).all(2), 255, 0).astype(np.uint8))
    pairs = list(blank_pairs(tmp_path, rng(6), size=96, each=3))
    assert len(pairs)==len(controls(pairs))==3 and {p.group for p in pairs}=={'t 0'}
    blank = lambda a: ((a==0).all(2) | (a==255).all(2)).mean()
    for p in pairs: assert blank(p.real)>.05 and blank(p.simulated)>.01 and blank(p.clean)<=.02 and blank(p.ground)<.01

def test_rare_faults(tmp_path):
    "what has another box is no clean ground; a fault all over leaves none"
    home = tmp_path/'real_faults'
    save(home/'a.png', land((300,300), rng(7))); save(home/'b.png', land((300,300), rng(8)))
    for i in range(2): save(home/'clean'/f'{i}.png', land((300,300), rng(9, i)))
    boxes = [('a.png','blur',0,0,99,299), ('a.png','distortion',100,0,149,299), ('b.png','blur',0,0,299,299)]
    with open(home/'labels.csv', 'w', newline='', encoding='utf-8') as f:
        csv.writer(f).writerows([('file','type','x0','y0','x1','y1'), *boxes])
    pairs = list(fault_pairs(tmp_path, 'blur', rng(10), each=2))
    assert [p.group for p in pairs]==['a.png']*2+['b.png']*2 and [p.group for p in controls(pairs)]==['a.png']*2
    picture = cv2.imread(str(home/'a.png'))[...,::-1]
    right = np.ascontiguousarray(picture[:,147:]) # a window of 128 may have 2 % of a box
    for p in controls(pairs): assert cv2.matchTemplate(right, p.real, cv2.TM_SQDIFF).min()<p.real.size/100
    assert boxed([dict(x0='1',y0='2',x1='3',y1='2')], (4,5)).sum()==3

def test_a_clean_window_is_clean():
    image, mask = land((80,90), rng(11)), np.zeros((80,90), bool)
    mask[::20,::20] = True
    assert clean_window(image, mask, 20, rng(0), most=0.) is None
    for i in range(20): assert clean_window(np.where(mask[...,None], 0, image|1), mask, 19, rng(i), most=0.).min()>0
    assert clean_window(image, None, 81, rng(0)) is None and clean_window(image, None, 80, rng(0)).shape==(80,80,3)

@pytest.mark.parametrize('light,low,high', [(1., 0., .8), (.5, .9, 1.)])
def test_the_control_tells_how_much_is_ground(light, low, high, monkeypatch):
    """no defect at all on either side: what is told apart is the ground, and the control says as much; the encoder has
    its turn in the chapter"""
    monkeypatch.setattr(realism, 'features', lambda crops: np.stack([[*c.mean((0,1)), *c.std((0,1))] for c in crops]))
    base = land((400,400), rng(12))
    def sheet(*seed):
        y, x = rng(13, *seed).integers(0, 352, 2)
        return base[y:y+48,x:x+48]
    dim = lambda a: (a*light).astype(np.uint8)
    pairs = [MatchedPair(sheet(i,0), dim(sheet(i,1)), str(i//2), sheet(i,2), dim(sheet(i,3))) for i in range(12)]
    for e in told_apart(pairs, 20), told_apart(controls(pairs), 20):
        assert (e.n, e.groups)==(12, 6) and low<=e.auc<=high and e.low<=e.auc<=e.high

def test_graded_blocks_have_one_ground_at_every_strength(tmp_path):
    for place in places('ground', 'test'):
        folder, _, prefix = place.partition(':')
        save(tmp_path/folder/f'{prefix}x.png', land((160,160), rng(13)))
    rows = list(graded(tmp_path, (.2,1.), each=1, size=96))
    assert [(s, c.keys) for s,c in rows]==[(s, (d.key,)) for d in default_taxonomy() for s in (.2,1.)]
    changed = lambda c: c.sample.lines.any() or (c.sample.region>0).any()
    assert all(changed(c) for _,c in rows)
    assert len({c.sample.image.tobytes() for _,c in rows})==len(rows)
    seam = [c.sample for _,c in rows if c.keys==('stitching_misalignment',)] # one side of it is the ground itself
    assert (seam[0].image==seam[1].image).all(2).mean()>.05
