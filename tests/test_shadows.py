"Shadows that clouds throw, from a file to its mask, and what must not be touched."
import cv2, numpy as np, pytest, rasterio
from pathlib import Path
from rsqi.config import Config
from rsqi.classifier import Classifier
from rsqi.fields import fractal
from rsqi.pipeline import inspect_scene
from rsqi.replay import replay
from rsqi.shadows import DOUBT, LEAST, Thrown, darkness, heaps, hear_heaps, hear_shadows, is_thrown, thrown
from rsqi.guided import hear_regions
from rsqi.shade import hear_shade
pytestmark = pytest.mark.filterwarnings('ignore:Dataset has no geotransform')
STEP = 44, -60 # Pixels
SAMPLES = Path(__file__).parents[1]/'data_samples'

def prairie(size=640, thrown=True, ground=None, deep=.55):
    "Fields of many shades, or another ground, under small clouds: the picture, and where their shadows and they lie"
    rng = np.random.default_rng(5)
    fields = cv2.resize(rng.uniform(60, 110, (12,12,1)).astype(np.float32), (size,size), interpolation=cv2.INTER_NEAREST)[...,None]*np.float32([.9,1,.7])
    fields = fields if ground is None else ground[:size,:size].astype(np.float32)
    density = fractal((size,size), rng, scale=.12, roughness=.6)
    density = np.clip((density-np.quantile(density, .86))/np.ptp(density)*9, 0, 1)
    lies = cv2.warpAffine(density, np.float32([[1,0,STEP[1]],[0,1,STEP[0]]]), (size,size))*thrown
    image = fields*(1-deep*lies[...,None])*(1-density[...,None])+np.float32([240,243,247])*density[...,None]
    return (image+rng.normal(0, 3, image.shape)).clip(1, 254).astype(np.uint8), (lies>.5)&(density<.3), density>.5

