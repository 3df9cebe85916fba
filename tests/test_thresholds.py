"Line noise and lost pixels: on made-up land always, on real land where it is present."
import os
from pathlib import Path
import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rsqi.thresholds import detector, detectors, pixel_evidence, pixel_missing, stripe_noise

DATA = Path(os.environ.get('RSQI_DATA', Path(__file__).parents[2]/'shared/data'))
real = pytest.mark.skipif(not (DATA/'background').exists(), reason='real imagery is not here')


def ground(rng, size=320):
    "Texture of three scales through one lens, (size,size,3) u8"
    g = sum(cv2.resize(rng.normal(0, a, (n,n,3)).astype(np.float32), (size,size), interpolation=cv2.INTER_CUBIC) for n,a in ((5,30),(40,15),(160,10)))
    return cv2.GaussianBlur(g+(90,110,100), (0,0), .8).clip(1,254).round().astype(np.uint8)


def hum(shape, period=13.7, height=8): return height*np.sin(2*np.pi*np.arange(shape[0])/period)[:,None,None]


def stretched(image, percent):
    low, high = np.percentile(image, (percent, 100-percent), axis=(0,1))
    return np.clip((image-low)/np.maximum(high-low, 1)*255, 0, 255).astype(np.uint8)


def scratch(image, rng):
    "Lines of one kind on `image`, both directions: (image, mask)"
    out, mask, (h,w) = image.copy(), np.zeros(image.shape[:2], bool), image.shape[:2]
    channels = [[int(rng.integers(3))], [0,1,2]][int(rng.random()<.5)]
    style, delta = rng.choice(['const','add','noise','extreme']), rng.uniform(50, 130)*rng.choice([-1,1])
    for _ in range(int(rng.integers(4, 25))):
        k, n = int(rng.choice([1,2,3], p=[.7,.2,.1])), int(rng.choice([rng.integers(14,80), rng.integers(80,300), 4*max(h,w)]))
        line = np.zeros((h,w), bool)
        y,x = int(rng.integers(3, h-6)), int(rng.integers(3, w-6))
        if rng.random()<.5: line[y:y+k, (x if n<h else 0):x+n] = True
        else: line[(y if n<h else 0):y+n, x:x+k] = True
        v = out[line].astype(float)
        if style=='const': v[:,channels] = v[:,channels].mean(0)+delta
        elif style=='extreme': v[:,channels] = 255*(delta>0)
        else: v[:,channels] += delta+rng.normal(0, 15*(style=='noise'), (len(v),len(channels)))
        out[line] = v.clip(0,255).round()
        mask |= line
    return out, mask


def hole(image, rng):
    "Lost pixels of one kind in `image`: (image, mask)"
    h,w = image.shape[:2]
    mask, kind = np.zeros((h,w), np.uint8), rng.integers(5)
    if kind==0: mask[rng.integers(0,h,80), rng.integers(0,w,80)] = 1
    elif kind==1: y,x = rng.integers(0,h), rng.integers(0,w); mask[y:y+60,x:x+90] = 1
    elif kind==2: mask[int(rng.integers(0,h-4)):][:int(rng.integers(1,4))] = 1
    elif kind==3: cv2.ellipse(mask, (int(rng.integers(w)),int(rng.integers(h))), (40,25), float(rng.uniform(0,180)), 0, 360, 1, -1)
    else: cv2.fillPoly(mask, [np.int32([[w,0],[w,h],[int(rng.uniform(.5,.95)*w),h],[int(rng.uniform(.5,.95)*w),0]])], 1)
    out = image.copy()
    out[mask>0] = rng.choice([0,255])
    return out, mask>0


def tally(find, spoil, images, rng):
    "Pooled IoU and precision of `find` on spoilt `images`, share of the clean ones alarmed"
    tp = fp = fn = alarms = 0
    for image in images:
        alarms += find(image).any()
        spoilt, truth = spoil(image, rng)
        found = find(spoilt)
        tp, fp, fn = tp+(found&truth).sum(), fp+(found&~truth).sum(), fn+(truth&~found).sum()
    return tp/(tp+fp+fn), tp/max(tp+fp, 1), alarms/len(images)


@pytest.mark.parametrize('find,spoil,least', [(stripe_noise,scratch,.85), (pixel_missing,hole,.97)])
def test_on_made_up_land(find, spoil, least):
    rng = np.random.default_rng(0)
    iou, precision, alarmed = tally(find, spoil, [ground(rng) for _ in range(12)], rng)
    assert iou>=least and precision>=.95 and alarmed==0, (iou, precision, alarmed)


