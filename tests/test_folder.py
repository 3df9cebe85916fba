"From overlapping maps to a saved folder: laws on awkward shapes, and files that other programs read."
import json, math, os, re, subprocess, sys
from dataclasses import replace
from importlib.resources import files
from types import SimpleNamespace
import jsonschema, numpy as np, pyogrio, pytest, rasterio, shapely
from hypothesis import given, settings, strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine
from scipy.ndimage import label
from rsqi import inspection as saving, merge
from rsqi.config import Config
from rsqi.grid import Block, Grid
from rsqi.inspection import Inspection, Run, finish, verdict
from rsqi.merge import Band, Bands, Sieve, evidence, write_bands
from rsqi.polygons import Finding, SeamLine, areas, edges, outlines, polygonize, sums, to_frame, write_findings
from rsqi.show import qgis_style
from rsqi.score import load_policy, score
from rsqi.taxonomy import IGNORED, default_taxonomy

TAX = default_taxonomy()
EIGHT = np.ones((3,3))
FAMILY = {d.value: d.family for d in TAX}
PLACED = dict(crs=CRS.from_epsg(32648), transform=Affine(.5,.1,500_000,.1,-.5,3_000_000))
quick = settings(max_examples=40, deadline=None)

# --- merging ---------------------------------------------------------------------------------------------------------

def obvious(shape, adds):
    "The rules of merging, one sentence a step, a whole scene at once, nothing shared with the code under test."
    sure = np.zeros((256,*shape), np.int64)
    for b,classes,confidence in adds:
        iy, ix = np.arange(b.h)*classes.shape[0]//b.h, np.arange(b.w)*classes.shape[1]//b.w
        big, c = classes[iy][:,ix], confidence.astype(np.int64)[iy][:,ix]
        for v in set(np.unique(big))-{0}: sure[v][b.ix] = np.maximum(sure[v][b.ix], np.where(big==v, np.maximum(c,1), 0))
    def winner(values):
        best, cls = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for v in values:
            better = (sure[v]>0)&(sure[v]>=best)
            best[better], cls[better] = sure[v][better], v
        return best, cls
    best, cls = winner([v for v,f in FAMILY.items() if f=='region'])
    around = np.pad(best*256+cls, 1)
    H, W = shape
    near = np.max([around[1+dy:1+dy+H,1+dx:1+dx+W] for dy in (-1,0,1) for dx in (-1,0,1)], axis=0)
    region = np.where(cls>0, cls, near%256)
    for d in TAX.family('region'):
        part, _ = label(region==d.value, EIGHT)
        region[(part>0)&(np.bincount(part.ravel())[part]<d.min_px)] = 0
    mask = winner([v for v,f in FAMILY.items() if f=='boundary'])[1]
    mask = np.where(region>0, region, mask)
    pixel = winner([v for v,f in FAMILY.items() if f=='pixel'])[1]
    mask = np.where(pixel>0, pixel, mask)
    mask = np.where(sure[IGNORED]>0, IGNORED, mask)
    for d in TAX.family('boundary'):
        part, _ = label(mask==d.value, EIGHT)
        mask[(part>0)&(np.bincount(part.ravel())[part]<27)] = 0
    return mask.astype(np.uint8)

@st.composite
def stories(draw):
    "A shape, maps in an order that a reader of rows could bring them, and how often the merger is asked"
    H, W = draw(st.integers(1,140)), draw(st.integers(1,90))
    rng = np.random.default_rng(draw(st.integers(0,2**32-1)))
    full, seams, adds = draw(st.floats(.02,.9)), draw(st.floats(.02,.4)), []
    for i,size in enumerate((32,96)):
        for b in Grid((H,W), size):
            h, w = max(b.h>>(i+1), 1), max(b.w>>(i+1), 1)
            adds.append((b, (rng.integers(1,7,(h,w))*(rng.random((h,w))<full)).astype(np.uint8), rng.integers(0,9,(h,w)).astype(np.uint16)*7000))
    for b in Grid((H,W), 40, 0):
        classes = rng.choice(np.uint8([0,7,8,9,10,255]), (b.h,b.w), p=[.92-2*seams,seams,seams,.03,.03,.02])
        adds.append((b, classes, rng.integers(0,9,(b.h,b.w)).astype(np.uint16)*7000))
    return (H,W), sorted(adds, key=lambda a: a[0].y+a[0].h), draw(st.integers(1,5)), draw(st.sampled_from([1,200,900,1<<22]))

