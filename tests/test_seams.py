"Seams: where they are, how strong, and not where there are none."
import os
from pathlib import Path
import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rsqi.seams import Seam, band, seams
from rsqi.strips import colour_step, offset, settle, strip

DATA = Path(os.environ.get('RSQI_DATA', Path(__file__).parents[2]/'shared/data'))
real = pytest.mark.skipif(not (DATA/'background').exists(), reason='real imagery is not here')
SIZE = 512


def ground(seed, size=SIZE+80):
    "Gentle terrain with fine texture, one lens for all"
    rng = np.random.default_rng(seed)
    g = sum(cv2.resize(rng.normal(0, a, (n,n,3)).astype(np.float32), (size,size), interpolation=cv2.INTER_CUBIC) for n,a in ((8,12),(60,5),(250,4)))
    return cv2.GaussianBlur(g+115, (0,0), .8).clip(0,255).astype(np.float32)


def lab_of(image): return cv2.cvtColor(image.astype(np.float32)/255, cv2.COLOR_RGB2LAB)


def across(angle, away, size=SIZE):
    "Distance of each pixel from a line at `angle` degrees, `away` pixels from the middle"
    y, x = np.mgrid[:size,:size].astype(np.float32)-(size-1)/2
    t = np.radians(angle)
    return y*np.cos(t)-x*np.sin(t)-away


def stepped(big, angle, away, gain=1.12, add=(10,3,-6)):
    "(image, the step in Lab along the line)"
    plain = big[40:40+SIZE,40:40+SIZE]
    d = across(angle, away)
    image = np.where((d>0)[...,None], plain*gain+np.float32(add), plain).clip(0,255).round().astype(np.uint8)
    return image, np.linalg.norm((lab_of(image)-lab_of(plain))[(d>0)&(d<4)].mean(0))


def slid(big, angle, away, shift):
    "One side slides along the line by `shift` pixels"
    t = np.radians(angle)
    move = np.float32([[1,0,40-shift*np.cos(t)], [0,1,40-shift*np.sin(t)]])
    moved = cv2.warpAffine(big, move, (SIZE,SIZE), flags=cv2.INTER_CUBIC|cv2.WARP_INVERSE_MAP)
    return np.where((across(angle, away)>0)[...,None], moved, big[40:40+SIZE,40:40+SIZE]).clip(0,255).round().astype(np.uint8)


def farthest(line, angle, away):
    t, p = np.radians(angle), np.asarray(line)-(SIZE-1)/2
    return np.abs(p[:,0]*np.cos(t)-p[:,1]*np.sin(t)-away).max()


def rough_line(angle, away, wrong):
    "The true line, `wrong` pixels to one side"
    t = np.radians(angle)
    along, normal = np.array([np.sin(t), np.cos(t)]), np.array([np.cos(t), -np.sin(t)])
    return (SIZE-1)/2+np.outer([-200,200], along)+normal*(away+wrong)




@pytest.mark.parametrize('angle', range(0, 180, 20))
def test_step_is_found_and_measured(angle):
    "Any angle: within 3 px, within a tenth of its colour step"
    image, wanted = stepped(ground(angle), angle, 35)
    found = [s for s in seams(image) if s.kind=='stitching_trace']
    assert found and farthest(found[0].line, angle, 35)<3, found
    assert abs(found[0].delta_e/wanted-1)<.1, (found[0].delta_e, wanted)
    assert 0<=found[0].confidence<=1 and found[0].offset_px==0


def test_shifts_are_found_and_measured():
    "Horizontal, vertical, slanted: all within 3 px and one pixel of offset, nearly all within half a pixel"
    wrong = []
    for i,(angle,shift) in enumerate([(0,2), (0,-20), (90,3), (90,11), (45,5), (20,-8), (110,15), (160,-4), (70,4), (135,-17)]):
        found = [s for s in seams(slid(ground(i), angle, -25, shift)) if s.kind=='stitching_misalignment']
        assert found and farthest(found[0].line, angle, -25)<3, (angle, shift, found)
        wrong.append(abs(abs(found[0].offset_px)-abs(shift)))
    assert max(wrong)<1 and np.mean(np.array(wrong)<.5)>=.9, wrong


@pytest.mark.parametrize('wrong', (-6, -3, 0, 4, 6))
def test_line_settles_on_the_break(wrong):
    "A line some pixels off comes back to the seam, and is measured as if it had been there"
    lab = lab_of(slid(ground(3), 30, 10, 6))
    line = settle(lab, rough_line(30, 10, wrong))
    assert farthest(line, 30, 10)<1.5
    shift, gain = offset(strip(lab, line, 12))
    assert abs(abs(shift)-6)<.5 and gain>.2