def real_crops(rng, size=512):
    "One crop of every third clean image"
    for path in sorted((DATA/'background').glob('*/*'))[::3]:
        im = cv2.imread(str(path))
        if im is None: continue
        y,x = [int(rng.integers(0, max(a-size,0)+1)) for a in im.shape[:2]]
        yield np.ascontiguousarray(im[y:y+size,x:x+size,::-1])


@real
@pytest.mark.parametrize('find,spoil,least', [(stripe_noise,scratch,.8), (pixel_missing,hole,.97)])
def test_on_real_land(find, spoil, least):
    rng = np.random.default_rng(3)
    iou, precision, alarmed = tally(find, spoil, [*real_crops(rng)], rng)
    assert iou>=least and precision>=.9 and alarmed<=.034, (iou, precision, alarmed)


@real
def test_real_blanks():
    "The white margins of two real tiles, block by block"
    for path in sorted((DATA/'real_labelled/massroads_missing/images').glob('*')):
        im = cv2.imread(str(path))
        truth, found = cv2.imread(str(path).replace('images','masks'), 0)>0, np.zeros(im.shape[:2], bool)
        for y in range(0, 1500, 500):
            for x in range(0, 1500, 500): found[y:y+500,x:x+500] = pixel_missing(im[y:y+500,x:x+500])
        assert (found&truth).sum()/(found|truth).sum()>=.98


def test_paper_methods_are_as_published():
    "Bounding box five times as long as wide, either side of Otsu, any channel; exact extremes"
    im = np.full((64,64,3), 100, np.uint8)
    im[10,5:30] = (200,100,100)   # red only, 25 x 1
    im[40:44,5:20] = (200,100,100)  # 15 x 4: aspect 3.75
    found = stripe_noise(im, method='paper')
    assert found[10,5:30].all() and not found[40:44].any()
    im[0,0], im[1,1] = 0, 255
    assert pixel_missing(im, method='paper').sum()==2


def test_natural_extremes_are_kept():
    "A glare and a deep shadow that fade in are ground; the same with a hard rim are lost"
    yy,xx = np.mgrid[:128,:128]
    glow = 400*np.exp(-((yy-64)**2+(xx-64)**2)/(2*20**2))
    soft = np.repeat((80+glow).clip(0,255)[...,None], 3, 2).astype(np.uint8)
    assert (soft==255).all(2).any() and not pixel_missing(soft).any() and not pixel_missing(255-soft).any()
    hard = np.where(((yy-64)**2+(xx-64)**2<400)[...,None], 255, np.uint8(80)).repeat(3, 2).astype(np.uint8)
    assert (pixel_missing(hard)==(hard==255).all(2)).all() and pixel_missing(255-hard).sum()==(hard==255).all(2).sum()


@settings(max_examples=40, deadline=None)
@given(st.integers(1,70), st.integers(1,70), st.integers(0,2**31), st.sampled_from([m for d in detectors for m in detectors[d]]))
def test_any_block(h, w, seed, method):
    "Any shape, any content: a mask of that shape inside the valid ground"
    rng = np.random.default_rng(seed)
    block = rng.choice([0,1,128,254,255], (h,w,3)).astype(np.uint8)
    valid = rng.random((h,w))<rng.random()
    for find in stripe_noise, pixel_missing:
        if method not in detectors[find.__name__]: continue
        found = find(block, valid, method)
        assert found.shape==(h,w) and found.dtype==bool and not (found&~valid).any()
    assert all(0<=v<=1 for v in pixel_evidence(block, valid).values())


def test_registry():
    "A new method touches one place; another module's name is not taken over"
    with pytest.raises(ValueError, match='choose another name'): detector('stripe_noise', 'paper')(lambda b, v: v)
    try:
        detector('stripe_noise', 'everything')(lambda b, v: np.ones(v.shape, bool))
        assert stripe_noise(np.zeros((4,4,3), np.uint8), method='everything').all()
    finally: detectors['stripe_noise'].pop('everything')


@pytest.mark.parametrize('shape', [(512,512), (512,543), (480,700), (350,330), (700,333)])
@pytest.mark.parametrize('turned', [False, True])
def test_a_rhythm_in_blocks_of_any_shape(shape, turned):
    block = np.clip(cv2.resize(ground(np.random.default_rng(1)), shape[::-1])+hum(shape), 1, 254).astype(np.uint8)
    found = stripe_noise(np.ascontiguousarray(np.swapaxes(block, 0, 1)) if turned else block)
    found, strong = found.T if turned else found, abs(hum(shape)[:,0,0])>6
    assert found[strong].mean()>.8 and found[~strong].mean()<.45