@quick
@given(stories())
def test_bands_are_invisible(story):
    (shape, adds, often, strip), old = story, merge.STRIP
    merge.STRIP, bands, found = strip, Bands(shape), []
    try:
        for i,a in enumerate(adds):
            bands.add(*a)
            if i%often==0: found += bands.rows(min([later[0].y for later in adds[i+1:]], default=shape[0]))
        found += bands.rows()
    finally: merge.STRIP = old
    mask, confidence = (np.concatenate([getattr(b, k) for b in found]) for k in ('mask','confidence'))
    assert [b.y for b in found]==np.cumsum([0, *(len(b.mask) for b in found)])[:-1].tolist()
    assert (mask==obvious(shape, adds)).all()
    assert ((confidence>0)==((mask>0)&(mask<IGNORED))).all()
    assert not any(bands.opinions.values()), 'maps that are used up must be forgotten'

@quick
@given(st.integers(1,60), st.integers(1,40), st.floats(.05,.95), st.integers(1,30), st.integers(1,30), st.integers(0,2**32-1))
def test_sieve_is_exact_and_impatient(H, W, full, fewest, step, seed):
    rng = np.random.default_rng(seed)
    scene = (rng.integers(1,4,(H,W))*(rng.random((H,W))<full)).astype(np.uint8)
    wanted, sieve, out = scene.copy(), Sieve({1:fewest,2:fewest,3:1}, W), []
    for v in 1,2:
        part, _ = label(scene==v, EIGHT)
        wanted[(part>0)&(np.bincount(part.ravel())[part]<fewest)] = 0
    for y in range(0,H,step):
        out.append(sieve.push(evidence(scene[y:y+step], .5), y+step>=H))
        assert len(sieve.held)<=max(fewest-1, 1)
    assert ((np.concatenate(out)&255)==wanted).all()

def test_merging_forgets():
    "Memory is a window, not the scene: what waits does not grow with the height"
    bands, waiting = Bands((4096,64)), []
    for b in Grid((4096,64), 64, 0):
        bands.add(b, np.repeat(np.uint8([1,7]), 8)[None].repeat(16, 0), .5)
        list(bands.rows(b.y+b.h))
        waiting.append(sum(map(len, bands.opinions.values()))+sum(len(s.held) for s in bands.sieves))
    assert max(waiting[5:])<=max(waiting[:5])

def test_a_failed_write_leaves_the_old_mask(tmp_path):
    good = Band(0, np.full((20,30), 1, np.uint8), np.full((20,30), 9, np.uint8))
    write_bands(tmp_path, [good], (20,30))
    before = (tmp_path/'mask.tif').read_bytes()
    def breaks():
        yield good
        raise RuntimeError('the power fails')
    with pytest.raises(RuntimeError): write_bands(tmp_path, breaks(), (40,30))
    assert (tmp_path/'mask.tif').read_bytes()==before
    assert sorted(os.listdir(tmp_path))==['confidence.tif','mask.tif']

# --- polygons --------------------------------------------------------------------------------------------------------

def write_mask(folder, mask, confidence=None, crs=None, transform=None):
    sure = np.where((mask>0)&(mask<255), 255, 0).astype(np.uint8) if confidence is None else confidence
    write_bands(folder, [Band(0, mask, sure)], mask.shape, crs, transform)
    return folder/'mask.tif'

def random_mask(rng, shape, full): return (rng.choice(np.uint8([1,4,7,9,10,255]), shape)*(rng.random(shape)<full)).astype(np.uint8)