def test_evidence_leads_to_the_line():
    "Given the network's map, the same line with step and shift both named"
    big = ground(5)
    image = slid(big, 70, 20, 7).astype(np.float32)
    image = np.where((across(70, 20)>0)[...,None], image*1.1, image).clip(0,255).astype(np.uint8)
    maps = np.stack([12*np.exp(-(across(70, 23)/7)**2)[2::4,2::4]-6]*2).astype(np.float32)
    found = {s.kind:s for s in seams(image, maps=maps)}
    assert set(found)=={'stitching_trace', 'stitching_misalignment'}
    assert all(farthest(s.line, 70, 20)<3 for s in found.values())
    assert abs(abs(found['stitching_misalignment'].offset_px)-7)<.5


def test_nothing_to_find():
    "Plain terrain, flat, tiny and invalid blocks have no seam"
    plain = ground(11)[:SIZE,:SIZE].astype(np.uint8)
    valid = np.zeros(plain.shape[:2], bool)
    assert seams(plain)==() and seams(plain, valid)==()
    for shape in (1,1), (3,600), (64,64), (70,300), (512,512): assert seams(np.full((*shape,3), 77, np.uint8))==()


def test_invalid_ground_makes_no_seam():
    "The border of the valid ground is not a seam, and a seam beside it is still found"
    image, _ = stepped(ground(2), 90, -60)
    valid = across(90, 120)<0
    image[~valid] = 0
    found = seams(image, valid)
    assert found and all(farthest(s.line, 90, -60)<3 for s in found), found


def test_band():
    "A band of the asked width around the line, clipped to the block"
    mask = band(Seam(((10.,-5.),(10.,70.)), 1., 0., 'stitching_trace', 1.), (40,60), 7)
    assert mask.shape==(40,60) and mask[7:14].all() and not mask[:6].any() and not mask[15:].any()


@settings(max_examples=10, deadline=None)
@given(st.integers(1,130), st.integers(1,130), st.integers(0,2**31))
def test_any_block(h, w, seed):
    "Any shape and content: a tuple of well-formed seams"
    rng = np.random.default_rng(seed)
    block = rng.choice([0,128,255], (h,w,3)).astype(np.uint8)
    for s in seams(block, rng.random((h,w))<.8):
        assert s.kind in ('stitching_trace','stitching_misalignment') and 0<=s.confidence<=1
        assert np.isfinite([s.delta_e, s.offset_px, *np.ravel(s.line)]).all()


@real
def test_real_land():
    "Random lines on clean crops do not measure as seams; spoilt ones do"
    rng = np.random.default_rng(0)
    false = right = n = 0
    for path in sorted((DATA/'background').glob('*/*'))[::6]:
        im = cv2.imread(str(path))
        if im is None or min(im.shape[:2])<SIZE+80: continue
        big = np.ascontiguousarray(im[:SIZE+80,:SIZE+80,::-1]).astype(np.float32)
        angle, shift = rng.uniform(0,180), rng.choice([-1,1])*rng.uniform(3,18)
        line = rough_line(angle, 0, rng.uniform(-4,4))
        for image, spoilt in ((big[40:40+SIZE,40:40+SIZE], False), (slid(big, angle, 0, shift), True)):
            lab = lab_of(image)
            at = settle(lab, line)
            (moved, gain), (step, constant) = offset(s := strip(lab, at, 12)), colour_step(s)
            if spoilt: right += gain>=.1 and abs(abs(moved)-abs(shift))<1
            else: false += (gain>=.1 and abs(moved)>=1.2) or (step>=1.5 and constant>=.5)
        n += 1
    assert n>=5 and false/n<=.15 and right/n>=.75, (n, false, right)


@real
@pytest.mark.parametrize('name,kind,boxes', [('stitching_trace/farm15_a.jpg', 'stitching_trace', [(140,160), (366,386)]),
                                             ('stitching_trace/farm10_a.jpg', 'stitching_trace', [(180,200)])])
def test_real_seams(name, kind, boxes):
    "The long joins of two drone mosaics: rows of the approximate boxes"
    im = np.ascontiguousarray(cv2.imread(str(DATA/'real_faults'/name))[...,::-1])[:,400:912]
    rows = [np.mean([y for y,_ in s.line]) for s in seams(im) if s.kind==kind]
    for low,high in boxes: assert any(low-6<=r<=high+6 for r in rows), (low, high, rows)
