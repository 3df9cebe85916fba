"Lines that tremble, from a file to its verdict, and where they must not be seen."
import cv2, numpy as np, pytest, rasterio
from rsqi.classifier import Classifier
from rsqi.config import Config
from rsqi.engine import SILENCE, open_engine
from rsqi.jitter import hear_jitter, jitter
from rsqi.pipeline import inspect_scene
from rsqi.replay import replay
pytestmark = pytest.mark.filterwarnings('ignore:Dataset has no geotransform')

def posts(h, w, seed=0):
    "Edges that lean this way and that"
    rng, image = np.random.default_rng(seed), np.full((h,w), 120, np.uint8)
    for x in range(10, w, 24): cv2.line(image, (x,0), (x+int(rng.integers(-40,40)),h), int(rng.integers(0,256)), int(rng.integers(3,9)), cv2.LINE_AA)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)

def trembled(image, size=3., period=50.):
    y, x = np.mgrid[:image.shape[0],:image.shape[1]].astype(np.float32)
    return cv2.remap(image, x-np.float32(size)*np.sin(2*np.pi/period*y), y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    "The same ground as it is and as a trembling scanner saw it, inspected with logits kept."
    place, made = tmp_path_factory.mktemp('jitter'), {}
    for name,image in (('still', posts(600,700)), ('moved', trembled(posts(600,700)))):
        with rasterio.open(place/f'{name}.tif', 'w', driver='GTiff', height=600, width=700, count=3, dtype='uint8') as f: f.write(image.transpose(2,0,1))
        made[name] = inspect_scene(place/f'{name}.tif', place/name, Config(keep_logits=True))
    return made

def share(found, value=6):
    with rasterio.open(found.dir/'mask.tif') as f: return (f.read(1)==value).mean()

def test_a_file_to_its_verdict(scenes):
    assert share(scenes['still'])<.02 and share(scenes['moved'])>.5
    assert scenes['moved'].verdict['outcome']=='DEFECT' and scenes['moved'].defects['distortion']['count']

def test_a_replay_finds_it_too(scenes):
    assert abs((replay(scenes['moved'], 1).mask==6).mean()-share(scenes['moved']))<.01

def test_every_way_of_asking_hears_it():
    from rsqi.audit import opinion
    engine, image = open_engine(), trembled(posts(512,512))
    assert Classifier(engine).logits(image[None])[0][5]>0 and opinion(engine, image, None)[5]>.5

@pytest.mark.parametrize('alpha', (0., 1., np.inf))
def test_whatever_the_fusion(alpha, tmp_path):
    with rasterio.open(tmp_path/'a.tif', 'w', driver='GTiff', height=512, width=512, count=3, dtype='uint8') as f: f.write(trembled(posts(512,512)).transpose(2,0,1))
    assert share(inspect_scene(tmp_path/'a.tif', tmp_path/'out', Config(fusion='custom', alpha=alpha, t=.5)))>.5

def test_a_network_that_was_never_asked_hears_it():
    "Labels of a model without a voice for distortion; outlines of any stride"
    image = trembled(posts(500,620))
    for stride in 4, 16, 32:
        regions = np.zeros((7, -(-500//stride), -(-620//stride)), np.float32)
        labels, said = hear_jitter(np.full(10, SILENCE, np.float32), regions, image)
        assert labels[5]>0 and (said.argmax(0)==6).mean()>.8

def test_who_believes_is_left_alone():
    labels, regions = np.zeros(10, np.float32), np.zeros((7,128,128), np.float32)
    labels[5] = .1
    assert hear_jitter(labels, regions, trembled(posts(512,512)))[1] is regions

@pytest.mark.parametrize('offset', range(4))
@pytest.mark.parametrize('thick', (1,2,3))
def test_gaps_in_the_data_are_no_edges(offset, thick):
    "Thin lines without data that wave alike, on odd and even columns"
    image, valid, y = np.full((512,512,3), 120, np.uint8), np.ones((512,512), bool), np.arange(512)
    for x in range(60, 480, 110):
        for k in range(thick): valid[y, x+offset+k+np.int32(np.rint(6*np.sin(y/8)))] = False
    image[~valid] = 0
    assert not jitter(image, valid).any()

def test_few_things_that_wind_alike_are_not_enough():
    image, y = np.full((512,512,3), 120, np.uint8), np.arange(512)
    for x in 150, 350:
        for k in range(5): image[y, x+k+np.int32(np.rint(12*np.sin(y/24)))] = 30
    assert not jitter(cv2.GaussianBlur(image, (0,0), 1)).any()