@pytest.mark.parametrize('seed', range(12))
def test_outlines_are_exact(tmp_path, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1,80,2))
    mask, sure = random_mask(rng, shape, rng.uniform(.1,.95)), rng.integers(1,256,shape).astype(np.uint8)
    place = PLACED if seed%2 else dict(crs=CRS.from_epsg(4326), transform=Affine(1e-5,0,106.7,0,-1e-5,26.6))
    path = write_mask(tmp_path, mask, sure, **place)
    o = outlines(path); e, n = edges(o), len(o.value)
    wanted = []
    for v in set(np.unique(mask))-{0,255}:
        part, k = label(mask==v, EIGHT)
        wanted += [(v, (part==i).sum(), sure[part==i].sum()) for i in range(1,k+1)]
    assert sorted(zip(o.value, areas(e,n), sums(tmp_path/'confidence.tif',e,n)))==sorted(wanted)
    assert (shapely.area(o.geometry)==areas(e,n)).all() and shapely.is_valid(o.geometry).all()

@pytest.mark.parametrize('place', [PLACED, dict(crs=CRS.from_epsg(4326), transform=Affine(1e-5,0,106.7,0,-1e-5,26.6)), {}])
@pytest.mark.parametrize('seed', [0,1])
def test_gis_files_hold_the_mask(tmp_path, place, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, (60,80), .5)
    findings = polygonize(write_mask(tmp_path, mask, **place), gap=5)
    write_findings(tmp_path, to_frame(findings, **place))
    for name in 'findings.gpkg', 'findings.shp':
        back = pyogrio.read_dataframe(tmp_path/name)
        assert back.is_valid.all() and len(back)==len(findings)
        assert (back.crs is not None)==bool(place)
        assert list(back.zh)==[TAX[f.defect].zh for f in findings]
        t = place.get('transform', Affine.scale(1,-1))
        again = rasterio.features.rasterize(zip(back.geometry, back.value), mask.shape, transform=t)
        assert (again==np.where(mask==255, 0, mask)).all()
    assert (tmp_path/'findings.prj').is_file()==bool(place)
    assert (tmp_path/'findings.cpg').read_text().strip().upper()=='UTF-8'
    assert 'value="cloud"' in qgis_style()

def test_grouping_spares_the_reader(tmp_path):
    rng, mask = np.random.default_rng(0), np.zeros((400,1500), np.uint8)
    for y,x in zip(rng.integers(0,400,4000), rng.integers(0,1490,4000)): mask[y,x:x+5] = TAX['stripe_noise'].value
    path = write_mask(tmp_path, mask)
    findings = polygonize(path)
    assert len(outlines(path).value)>2000>40>len(findings)
    assert sum(f.area_px for f in findings)==(mask>0).sum() and all(f.polygon.is_valid for f in findings)

def test_twenty_pixels(tmp_path):
    mask = np.zeros((10,100), np.uint8); mask[:,[0,20,41]] = 9  # gaps of 19 and 20 pixels
    assert [f.bbox for f in polygonize(write_mask(tmp_path, mask))]==[(0,0,10,21),(0,41,10,42)]

# --- score -----------------------------------------------------------------------------------------------------------

POLICIES = [load_policy(p) for p in ('gbt24356_like','area_linear','conformance')]

def found(key, area, confidence=1., length=None, measure=None):
    return Finding(1, key, TAX[key].value, None, area, None, confidence, length_px=length, measure=measure)

FINDING = st.builds(found, st.sampled_from(TAX.keys), st.integers(1,600_000), st.floats(0,1), st.none()|st.floats(1,9e3), st.none()|st.floats(0,90))

@settings(max_examples=150, deadline=None)
@given(st.lists(FINDING, max_size=8), FINDING, st.sampled_from(POLICIES), st.lists(st.floats(.05,1), min_size=1, max_size=5), st.randoms())
def test_laws_of_the_score(scene, extra, policy, cuts, random):
    judge = lambda fs: score(fs, policy, 1_000_000, draws=3)
    before, after = judge(scene), judge([*scene, extra])
    rank = [g['key'] for g in policy.grades].index
    assert rank(after.grade)>=rank(before.grade)
    assert len(after.reasons)==len(after.reasons_zh)>=1
    parts = np.array(cuts)/sum(cuts)
    pieces = [replace(extra, area_px=extra.area_px*p, length_px=extra.length_px and extra.length_px*p) for p in parts]
    shuffled = [*scene, *pieces]; random.shuffle(shuffled)
    split = judge(shuffled)
    assert split.grade==after.grade or abs(split.value-after.value)<.011
    if before.value is None: assert split.value is None; return
    assert 0<=after.value<=before.value<=100 and abs(split.value-after.value)<.011
    assert before.interval[0]<=before.value<=before.interval[1]
    assert math.isclose(sum(f.deduction for f in after.findings), sum(j.deduction for j in after.defects.values()), abs_tol=1e-6)