def saying(clouds, stride, shadow=None):
    "What a network says that sees clouds, and shadow where it is told"
    small = lambda m: cv2.resize(m.astype(np.uint8), tuple(-(-n//stride) for n in m.shape[::-1]), interpolation=cv2.INTER_NEAREST)>0
    regions = np.zeros((7, *small(clouds).shape), np.float32)
    regions[0], regions[1][small(clouds)] = 2., 6.
    if shadow is not None: regions[2][small(shadow)] = 3.
    return np.r_[3., np.full(9, -3.)].astype(np.float32), regions

@pytest.mark.parametrize('stride', (4, 8, 16))
def test_outlines_of_any_stride(stride):
    image, truth, clouds = prairie()
    labels, regions = hear_shadows(*saying(clouds, stride), image)
    seen = cv2.resize((regions.argmax(0)==2).astype(np.uint8), truth.shape, interpolation=cv2.INTER_NEAREST)>0
    assert labels[1]>0 and (seen&truth).sum()>(.6 if stride<16 else .4)*(seen|truth).sum()

def test_dark_ground_that_no_cloud_explains_is_no_shadow():
    image, truth, clouds = prairie()
    field = np.zeros_like(truth); field[300:360,200:300] = True
    field &= ~cv2.dilate((truth|clouds).astype(np.uint8), np.ones((41,41), np.uint8)).astype(bool)
    assert field.sum()>1000
    labels, regions = hear_shadows(*saying(clouds, 4, field|truth), image)
    assert not (regions.argmax(0)==2)[field[::4,::4]].any() and (regions.argmax(0)==2)[truth[::4,::4]].mean()>.7

def field_of(truth, clouds, at=np.s_[300:360,200:300]):
    "Dark ground that no cloud explains"
    field = np.zeros_like(truth); field[at] = True
    return field & ~cv2.dilate((truth|clouds).astype(np.uint8), np.ones((41,41), np.uint8)).astype(bool)

def test_dark_ground_becomes_ground_whatever_comes_second():
    image, truth, clouds = prairie()
    field = field_of(truth, clouds)
    labels, regions = saying(clouds, 4, field)
    regions[1][field[::4,::4]], labels[4], regions[5][field[::4,::4]] = 2.9, 1., 2.8
    assert (hear_shadows(labels, regions, image)[1].argmax(0)==0)[field[::4,::4]].all()

def test_a_shadow_that_the_network_is_sure_of_stays():
    image, truth, clouds = prairie()
    field = field_of(truth, clouds)
    labels, regions = saying(clouds, 4, field)
    regions[2][field[::4,::4]] = 4.5
    assert (hear_shadows(labels, regions, image)[1].argmax(0)==2)[field[::4,::4]].all()

def test_a_shadow_whose_cloud_would_lie_beyond_the_edge_stays():
    image, truth, clouds = prairie() # shadows lie down and to the left, so clouds up and to the right
    edge, inside = np.zeros_like(truth), field_of(truth, clouds)
    edge[300:340,600:] = True
    edge &= ~clouds
    after = hear_shadows(*saying(clouds, 4, edge|inside), image)[1].argmax(0)==2
    assert after[edge[::4,::4]].all() and not after[inside[::4,::4]].any()
    valid = np.ones_like(truth); valid[:,500:] = False # what is no ground may hide a cloud as well
    edge, shown = np.zeros_like(truth), clouds.copy(); edge[300:340,460:500], shown[:,500:] = True, False
    edge &= ~clouds
    assert (hear_shadows(*saying(shown, 4, edge), image, valid)[1].argmax(0)==2)[edge[::4,::4]].all()

def test_other_defects_stay_where_they_are():
    image, truth, clouds = prairie()
    labels, regions = saying(clouds, 4)
    labels[3], regions[4][truth[::4,::4]] = 2., 3. # blur, believed
    assert ((hear_shadows(labels, regions, image)[1].argmax(0)==4)==(regions.argmax(0)==4)).all()
    labels[3] = -2. # and not believed
    assert (hear_shadows(labels, regions, image)[1].argmax(0)==2)[truth[::4,::4]].mean()>.7

@pytest.mark.parametrize('key', LEAST)
def test_each_bound_counts(key):
    enough = Thrown((5,-5), .5, **{k: 2*v for k,v in LEAST.items()})
    assert is_thrown(enough) and not is_thrown(enough._replace(**{key: .99*LEAST[key]})) and not is_thrown(None)

def test_what_changes_slowly_does_not_count(monkeypatch):
    image, _, clouds = prairie()
    large = 1+.5*np.sin(np.arange(640)/90)[:,None,None]*np.cos(np.arange(640)/70)[None,:,None] # woods as large as clouds
    image, small = (image*large).clip(1, 254).astype(np.uint8), clouds[::4,::4]
    free  = ~cv2.dilate(small.astype(np.uint8), np.ones((3,3), np.uint8)).astype(bool)
    ask   = lambda: thrown(small, darkness(image, free), free)
    found = ask()
    monkeypatch.setattr('rsqi.shadows.SLOW', 200)
    assert is_thrown(found) and found.standing>1.5*ask().standing

def test_strips_are_too_narrow_to_tell():
    image, _, clouds = prairie()
    free = ~clouds[::4,:100:4]
    assert thrown(clouds[::4,:100:4], darkness(image[:,:100], free), free) is None

def test_averaged_lines_do_not_tremble():
    from test_jitter import posts, trembled
    given = np.full(10, -3., np.float32), np.zeros((7,128,128), np.float32)
    image = trembled(posts(512,512))
    assert hear_regions(*given, image)[0][5]>0 and hear_regions(*given, image, native=False)[0] is given[0]

@pytest.mark.parametrize('why', ('no shadow', 'no cloud', 'cloud that is not believed', 'nothing valid', 'one colour', 'small', 'all cloud'))
def test_what_tells_nothing_changes_nothing(why):
    image, _, clouds = prairie(thrown=why!='no shadow')
    labels, regions = saying(clouds&(why!='no cloud'), 4)
    if why=='cloud that is not believed': labels[0] = -.1
    if why=='one colour': image = np.full_like(image, 90)
    if why=='small': image, regions = image[:64,:64], saying(clouds[200:264,:64]|np.eye(64,dtype=bool), 4)[1]
    if why=='all cloud': regions[1] = 9.
    valid = np.zeros(image.shape[:2], bool) if why=='nothing valid' else None
    after = hear_shadows(labels, regions, image, valid)
    assert after[0] is labels and after[1] is regions

def test_a_table_without_shadow_is_left_alone(monkeypatch):
    from types import SimpleNamespace
    monkeypatch.setattr('rsqi.shadows.default_taxonomy', lambda: SimpleNamespace(keys=('cloud','rust')))
    image, _, clouds = prairie()
    given = saying(clouds, 4)
    assert hear_shadows(*given, image)[1] is given[1]

def test_ground_that_does_not_count_has_no_say():
    image, truth, clouds = prairie()
    valid = np.ones(truth.shape, bool); valid[:,320:] = False
    image[:,320:] = np.random.default_rng(0).integers(0, 256, image[:,320:].shape) # what lies there is anything
    free = (valid&~clouds)[::4,::4]
    found = thrown(clouds[::4,::4]&valid[::4,::4], darkness(image, free), free)
    assert np.abs(np.subtract(found.step, np.array(STEP)/4)).max()<=1

def doubting(clouds=None, doubt=-1., stride=4):
    "What a network says that sees ground alone and is not sure that there is no cloud"
    labels, regions = saying(np.zeros((640,640), bool) if clouds is None else clouds, stride)
    labels[0] = doubt
    return labels, regions

def test_heaps_that_throw_shadows_are_clouds_and_their_shadows_shadows():
    image, truth, clouds = prairie()
    labels, regions = hear_regions(*doubting(), image)
    said = regions.argmax(0)
    iou = lambda a, b: (a&b).sum()/(a|b).sum()
    assert labels[0]>0 and labels[1]>0 and iou(said==1, clouds[::4,::4])>.7 and iou(said==2, truth[::4,::4])>.5
    labels, regions = doubting()
    labels[3], regions[4] = 2., 3. # blur all over
    assert not (hear_heaps(labels, regions, image)[1].argmax(0)==1).any()

@pytest.mark.parametrize('why', ('no shadow', 'ruled out', 'believed', 'coloured', 'few', 'no ground'))
def test_heaps_that_tell_nothing_change_nothing(why):
    image, _, clouds = prairie(thrown=why!='no shadow')
    given = doubting(doubt=dict(believed=.1).get(why, DOUBT if why=='ruled out' else -1.))
    if why=='coloured': image[clouds] = (250,120,90)
    if why=='few': image[:480] = 90
    valid = np.zeros(clouds.shape, bool) if why=='no ground' else None
    after = hear_heaps(*given, image, valid)
    assert after[0] is given[0] and after[1] is given[1]
    assert heaps(image, (160,160)).any()==(why!='coloured')

def test_a_file_to_its_mask(tmp_path, monkeypatch):
    with rasterio.open(SAMPLES/'clean.tif') as f: town = cv2.resize(f.read((1,2,3)).transpose(1,2,0), (384,384), interpolation=cv2.INTER_AREA)
    image, truth, clouds = prairie(1024, ground=np.pad(town, ((0,640),(0,640),(0,0)), 'symmetric'), deep=.5)
    with rasterio.open(tmp_path/'a.tif', 'w', driver='GTiff', height=1024, width=1024, count=3, dtype='uint8') as f: f.write(image.transpose(2,0,1))
    iou = lambda said, true: (said&true).sum()/(said|true).sum()
    def mask_of(out):
        found = inspect_scene(tmp_path/'a.tif', tmp_path/out, Config(keep_logits=True))
        with rasterio.open(found.dir/'mask.tif') as f: return found, f.read(1)
    found, mask = mask_of('with')
    assert iou(mask==1, clouds)>.5, 'the network must see the clouds for this test to tell anything'
    assert abs((replay(found, 1).mask==2).mean()-(mask==2).mean())<.02
    monkeypatch.setitem(LEAST, 'standing', np.inf)
    alone = mask_of('without')[1]
    assert iou(mask==2, truth)>iou(alone==2, truth)+.1, (iou(mask==2, truth), iou(alone==2, truth))

def test_every_way_of_asking_hears_it():
    from rsqi.audit import opinion
    image, _, clouds = prairie()
    class Says: # a network that sees clouds alone
        def run(self, blocks): labels, regions = saying(clouds[:blocks.shape[1],:blocks.shape[2]], 4); return labels[None], regions[None], np.full((1,4,*regions.shape[1:]), -9, np.float32)
    block = image[:512,:512]
    assert Classifier(Says()).logits(block[None])[0][1]>0 and opinion(Says(), block, None)[1]>.5

@pytest.mark.parametrize('shape', [(512,512), (300,512), (64,40), (16,16)])
def test_a_hint_of_shade_is_heard_on_free_ground_alone(shape):
    "Whatever a network says and the picture shows, only ground turns into shadow, and only where ground is"
    rng, (n,m), ever = np.random.default_rng(shape[0]), (-(-shape[0]//4), -(-shape[1]//4)), 0
    for _ in range(40):
        block  = np.full((*shape,3), 120, np.uint8)
        y, x   = (int(rng.integers(0, 3*k//4)) for k in shape)
        inside = np.s_[y:y+shape[0]//2, x:x+shape[1]//3]
        block[inside] = rng.integers(0, 120)
        valid  = np.ones(shape, bool)
        valid[:,:int(rng.integers(0, shape[1]))] = rng.random()<.5
        labels, regions = rng.normal(-2, 2, 10).astype(np.float32), rng.normal(-6, .2, (7,n,m)).astype(np.float32)
        regions[0] = 0
        regions[2][tuple(slice(s.start//4, s.stop//4) for s in inside)] += 4
        before = regions.copy()
        _, after = hear_shade(labels, regions, block, valid)
        changed = (after!=regions).any(0)
        assert (regions==before).all() and not changed[~(cv2.resize(valid.astype(np.uint8), (m,n), interpolation=cv2.INTER_NEAREST)>0)].any()
        heard = np.where(np.r_[True, labels[:6]>0][:,None,None], regions, -np.inf).argmax(0)
        assert (heard[changed]==0).all() and (np.delete(after, 2, 0)==np.delete(regions, 2, 0)).all()
        ever += changed.any()
    assert ever>=3 if min(shape)>=200 else not ever, ever # a small block has no patch that is large enough