def test_a_rhythm_is_marked_where_it_is():
    block, there = cv2.resize(ground(np.random.default_rng(1)), (543,512)), np.arange(543)<272
    found = stripe_noise(np.clip(block+hum((512,543))*there[:,None], 1, 254).astype(np.uint8))
    assert found[:,:256].mean()>.5 and not found[:,288:].any()


PARTS = dict(left=(lambda y,x: x<272), upper=(lambda y,x: y<256), lower=(lambda y,x: y>=256), most=(lambda y,x: x<430), nearly_all=(lambda y,x: x<515))


@pytest.mark.parametrize('height', [4, 22])
@pytest.mark.parametrize('part', PARTS)
def test_a_rhythm_that_ends_within_the_block(part, height):
    block, there = cv2.resize(ground(np.random.default_rng(1)), (543,512)), PARTS[part](*np.mgrid[:512,:543])
    found = stripe_noise(np.clip(block+hum((512,543), height=height)*there[...,None], 1, 254).astype(np.uint8))
    assert found.mean()>.2 and (part=='nearly_all' or not found[~cv2.dilate(there.astype(np.uint8), np.ones((33,33))).astype(bool)].any())


@pytest.mark.parametrize('each', [6, 8, 10, 16])
def test_rows_that_were_never_received_are_no_rhythm(each):
    block, valid = ground(np.random.default_rng(1), 512), np.arange(512)%each>0
    block = np.clip(block+np.where(np.arange(512)<256, 40, -40)[:,None,None], 1, 254).astype(np.uint8)*valid[:,None,None].astype(np.uint8)
    assert not stripe_noise(block, np.broadcast_to(valid[:,None], (512,512)), 'rows').any()


def planted(kind):
    "Ground whose rows are those of the image, through a lens"
    y, x = np.mgrid[:512,:512]
    land, rng = ground(np.random.default_rng(1), 512).astype(np.float32), np.random.default_rng(2)
    if kind=='panels': there = (y/18%1<.55) & (x%120>=8) & ((y+31)%170>=14)
    elif kind=='furrows, a third of a degree off': there = (y+x*np.tan(np.radians(.35)))/11%1<.5
    elif kind=='trees':
        there = np.zeros((512,512), np.uint8)
        for at in np.ndindex(32, 40): cv2.circle(there, tuple(int(v) for v in (np.array(at)*(16,13)+rng.normal(0, 1, 2))[::-1]), 5, 1, -1)
    else: there = (y/24%1<.5) & (x<200) # a field at one side
    return np.clip(cv2.GaussianBlur(land-60*np.float32(there>0)[...,None], (0,0), .9)+rng.normal(0, 3, (512,512,1)), 1, 254).astype(np.uint8)


@pytest.mark.parametrize('kind', ['panels', 'furrows, a third of a degree off', 'trees', 'field'])
def test_what_was_planted_is_no_noise(kind): assert not stripe_noise(planted(kind), method='rows').any()


RENDERED = dict(stretched=(lambda i: stretched(i, 2), 0), overexposed=(lambda i: np.clip(i*1.3, 0, 255).astype(np.uint8), 255)) # and the extreme that comes in crowds
Y, X = np.mgrid[:512,:512]
LOST = dict(tile=((100<=Y)&(Y<140)&(200<=X)&(X<260), .9, .6), rows=((100<=Y)&(Y<120), .9, .7), speck=((abs(Y-200)<3)&(abs(X-300)<3), .8, .8),
            disc=(np.hypot(Y-200, X-300)<40, .8, .6), gaps=((Y-X*np.tan(np.radians(8)))%90<6, .9, .2)) # and how often it must be marked: black, white


@real
@pytest.mark.parametrize('render', RENDERED)
def test_a_picture_that_reaches_black_or_white_by_itself(render):
    "Among many natural extremes a loss is still one; white ones are harder, for roofs burn out with a hard edge."
    crops = [c for c in map(RENDERED[render][0], real_crops(np.random.default_rng(3))) if c.shape==(512,512,3)]
    assert np.mean([pixel_missing(c).any() for c in crops])<=.1
    tiled = [np.where(LOST['tile'][0][...,None], np.uint8(0), c) for c in crops]
    assert np.mean([pixel_missing(c)[LOST['tile'][0]].all() for c in tiled])>=.9
    for name,(where,*often) in LOST.items():
        for value,least in zip((0,255), often):
            some = [np.where(where[...,None], np.uint8(value), c) for c in crops[::2]]
            assert np.mean([pixel_missing(c)[where].mean()>.8 for c in some])>=least, (name, value)