def test_a_defect_new_to_a_policy_is_named():
    policy = replace(POLICIES[0], defects={k:v for k,v in POLICIES[0].defects.items() if k!='blur'})
    s = score([found('blur', 500)], policy, 1000)
    assert s.value==100 and 'does not judge' in s.reasons[0] and '未涉及' in s.reasons_zh[0]

@pytest.mark.parametrize('text', ['', 'name = 1', 'x = [', 'name="a"\nversion="1"\nmethod="areas"\ngrades=[]\n[defects]',
    'name="a"\nversion="1"\nmethod="areas"\ngrades=[{key="A",zh="",min=0}]\n[defects]\ncloud={weight=-1}',
    'name="a"\nversion="1"\nmethod="classes"\ngrades=[{key="A",zh="",min=0}]\n[defects]\ncloud={weight=1}'])
def test_bad_policies_are_refused_in_one_line(tmp_path, text):
    (tmp_path/'p.toml').write_text(text)
    with pytest.raises(ValueError, match='policy') as e: load_policy(tmp_path/'p.toml')
    assert '\n' not in str(e.value)

# --- config ----------------------------------------------------------------------------------------------------------

number = st.floats(0, allow_nan=False, allow_infinity=True)
@quick
@given(st.builds(Config, sizes=st.sampled_from([512,(512,2048),[64,256,128]]), alpha=number, t=number, bands=st.none()|st.just([3,2,1]),
                 gsd=st.none()|st.floats(.01,100), collar=st.sampled_from(['black','none']), keep_logits=st.booleans()))
def test_config_survives_json(config):
    again = Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))
    assert again==config and again.hash==config.hash

# --- the folder ------------------------------------------------------------------------------------------------------

H, W = 260, 340
SCHEMA = json.loads((files('rsqi')/'inspection.schema.json').read_text(encoding='utf-8'))
GROUND = np.random.default_rng(0).integers(1, 255, (H,W,3)).astype(np.uint8)

def toy_scene(name='贵州/<script>alert(1)</script>.tif', crs=None, transform=None):
    return SimpleNamespace(name=name, shape=(H,W), crs=crs, transform=transform, gsd=.5 if crs else None, dtype='uint16',
        sha256=lambda: '0f'*32, read=lambda b: GROUND[b.ix], overview=lambda n: GROUND[::2,::2])

def inspect_toy(folder, mask, scene=None, run=Run(), config=Config()):
    scene, bands = scene or toy_scene(**PLACED), Bands((H,W))
    bands.add(Block(0,0,H,W), mask, .9)
    folder.mkdir(parents=True, exist_ok=True)
    write_bands(folder, bands.rows(), (H,W), scene.crs, scene.transform)
    return finish(folder, scene, config, {r: dict(name='默认', sha256='cd'*32) for r in ('classifier','segmenter')}, run)

def toy_mask():
    mask = np.zeros((H,W), np.uint8)
    mask[40:120,50:160], mask[60:80,80:110], mask[:,250:256], mask[200,20:60], mask[:,330:] = 1, 0, 7, 9, 255
    return mask

@pytest.mark.parametrize('place', [PLACED, {}])
@pytest.mark.parametrize('mask', [toy_mask(), np.zeros((H,W), np.uint8), np.full((H,W), 255, np.uint8)], ids=['defects','clean','nodata'])
@pytest.mark.parametrize('policy', ['gbt24356_like','conformance'])
def test_every_folder_fits_the_schema(tmp_path, place, mask, policy):
    seam = [SeamLine(7, np.array([[0,253.],[H,253.]]), 4.)]
    rows = [dict(size=512, y=0, x=0, h=H, w=W, state='done', reason='', p_cloud=.5)]
    made = inspect_toy(tmp_path, mask, toy_scene(**place), Run(rows, seam), Config(fusion='absolute', policy=policy))
    text = (tmp_path/'inspection.json').read_text(encoding='utf-8')
    assert 'NaN' not in text and '贵州' in text and 'Infinity' not in text
    jsonschema.validate(json.loads(text), SCHEMA)
    assert set(made.defects)==set(TAX.keys) and Inspection.load(tmp_path)==made
    final = np.concatenate([m for _,m in saving.strips(tmp_path/'mask.tif')])
    for d in TAX: assert made.defects[d.key]['pixels']==(final==d.value).sum()
    outcome = 'NOT_INSPECTED' if (mask==255).all() else 'DEFECT' if (mask>0).any() else 'CLEAN'
    assert made.verdict['outcome']==outcome
    assert len(made.polygons())==len(made.findings)==sum(d['count'] for d in made.defects.values())

def test_the_schema_refuses_what_is_wrong(tmp_path):
    good = inspect_toy(tmp_path, toy_mask()).to_dict()
    wrong = [('verdict', 'outcome', 'PERFECT'), ('verdict', 'score', 101), ('scene', 'shape', [1]), ('policy', 'sha256', 'x'), ('config', 'alpha', 'many')]
    for part,key,value in wrong:
        with pytest.raises(jsonschema.ValidationError): jsonschema.validate({**good, part: {**good[part], key: value}}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError): jsonschema.validate({k:v for k,v in good.items() if k!='models'}, SCHEMA)

def test_names_from_files_do_no_harm(tmp_path):
    made = inspect_toy(tmp_path, toy_mask())
    hostile = replace(made, verdict={**made.verdict, 'reasons': ['<img src=x onerror=alert(1)>'], 'grade': '"><b>'},
                      defects={**made.defects, 'cloud': {**made.defects['cloud'], 'severity': '<i>'}})
    html = hostile._repr_html_()
    assert '<script' not in html and 'onerror=alert(1)>' not in html and '<i>' not in html and '"><b>' not in html
    assert not re.search(r'(src|href)="(?!data:)', html) and '贵州' in html

def test_a_part_not_inspected_is_not_clean():
    clean = score([], POLICIES[0], 100)
    assert verdict(clean, 1.)['outcome']=='CLEAN' and verdict(clean, .5)['outcome']=='NOT_INSPECTED'
    v = verdict(score([found('cloud', 9)], POLICIES[0], 100), .99999)
    assert v['outcome']=='DEFECT' and v['review'] and '99.9 %' in v['reasons'][-1] and '99.9 %' in v['reasons_zh'][-1]

def test_the_verdict_comes_last(tmp_path, monkeypatch):
    "If writing breaks off, nobody finds an inspection.json"
    def broken(*args): raise RuntimeError('the disk is full')
    monkeypatch.setattr(saving, '_pictures', broken)
    with pytest.raises(RuntimeError): inspect_toy(tmp_path, toy_mask())
    assert not (tmp_path/'inspection.json').exists() and not [p for p in os.listdir(tmp_path) if p.startswith('.')]
    with pytest.raises(ValueError, match='holds no inspection.json') as e: Inspection.load(tmp_path)
    assert '\n' not in str(e.value)

def test_ground_that_cannot_be_read_leaves_no_picture(tmp_path):
    scene = toy_scene(**PLACED)
    def torn(block): raise OSError('tile 3 is broken')
    scene.read = scene.salvage = torn
    made = inspect_toy(tmp_path, toy_mask(), scene)
    assert made.verdict['outcome']=='DEFECT' and not list((tmp_path/'thumbnails').iterdir())

def test_reading_a_folder_is_light():
    "Reports read folders; they never pay for torch, and importing pays for nothing"
    code = "import sys, rsqi.inspection; print([m for m in ('torch','geopandas','matplotlib','openvino','scipy','pyproj') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'
